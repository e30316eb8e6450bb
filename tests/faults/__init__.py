"""Faults of the operating system in supervisor, fork server and services, and what came of it: see `driver`."""
