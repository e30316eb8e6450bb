"""The system calls of Thespian's actor system: dead letters, capabilities, loaded sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rackactor.errors import InvalidCall
from rackactor_runtime.supervisor.decisions.lifecycle import Core
from rackactor_runtime.supervisor.decisions.messages import Called, Notify, Reply
from rackactor_runtime.supervisor.decisions.table import Process


class ActorSystemCalls:
    """Carry out these system calls on a core."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def _reply(self, call: Called, fields: dict[str, Any] | None = None, blobs: Sequence[Any] = ()) -> None:
        if call.rid:
            self._core.effects.append(Reply(call.pid, call.rid, True, fields or {}, blobs))

    def op_leaving(self, caller: Process, call: Called) -> None:
        """Say that the caller's actor has ended; what its process still has to do concerns nobody's program."""
        self._core.leaving(caller)

    def op_dead_letters(self, caller: Process, call: Called) -> None:
        """Begin or stop to handle dead letters; as in Thespian, whoever began last has them all."""
        if call.args.get("enable", True):
            self._core.dead_letters = caller.pid
        elif self._core.dead_letters == caller.pid:
            self._core.dead_letters = None
        self._reply(call)

    def op_dead_letter(self, caller: Process, call: Called) -> None:
        """Pass a message that nobody can receive to the handler of dead letters."""
        fields = {"pid": call.args["pid"], "box": call.args.get("box", 0), "sender": caller.pid}
        handler = self._core.dead_letters
        if handler is not None and handler != fields["pid"]:
            fields["payload"] = bytes(call.blobs[0])
            self._core.effects.append(Notify(handler, "dead_letter", fields))
        self._reply(call)

    def op_capabilities(self, caller: Process, call: Called) -> None:
        """Set or remove (None) capabilities; every actor hears of it. Tells what they all are."""
        core, changes = self._core, dict(call.args.get("set") or {})
        if not all(isinstance(name, str) and (v is None or isinstance(v, bytes)) for name, v in changes.items()):
            raise InvalidCall("capabilities are names with packed values, or None to remove one")
        for name, value in changes.items():
            if value is None:
                core.capabilities.pop(name, None)
            else:
                core.capabilities[name] = value
        for record in core.table if changes else ():
            if record.kind == "actor" and record.alive and record.started is not None:
                core.effects.append(Notify(record.pid, "capabilities", {"set": changes}))
        self._reply(call, {"capabilities": core.capabilities})

    def op_shutdown(self, caller: Process, call: Called) -> None:
        """End the group because an actor asks for it (Thespian's actorSystemShutdown)."""
        self._reply(call)
        self._core.shutdown.begin(f"process {caller.pid} asked for the shutdown of the actor system")

    def op_source_authority(self, caller: Process, call: Called) -> None:
        """Make the caller the one who says which sources may be used."""
        self._core.sources.authority = caller.pid
        self._reply(call)

    def op_load_source(self, caller: Process, call: Called) -> None:
        """Take a source for the source authority to judge; without one nothing is loaded."""
        self._core.effects.extend(self._core.sources.load(str(call.args["hash"]), bytes(call.blobs[0])))
        self._reply(call)

    def op_validated_source(self, caller: Process, call: Called) -> None:
        """Take the verdict of the source authority."""
        name, info = str(call.args["hash"]), str(call.args.get("info"))
        self._core.effects.extend(self._core.sources.judge(caller.pid, name, bytes(call.blobs[0]), info))
        self._reply(call)

    def op_unload_source(self, caller: Process, call: Called) -> None:
        """Forget a source."""
        self._core.effects.extend(self._core.sources.unload(str(call.args["hash"])))
        self._reply(call)

    def op_source(self, caller: Process, call: Called) -> None:
        """Give a source, as soon as there is a verdict on it."""
        self._core.effects.extend(self._core.sources.get(caller.pid, call.rid, str(call.args["hash"])))

    def op_source_news(self, caller: Process, call: Called) -> None:
        """Begin or stop to tell the caller of sources."""
        self._reply(call)
        self._core.effects.extend(self._core.sources.watch(caller.pid, enable=bool(call.args.get("enable", True))))
