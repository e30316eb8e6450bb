"""Services of a group: programs of their own beside the supervisor, for what it must not do itself.

The supervisor starts one on its own host when somebody first asks for it (the system call `service`). It joins the
group as a member that `ps` does not show and the group cannot kill, and is spoken to by asks (`rackactor.ipc.service`).
"""

#: The services that there are: name -> "module:function". The function takes a `hosting.Host` and returns what answers
#: (see `hosting.Answers`); the supervisor itself never imports it.
SERVICES: dict[str, str] = {
    "snapshots": "rackactor_runtime.services.snapshots:make",
    "files": "rackactor_runtime.services.files.service:make",
}
