"""How a supervisor on this host is started and found, and how its end is noticed."""
