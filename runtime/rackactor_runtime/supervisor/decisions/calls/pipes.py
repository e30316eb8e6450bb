"""The system calls of pipes."""

from __future__ import annotations

from typing import Any

from rackactor.errors import InvalidCall, NotAllowed
from rackactor.ipc.pipes.framing import parse_parcel
from rackactor.ipc.pipes.writing import Writer
from rackactor_runtime.supervisor.decisions.messages import Called, Reply
from rackactor_runtime.supervisor.decisions.pipes import READ, WRITE
from rackactor_runtime.supervisor.decisions.table import Process

#: Characters of the name of a pipe at the most.
_MAX_NAME = 255


class PipeCalls:
    """Carry out these system calls on a core."""

    _core: Any

    def _answer(self, call: Called, fields: dict[str, Any]) -> None:
        if call.rid:
            self._core.effects.append(Reply(call.pid, call.rid, True, fields))

    def op_pipe_open(self, caller: Process, call: Called) -> None:
        """Open one end of a pipe, by its number or name; or make one without a name, and open both."""
        core, mode = self._core, call.args["mode"]
        if core.shutdown.reason:
            raise NotAllowed(f"the group is ending: {core.shutdown.reason}")
        if mode not in (READ, WRITE, READ + WRITE):
            raise InvalidCall(f"a pipe is opened to read ('r') or to write ('w'), not {mode!r}")
        number, name = call.args.get("id"), call.args.get("name")
        if number is not None:
            pipe = core.pipes.get(number)
        else:
            if name is not None and not (isinstance(name, str) and 0 < len(name) <= _MAX_NAME and name.isprintable()):
                raise InvalidCall(f"the name of a pipe is 1 to {_MAX_NAME} printable characters, not {name!r}")
            pipe = core.pipes.make(name)
        opened = [core.pipes.open(pipe, caller.pid, each) for each in mode]
        # The answer first: what the new end hears next is about a seat that it must know.
        self._answer(call, {"id": pipe.id, "name": pipe.name, "seats": [seat for seat, _ in opened]})
        for _, effects in opened:
            core.effects.extend(effects)

    def op_pipe_close(self, caller: Process, call: Called) -> None:
        """Close an end; a reader says what it has taken, a writer if something of it was lost."""
        taken = call.args.get("taken")
        counts = {int(seat): int(count) for seat, count in taken} if taken is not None else {}
        core = self._core
        core.effects.extend(core.pipes.close(caller.pid, call.args["seat"], counts, str(call.args.get("lost") or "")))
        self._answer(call, {})

    def op_pipe_credit(self, caller: Process, call: Called) -> None:
        """Say what a reader has taken of what the supervisor inherited, and what it may be sent."""
        names = ("seat", "reader", "taken", "received", "limit")
        numbers = [int(call.args[name]) for name in names]
        self._core.effects.extend(self._core.pipes.credit(caller.pid, *numbers))
        self._answer(call, {})

    def op_pipe_room(self, caller: Process, call: Called) -> None:
        """Tell whether there is room for so many bytes of messages that nobody has taken."""
        self._answer(call, {"room": self._core.pipes.room(int(call.args["size"]))})

    def op_pipe_piece(self, caller: Process, call: Called) -> None:
        """Take a piece of what the caller is about to bequeath."""
        pieces = (*caller.pieces, *call.blobs)
        room = self._core.pipes.room(sum(map(len, pieces)))
        caller.pieces = pieces if room else ()
        self._answer(call, {"room": room})

    def op_pipe_bequeath(self, caller: Process, call: Called) -> None:
        """Leave what nobody has taken to the supervisor; answers whether it has room for it."""
        core, args = self._core, call.args
        blobs = (*caller.pieces, *call.blobs)
        caller.pieces = ()
        if not core.pipes.room(sum(map(len, blobs))):
            self._answer(call, {"taken": False})
            return
        messages = parse_parcel(args["shape"], blobs, join=False)
        writer = Writer.inherit(args["lanes"], messages)
        effects = core.pipes.inherit(caller.pid, args["seat"], writer, clean=bool(args["clean"]))
        self._answer(call, {"taken": True})
        core.effects.extend(effects)

    def op_pipes(self, caller: Process, call: Called) -> None:
        """List the pipes."""
        self._answer(call, {"pipes": self._core.pipes.rows()})
