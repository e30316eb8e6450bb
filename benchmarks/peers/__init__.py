"""The peers, a module each, loaded only when asked for: most of them are not installed with RackActor."""

from __future__ import annotations

#: Name on the command line -> module, class. The order is the table's.
PEERS = {
    "rackactor": ("rack", "RackActor"),
    "mp-spawn": ("mp", "Spawn"),
    "mp-fork": ("mp", "Fork"),
    "thespian": ("thespian_tcp", "ThespianTCP"),
    "ray": ("ray_actors", "RayActors"),
    "dask": ("dask_actors", "DaskActors"),
    "pyzmq": ("floor", "BareZeroMQ"),
}

TITLES = {
    "rackactor": "RackActor",
    "mp-spawn": "multiprocessing, spawn",
    "mp-fork": "multiprocessing, fork",
    "thespian": "Thespian multiprocTCPBase",
    "ray": "Ray actors",
    "dask": "Dask actors",
    "pyzmq": "bare pyzmq (the floor)",
}
