"""Sources that members load into the group, as records: opaque bytes by hash, and who waits for them."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from rackactor.records import dataclass


@dataclass
class Source:
    """A source that a member has loaded."""

    #: The authority's version of it; None before its decision.
    content: bytes | None = None
    info: str = ""
    #: (pid, number of the call) of those who wait for the decision.
    waiting: list[tuple[int, int]] = field(default_factory=list)


class Sources:
    """The loaded sources of a group.

    Attributes:
        known: all of them, by hash.
        watchers: pids of the members that are told of each.
        authority: pid of the member that decides which may be used; None: there is none.
    """

    def __init__(self) -> None:
        self.known: dict[str, Source] = {}
        self.watchers: list[int] = []
        self.authority: int | None = None

    def to_record(self) -> dict[str, Any]:
        """Return plain values from which `from_record` makes the same again."""
        rows = [[name, s.content, s.info, [list(each) for each in s.waiting]] for name, s in self.known.items()]
        return {"sources": rows, "watchers": list(self.watchers), "authority": self.authority}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Sources:
        """Make sources of what `to_record` gave."""
        made = cls()
        made.watchers, made.authority = list(record["watchers"]), record["authority"]
        for name, content, info, waiting in record["sources"]:
            made.known[name] = Source(content, info, [(pid, rid) for pid, rid in waiting])
        return made

    def content(self, name: str | None) -> tuple[bytes, ...]:
        """Return a source that may be used, if there is one of that name: its actors keep it when it is unloaded."""
        source = self.known.get(name or "")
        return () if source is None or source.content is None else (source.content,)
