"""The supervisor's decisions: pure functions from events to effects, with time as an argument."""
