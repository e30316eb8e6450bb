"""The file service of a group: handles, reservations, and the backends that store files."""
