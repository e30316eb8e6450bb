"""Services of a group: separate programs beside the supervisor, for work that the supervisor must not do itself.

The supervisor starts a service on its own host at the first request for it (the system call `service`). The service
joins the group as a member that `ps` does not show and the group cannot kill. Processes call it by asks
(`rackactor.ipc.service`).
"""

#: The services that there are: name -> "module:function". The function takes a `runner.Host` and returns the object
#: that answers requests (see `runner.Answers`). The supervisor itself never imports it.
SERVICES: dict[str, str] = {
    "snapshots": "rackactor_runtime.services.snapshots:make",
    "files": "rackactor_runtime.services.files.service:make",
}
