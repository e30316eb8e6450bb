"""The program that a user wrote: its options, and how its files get to other machines."""
