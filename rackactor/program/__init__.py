"""The program that a user wrote: its options, and its files on their way to other machines."""
