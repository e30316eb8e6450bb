"""The program on every virtual machine of a group, which user-data starts."""
