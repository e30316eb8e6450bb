"""`call`, which runs the `main` of a script with the options of its signature."""

from rackactor.program.script import call

__all__ = ["call"]
