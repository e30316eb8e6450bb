"""The system calls of a program: fork, wait, kill, pipe, and the handles that they return."""
