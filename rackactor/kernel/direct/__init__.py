"""Direct connections between two processes, past the supervisor."""
