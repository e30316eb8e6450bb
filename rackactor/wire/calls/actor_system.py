"""The system calls of Thespian's actor system: dead letters, capabilities, loaded sources."""

from __future__ import annotations

from rackactor.wire.checks import BytesMap, Count, Flag, Text
from rackactor.wire.schema import Call


class Leaving(Call, op="leaving"):
    """Say that the caller's actor has ended; what its process still has to do concerns nobody's program."""


class DeadLetters(Call, op="dead_letters"):
    """Begin or stop to handle dead letters; as in Thespian, whoever began last has them all."""

    enable: Flag = True


class DeadLetter(Call, op="dead_letter"):
    """Pass a message that nobody can receive, which goes with it, to the handler of dead letters."""

    #: Whom it was for.
    pid: Count
    box: Count = 0


class SetCapabilities(Call, op="capabilities"):
    """Set or remove capabilities; every actor hears of it. Answers with all that there are."""

    set: BytesMap | None = None


class ShutDown(Call, op="shutdown"):
    """End the group because an actor asks for it (Thespian's actorSystemShutdown)."""


class SourceAuthority(Call, op="source_authority"):
    """Make the caller the one who says which sources may be used."""


class LoadSource(Call, op="load_source"):
    """Give a source, which goes with it, to the source authority to judge; without one nothing is loaded."""

    hash: Text


class ValidatedSource(Call, op="validated_source"):
    """Give the verdict of the source authority; what it has made of the source goes with it."""

    hash: Text
    info: Text = ""


class UnloadSource(Call, op="unload_source"):
    """Forget a source."""

    hash: Text


class GetSource(Call, op="source"):
    """Give a source, as soon as there is a verdict on it."""

    hash: Text


class SourceNews(Call, op="source_news"):
    """Begin or stop to tell the caller of sources."""

    enable: Flag = True
