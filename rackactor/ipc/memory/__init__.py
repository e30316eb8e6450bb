"""Shared memory: reads are local, writes go through the supervisor."""
