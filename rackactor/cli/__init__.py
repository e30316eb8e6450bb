"""The `rack` command: a cliff application; its sub-commands are the entry points of `rack.commands`."""
