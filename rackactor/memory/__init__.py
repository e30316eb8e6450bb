"""Shared memory: what a process of a group needs to read it, and to ask for changes.

The only package of `rackactor` that imports a database, and only when somebody looks at the memory.
"""
