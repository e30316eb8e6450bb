"""The peers, a module each, loaded only when asked for: most of them are not installed with RackActor."""

from __future__ import annotations

from importlib import import_module

from ..peer import Peer

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


def load(name: str) -> type[Peer]:
    """Import a peer.

    Raises:
        ImportError: it is not installed.
    """
    module, kind = PEERS[name]
    found: type[Peer] = getattr(import_module(f"{__name__}.{module}"), kind)
    return found
