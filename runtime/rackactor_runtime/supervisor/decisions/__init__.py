"""What a supervisor decides: pure, with events in, effects out, and time as an argument."""
