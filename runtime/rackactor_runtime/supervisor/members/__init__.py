"""The members of the group, and the messages to and from each."""
