"""What runs on every virtual machine of a group: the program that user-data starts."""
