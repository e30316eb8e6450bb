"""How a supervisor is started, found and lost, on this host."""
