"""Files that every process of the group can see."""
