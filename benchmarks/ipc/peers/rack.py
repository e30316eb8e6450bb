"""RackActor itself."""

from __future__ import annotations

from ..peer import Ipc


class RackIpc(Ipc):
    """A group on the local provider."""

    title = "RackActor"
    distributions = ("rackactor", "pyzmq", "msgpack", "lmdb")
