"""What carries our mark in a cloud: how it is named and known again, and in which order it can go. Uses no session."""
