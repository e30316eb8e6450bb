"""The `rack` command: a cliff application, its sub-commands being entry points of `rack.commands`."""
