"""The ways that are compared, a module each."""
