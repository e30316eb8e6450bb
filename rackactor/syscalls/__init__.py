"""What a program calls: fork, wait, kill, pipe, and the handles that they return."""
