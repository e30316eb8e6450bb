"""What the group's processes print."""
