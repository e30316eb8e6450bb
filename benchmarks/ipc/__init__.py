"""Ways to pass data between processes: pipes, keys, files; a module each in `peers/`, loaded only when asked for."""

from __future__ import annotations

#: Name on the command line -> module, class. The order is the table's.
PEERS = {
    "rackactor": ("rack", "RackIpc"),
    "pyzmq": ("zeromq", "BareZeroMQ"),
    "mp-pipe": ("mp", "Pipe"),
    "mp-queue": ("mp", "Queue"),
    "mp-manager": ("mp", "ManagerDict"),
    "redis": ("redis_lists", "Redis"),
    "ray": ("ray_store", "RayStore"),
    "thespian": ("thespian_tcp", "ThespianTCP"),
    "fsspec": ("local_files", "LocalFiles"),
}

TITLES = {
    "rackactor": "RackActor",
    "pyzmq": "bare pyzmq",
    "mp-pipe": "multiprocessing Pipe",
    "mp-queue": "multiprocessing Queue",
    "mp-manager": "multiprocessing Manager dict",
    "redis": "Redis lists and keys",
    "ray": "Ray",
    "thespian": "Thespian TCP",
    "fsspec": "fsspec local files",
}
