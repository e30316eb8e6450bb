"""Sources that members load into the group (Thespian's loadActorSource): who may use them, and who is told.

They are kept as opaque bytes by hash. One member, the source authority, decides which may be used; without
an authority none may. A request for a source without a decision is answered when there is one.
"""

from __future__ import annotations

from rackactor.wire.events import SourceEvent, ValidateSourceEvent
from rackactor_runtime.supervisor.decisions.messages import Reply
from rackactor_runtime.supervisor.decisions.source_table import Source
from rackactor_runtime.supervisor.decisions.turn import Turn


def load(turn: Turn, name: str, data: bytes) -> None:
    """Add a source: the authority is asked about it, unless it has accepted it already."""
    sources = turn.state.sources
    if sources.authority is not None and name not in sources.known:
        sources.known[name] = Source()
        turn.notify(sources.authority, ValidateSourceEvent(name, data))


def judge(turn: Turn, pid: int, name: str, content: bytes, info: str) -> None:
    """Record a decision: the content of the source, or that it is refused (empty)."""
    sources = turn.state.sources
    source = sources.known.get(name)
    if pid != sources.authority or source is None or source.content is not None:
        return
    if not content:
        _drop(turn, name)
        return
    source.content, source.info = content, info
    waiting, source.waiting = source.waiting, []
    for asker, rid in waiting:
        _answer(turn, asker, rid, name)
    _tell_watchers(turn, name, loaded=True)


def unload(turn: Turn, name: str) -> None:
    """Remove a source."""
    if name in turn.state.sources.known:
        _tell_watchers(turn, name, loaded=False)
        _drop(turn, name)


def get(turn: Turn, pid: int, rid: int, name: str) -> None:
    """Answer with a source; later, if there is no decision yet."""
    source = turn.state.sources.known.get(name)
    if source is not None and source.content is None:
        source.waiting.append((pid, rid))
    else:
        _answer(turn, pid, rid, name)


def watch(turn: Turn, pid: int, *, enable: bool) -> None:
    """Begin or stop to notify a member of sources, including the present ones."""
    sources = turn.state.sources
    sources.watchers = [watcher for watcher in sources.watchers if watcher != pid]
    if enable:
        sources.watchers.append(pid)
        for name, source in sources.known.items():
            if source.content is not None:
                turn.notify(pid, SourceEvent(name, source.info, True))


def gone(turn: Turn, pid: int) -> None:
    """Note that a member has ended; if it was the authority, nobody waits for its decision any more."""
    sources = turn.state.sources
    sources.watchers = [watcher for watcher in sources.watchers if watcher != pid]
    for source in sources.known.values():
        source.waiting = [waiter for waiter in source.waiting if waiter[0] != pid]
    if sources.authority == pid:
        sources.authority = None
        for name in [name for name, source in sources.known.items() if source.content is None]:
            _drop(turn, name)


def _drop(turn: Turn, name: str) -> None:
    source = turn.state.sources.known.pop(name)
    for pid, rid in source.waiting:
        _answer(turn, pid, rid, name)


def _answer(turn: Turn, pid: int, rid: int, name: str) -> None:
    source = turn.state.sources.known.get(name)
    if source is None or source.content is None:
        turn.emit(Reply(pid, rid, True, {"loaded": False}))
    else:
        turn.emit(Reply(pid, rid, True, {"loaded": True, "info": source.info}, (source.content,)))


def _tell_watchers(turn: Turn, name: str, *, loaded: bool) -> None:
    event = SourceEvent(name, turn.state.sources.known[name].info, loaded)
    for pid in turn.state.sources.watchers:
        turn.notify(pid, event)
