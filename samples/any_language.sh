#!/bin/sh
# A process in any language: its group and its place in it are in the environment, and the `rack` command works inside.
#
#     rack run -- sh samples/any_language.sh
#     echo some words | rack run -n 2 -- sh samples/any_language.sh

echo "I am process $RACK_PID of group $RACK_GID; my parent is process $RACK_PPID"

# Standard input, output and error are those of a command; here they are the ones of `rack run`.
echo "my input has $(wc -w) words"

echo "who else is here:"
rack ps -f value -c PID -c Kind -c State

# Signals are real ones. They reach everything that the process has started, so the command that sends this one ignores
# it; the shell runs its trap when that command has ended.
trap 'echo "process $RACK_PID got the signal that it sent itself"' USR1
(trap "" USR1; exec rack kill -s USR1 "$RACK_PID")

# Or ask for a signal that does not exist anywhere else; without a handler nothing happens.
rack kill -s "my own signal" "$RACK_PID"

exit 0
