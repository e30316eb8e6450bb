"""Sources that members load into the group (Thespian's loadActorSource): where they are kept, and who may use them.

They are kept as opaque bytes by hash. One member, the source authority, decides which may be used; without
an authority none may. A request for a source without a decision is answered when there is one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rackactor.wire.events import SourceEvent, ValidateSourceEvent
from rackactor_runtime.supervisor.decisions.messages import Effect, Notify, Reply


@dataclass
class Source:
    """A source that a member has loaded."""

    #: The authority's version of it; None before its decision.
    content: bytes | None = None
    info: str = ""
    #: (pid, number of the call) of those who wait for the decision.
    waiting: list[tuple[int, int]] = field(default_factory=list)


class Sources:
    """The loaded sources of a group. Its methods return effects."""

    def __init__(self) -> None:
        self._sources: dict[str, Source] = {}
        self._watchers: list[int] = []
        self.authority: int | None = None

    def to_record(self) -> dict[str, Any]:
        """Return plain values from which `from_record` makes the same again."""
        rows = [[name, s.content, s.info, [list(each) for each in s.waiting]] for name, s in self._sources.items()]
        return {"sources": rows, "watchers": list(self._watchers), "authority": self.authority}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Sources:
        """Make sources of what `to_record` gave."""
        made = cls()
        made._watchers, made.authority = list(record["watchers"]), record["authority"]
        for name, content, info, waiting in record["sources"]:
            made._sources[name] = Source(content, info, [(pid, rid) for pid, rid in waiting])
        return made

    def load(self, name: str, data: bytes) -> list[Effect]:
        """Add a source: the authority is asked about it, unless it has accepted it already."""
        if self.authority is None or name in self._sources:
            return []
        self._sources[name] = Source()
        return [Notify(self.authority, ValidateSourceEvent(name, data))]

    def judge(self, pid: int, name: str, content: bytes, info: str) -> list[Effect]:
        """Record a decision: the content of the source, or that it is refused (empty)."""
        source = self._sources.get(name)
        if pid != self.authority or source is None or source.content is not None:
            return []
        if not content:
            return self._drop(name)
        source.content, source.info = content, info
        effects = [self._answer(pid, rid, name) for pid, rid in source.waiting]
        source.waiting = []
        return [*effects, *(self._news(pid, name, loaded=True) for pid in self._watchers)]

    def unload(self, name: str) -> list[Effect]:
        """Remove a source."""
        if name not in self._sources:
            return []
        return [*(self._news(pid, name, loaded=False) for pid in self._watchers), *self._drop(name)]

    def get(self, pid: int, rid: int, name: str) -> list[Effect]:
        """Answer with a source; later, if there is no decision yet."""
        source = self._sources.get(name)
        if source is not None and source.content is None:
            source.waiting.append((pid, rid))
            return []
        return [self._answer(pid, rid, name)]

    def content(self, name: str | None) -> tuple[bytes, ...]:
        """Return a source that may be used, if there is one of that name: its actors keep it when it is unloaded."""
        source = self._sources.get(name or "")
        return () if source is None or source.content is None else (source.content,)

    def watch(self, pid: int, *, enable: bool) -> list[Effect]:
        """Begin or stop to notify a member of sources, including the present ones."""
        self._watchers = [watcher for watcher in self._watchers if watcher != pid]
        if not enable:
            return []
        self._watchers.append(pid)
        known = [name for name, source in self._sources.items() if source.content is not None]
        return [self._news(pid, name, loaded=True) for name in known]

    def gone(self, pid: int) -> list[Effect]:
        """Note that a member has ended; if it was the authority, nobody waits for its decision any more."""
        self._watchers = [watcher for watcher in self._watchers if watcher != pid]
        for source in self._sources.values():
            source.waiting = [waiter for waiter in source.waiting if waiter[0] != pid]
        if self.authority != pid:
            return []
        self.authority = None
        unjudged = [name for name, source in self._sources.items() if source.content is None]
        return [effect for name in unjudged for effect in self._drop(name)]

    def _drop(self, name: str) -> list[Effect]:
        source = self._sources.pop(name)
        return [self._answer(pid, rid, name) for pid, rid in source.waiting]

    def _answer(self, pid: int, rid: int, name: str) -> Effect:
        source = self._sources.get(name)
        if source is None or source.content is None:
            return Reply(pid, rid, True, {"loaded": False})
        return Reply(pid, rid, True, {"loaded": True, "info": source.info}, (source.content,))

    def _news(self, pid: int, name: str, *, loaded: bool) -> Effect:
        return Notify(pid, SourceEvent(name, self._sources[name].info, loaded))
