"""The supervisor of a group: pid 1, RACK's rack-proxy."""
