"""Files that every process of the group sees."""
