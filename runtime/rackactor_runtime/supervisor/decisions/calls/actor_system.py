"""The system calls of Thespian's actor system: dead letters, capabilities, loaded sources."""

from __future__ import annotations

from rackactor.wire.calls.actor_system import (
    DeadLetter,
    DeadLetters,
    GetSource,
    Leaving,
    LoadSource,
    SetCapabilities,
    ShutDown,
    SourceAuthority,
    SourceNews,
    UnloadSource,
    ValidatedSource,
)
from rackactor.wire.events import CapabilitiesEvent, DeadLetterEvent
from rackactor_runtime.supervisor.decisions import lifecycle, shutdown, sources
from rackactor_runtime.supervisor.decisions.messages import Called
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.turn import Turn


def op_leaving(turn: Turn, caller: Process, call: Called, args: Leaving) -> None:
    """Say that the caller's actor has ended; what its process still has to do concerns nobody's program."""
    lifecycle.leaving(turn, caller)


def op_dead_letters(turn: Turn, caller: Process, call: Called, args: DeadLetters) -> None:
    """Begin or stop to handle dead letters; as in Thespian, whoever began last has them all."""
    if args.enable:
        turn.state.dead_letters = caller.pid
    elif turn.state.dead_letters == caller.pid:
        turn.state.dead_letters = None
    turn.reply(call)


def op_dead_letter(turn: Turn, caller: Process, call: Called, args: DeadLetter) -> None:
    """Pass a message that nobody can receive to the handler of dead letters."""
    handler = turn.state.dead_letters
    if handler is not None and handler != args.pid:
        turn.notify(handler, DeadLetterEvent(args.pid, args.box, caller.pid, bytes(call.blobs[0])))
    turn.reply(call)


def op_capabilities(turn: Turn, caller: Process, call: Called, args: SetCapabilities) -> None:
    """Set or remove (None) capabilities; every actor hears of it. Tells what they all are."""
    state, changes = turn.state, dict(args.set or {})
    for name, value in changes.items():
        if value is None:
            state.capabilities.pop(name, None)
        else:
            state.capabilities[name] = value
    for record in state.table if changes else ():
        if record.kind == "actor" and record.alive and record.started is not None:
            turn.notify(record.pid, CapabilitiesEvent(changes))
    turn.reply(call, {"capabilities": dict(state.capabilities)})


def op_shutdown(turn: Turn, caller: Process, call: Called, args: ShutDown) -> None:
    """End the group because an actor asks for it (Thespian's actorSystemShutdown)."""
    turn.reply(call)
    shutdown.begin(turn, f"process {caller.pid} asked for the shutdown of the actor system")


def op_source_authority(turn: Turn, caller: Process, call: Called, args: SourceAuthority) -> None:
    """Make the caller the one who says which sources may be used."""
    turn.state.sources.authority = caller.pid
    turn.reply(call)


def op_load_source(turn: Turn, caller: Process, call: Called, args: LoadSource) -> None:
    """Take a source for the source authority to judge; without one nothing is loaded."""
    sources.load(turn, args.hash, bytes(call.blobs[0]))
    turn.reply(call)


def op_validated_source(turn: Turn, caller: Process, call: Called, args: ValidatedSource) -> None:
    """Take the verdict of the source authority."""
    sources.judge(turn, caller.pid, args.hash, bytes(call.blobs[0]), args.info)
    turn.reply(call)


def op_unload_source(turn: Turn, caller: Process, call: Called, args: UnloadSource) -> None:
    """Forget a source."""
    sources.unload(turn, args.hash)
    turn.reply(call)


def op_source(turn: Turn, caller: Process, call: Called, args: GetSource) -> None:
    """Give a source, as soon as there is a verdict on it."""
    sources.get(turn, caller.pid, call.rid, args.hash)


def op_source_news(turn: Turn, caller: Process, call: Called, args: SourceNews) -> None:
    """Begin or stop to tell the caller of sources."""
    turn.reply(call)
    sources.watch(turn, caller.pid, enable=args.enable)
