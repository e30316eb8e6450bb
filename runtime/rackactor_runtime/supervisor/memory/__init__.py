"""The group's shared memory."""
