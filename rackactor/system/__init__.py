"""What the operating system tells and lends: no process of a group, no wire."""
