"""The two suites: what runs processes, and what passes data between them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from . import ipc, measures, peers
from .ipc import measures as ipc_measures
from .measures import Measure
from .peer import Entrant


@dataclass(frozen=True)
class Suite:
    """Entrants that do the same work, and the measures of it."""

    name: str
    title: str
    #: The package of the entrants' modules.
    package: str
    #: Name on the command line -> module, class. The order is the table's.
    peers: dict[str, tuple[str, str]]
    titles: dict[str, str]
    measures: tuple[Measure, ...]
    #: Whether RackActor must also run a large crowd of processes (`many.py`).
    crowd: bool = False

    def load(self, name: str) -> type[Entrant]:
        """Import an entrant; most of them are not installed with RackActor.

        Raises:
            ImportError: it is not installed.
        """
        module, kind = self.peers[name]
        found: type[Entrant] = getattr(import_module(f"{self.package}.{module}"), kind)
        return found


ACTORS = Suite(
    "actors", "Processes and messages", peers.__name__, peers.PEERS, peers.TITLES, measures.MEASURES, crowd=True
)
IPC = Suite("ipc", "Inter-process communication", f"{ipc.__name__}.peers", ipc.PEERS, ipc.TITLES, ipc_measures.MEASURES)
SUITES = {suite.name: suite for suite in (ACTORS, IPC)}
