"""Decisions about the group's shared memory."""
