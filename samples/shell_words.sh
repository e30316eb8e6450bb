#!/bin/sh
# The group's pipes, shared memory and files from a shell: the `rack` command does it all inside a process.
#
#     rack run -- sh samples/shell_words.sh
#     rack run -- sh samples/shell_words.sh ~/some/text
set -eu
text=${1:-/usr/share/common-licenses/GPL-3}

# A FIFO: either end may open first. The reader counts the lines that the writer finds.
tr -cs A-Za-z '\n' <"$text" | head -500 | rack pipe write words &
lines=$(rack pipe read words | wc -l)
wait
echo "$lines words came through the pipe"

# Shared memory: every process of the group sees it.
rack shm set words "$lines"
rack shm incr runs >/dev/null
echo "shared memory has: words=$(rack shm get words) runs=$(rack shm get runs)"

# Files of the group: `rack:` paths, local ones otherwise.
rack fs mkdir /texts
rack fs cp "$text" rack:/texts/
rack fs ls -f value -c Name -c Size /texts
rack fs cat "/texts/${text##*/}" | head -1
