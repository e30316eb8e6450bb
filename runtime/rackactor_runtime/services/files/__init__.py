"""The file service of a group: handles, reservations, and the backends that files lie on."""
