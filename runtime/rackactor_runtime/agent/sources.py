"""Sources that were loaded into the group (Thespian's loadActorSource), as an actor's process uses them.

The supervisor stores them by hash and never looks into them. Thespian's own loader opens and imports them
here, in the process that runs the actor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thespian.actors import InvalidActorSourceHash, ValidatedSource
from thespian.system.sourceLoader import SourceHashFinder, loadModuleFromHashSource

from rackactor.errors import ActorNotMade, RackTimeout
from rackactor.kernel.kernel import Kernel
from rackactor.syscalls.session import Session
from rackactor.wire.calls.actor_system import GetSource
from rackactor.wire.calls.actor_system import ValidatedSource as Verdict

#: Seconds that a source authority has for its decision, as in Thespian.
VERDICT_TIMEOUT = 61.0


def load_class(session: Session, source_hash: str, module: str, name: str) -> Any:
    """Return a class of a loaded source; wait for the source authority's decision if there is none yet.

    Raises:
        ActorNotMade: no such source is loaded.
        ImportError: the source has no such module, or it cannot be imported.
    """
    blobs: Sequence[Any] = session.kernel.welcome.blobs[2:]  # it comes with the birth data, if it was loaded by then
    if not blobs:
        blobs = _ask(session, source_hash)
    return loadModuleFromHashSource(source_hash, {source_hash: bytes(blobs[0])}, module, name)


def _ask(session: Session, source_hash: str) -> Sequence[Any]:
    try:
        fields, blobs = session.kernel.call(GetSource(source_hash), timeout=VERDICT_TIMEOUT)
    except RackTimeout:
        fields, blobs = {"loaded": False}, ()
    if not fields["loaded"]:
        raise ActorNotMade(str(InvalidActorSourceHash(source_hash)), "source")
    return blobs


def by_name(cls: Any, source_hash: str | None) -> tuple[Any, str | None]:
    """Name a class that came from a loaded source by its source, so that another process can load it too."""
    module = getattr(cls, "__module__", "")
    if isinstance(cls, type) and module.startswith("{{"):
        return f"{module}.{cls.__qualname__}", module[2:].partition("}}")[0]
    return cls, source_hash


def validate(kernel: Kernel, message: ValidatedSource) -> None:
    """Pass a source authority's decision on to the group."""
    content = message.sourceZip
    if content:
        try:
            SourceHashFinder(message.sourceHash, lambda text: text, content).getZipNames()
        except Exception:
            return  # no archive of sources: as in Thespian, this counts as no decision
    info = getattr(message, "sourceInfo", None)
    kernel.call(Verdict(message.sourceHash, str(info)), content or b"")
