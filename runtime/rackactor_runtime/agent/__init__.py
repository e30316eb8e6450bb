"""The agent: the runtime inside a process. It joins the group and hosts the target."""
