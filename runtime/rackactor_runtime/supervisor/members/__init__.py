"""Who is a member of the group, and what goes to and from each."""
