"""System calls, by what they are about."""
