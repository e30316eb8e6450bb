"""Members of a group that send garbage of every kind, at every layer."""

from __future__ import annotations

import contextlib
import random
import time
from typing import Any

import msgpack

import rackactor as rack
from rackactor.current import current
from rackactor.ipc import service
from rackactor.wire.calls.services import FindService
from rackactor.wire.codec import encode
from rackactor.wire.frames import Header, Kind, pack_route
from rackactor.wire.stream import Entry, EntryKind
from rackactor_runtime.services.files.service import Files
from rackactor_runtime.supervisor.decisions.calls.dispatch import CALLS

#: Names of all system calls but those that end what the test needs.
OPS = sorted(CALLS.keys() - {"exit", "end", "detach", "keep", "kill"})
OPS += [
    "shm",
    "shm_sync",
    "shm_watch",
    "shm_lock",
    "shm_unlock",
    "shm_replica",
    "shm_restore",
    "logs",
    "machine",
    "x" * 1000,
]


#: What the group's services are asked, and what none of them knows.
QUESTIONS = [name[4:] for name in sorted(dir(Files)) if name.startswith("_op_")]
QUESTIONS += ["send", "done", "", "x" * 100_000]


def value(chance: random.Random, depth: int = 0) -> Any:
    """Return some plain value, mostly of the wrong type."""
    kind = chance.randrange(12 if depth < 4 else 9)
    if kind == 9:
        return [value(chance, depth + 1) for _ in range(chance.randrange(4))]
    if kind == 10:
        return {chance.choice(NAMES): value(chance, depth + 1) for _ in range(chance.randrange(4))}
    if kind == 11:
        deep: Any = []
        for _ in range(chance.choice([20, 400, 1000])):
            deep = [deep]
        return deep
    return [
        None,
        True,
        -1,
        chance.choice([0, 1, 2, 3, 4, 1 << 40, (1 << 64) - 1, -(1 << 63)]),
        chance.random() * 1e300,
        float("nan"),
        "text",
        chance.randbytes(chance.choice([0, 1, 30])),
        "x" * 3000,
    ][kind]


NAMES = [
    "pid", "pids", "n", "kind", "name", "id", "seat", "mode", "rid", "signal", "count", "words", "numbers", "endpoint",
    "ticket", "number", "ops", "key", "limit", "taken", "shape", "lanes", "env", "args", "cwd", "memory", "deadline",
    "placement", "pipes", "streams", "code", "on_orphan", "global_name", "hang", "revision", "prefix", "token", "wait",
    "enable", "value", "box", "reader", "received", "last", "stream", "offset", "follow", "event", "service", "what",
]  # fmt: skip


def packed(chance: random.Random) -> bytes:
    """Return bytes that are, or are nearly, a msgpack value."""
    if chance.random() < 0.3:
        return chance.randbytes(chance.choice([0, 1, 7, 100, 5000]))
    try:
        body: bytes = msgpack.packb(value(chance))
    except ValueError:  # nested more deeply than this end packs; the other one would read it
        body = b"\x91" * 600 + b"\xc0"
    return body


def settle() -> None:
    """Stay until this process is put out of its group."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        rack.getpid()
        time.sleep(0.05)


def spew(layer: str, seed: int, target: int, seat: int) -> None:
    """Send garbage at one layer, then wait for what it costs."""
    chance = random.Random(seed)
    kernel: Any = current().kernel
    other = rack.process(target)
    if layer == "direct":
        for _ in range(60):
            other.ask("again")  # from now on the two are connected directly
    if layer == "services":
        for _ in range(60):
            question(kernel, chance)
        return
    for _ in range(60):
        kernel.call_soon_threadsafe(lambda: send(kernel, layer, chance, target, seat))
    if layer == "calls":
        for _ in range(200):
            op = chance.choice(OPS)
            fields = {chance.choice(NAMES): value(chance) for _ in range(chance.randrange(8))}
            try:
                kernel.call(Said(op, fields), *[packed(chance) for _ in range(chance.randrange(3))], timeout=0.05)
            except (rack.RackError, ValueError):
                pass
        return
    settle()


class Said:
    """A system call of any name that says anything."""

    def __init__(self, op: str, fields: dict[str, Any]) -> None:
        self.op = op
        self.fields = fields

    def to_wire(self) -> dict[str, Any]:
        return self.fields


def question(kernel: Any, chance: random.Random) -> None:
    """Ask the group's services what they do not know, or do not understand."""
    name = chance.choice(["files", "snapshots"])
    fields = {chance.choice(NAMES): value(chance) for _ in range(chance.randrange(8))}
    if chance.random() < 0.5:
        fields["path"] = chance.choice(["/a", "", "..", "\0", "/" + "x" * 10_000, "/\udcff"])
    asked = packed(chance)
    if chance.random() < 0.8:
        try:
            asked = service.pack(chance.choice(QUESTIONS), fields, chance.randbytes(chance.randrange(9)))
        except ValueError:  # nested more deeply than this end packs
            pass
    pid = kernel.call(FindService(name))[0]["pid"]
    kernel.post(pid, chance.choice([EntryKind.ASK, EntryKind.TELL]), asked, chance.randrange(1 << 40))


def send(kernel: Any, layer: str, chance: random.Random, target: int, seat: int) -> None:
    """Send one piece of garbage, in the loop."""
    numbers = [chance.choice([0, 1, 2, 50, 1 << 40]) for _ in range(4)]
    if layer == "entries":
        kind = chance.choice([EntryKind.PIPE, EntryKind.CREDIT])
        more = tuple(packed(chance) for _ in range(chance.randrange(3)))
        kernel.offer(target, Entry(kind, seat, packed(chance), more))
        if chance.random() < 0.3:
            count = chance.randint(1, 5)  # a map has no first field, and may have as many as an array that is right
            fields = msgpack.packb({f"{number}": number for number in range(count)})
            kernel.offer(target, Entry(EntryKind.PIPE, seat, fields, more))
    elif layer == "letters":
        letter = chance.choice(
            [EntryKind.TELL, EntryKind.ASK, EntryKind.REPLY, EntryKind.FAILED, EntryKind.STDIN, EntryKind.NAME]
        )
        rid = chance.choice([0, 1, 2, 3, -1, 1 << 31, 1 << 32, (1 << 62) + 1, -(1 << 63)])
        kernel.offer(target, Entry(letter, rid, chance.choice([b"", b"m", b"p", b"b"]) + packed(chance)))
    elif layer == "packets":
        kernel.loop.uplink.send(
            Kind.DATA, tuple(numbers), [packed(chance) for _ in range(chance.randrange(1, 4))], target
        )
    elif layer == "supervisor":
        frames = [pack_route(1), packed(chance), packed(chance)]
        if chance.random() < 0.5:
            kind = chance.choice([Kind.CALL, Kind.RESUME, Kind.RECEIVED, Kind.BEAT, Kind.JOIN])
            extra = {Kind.CALL: (1, "ps"), Kind.RESUME: (1,), Kind.RECEIVED: (1,)}.get(kind, ())
            frames[1] = Header(
                kind, kernel.identity.epoch, kernel.pid, kernel.incarnation, chance.randrange(1 << 50), extra
            ).pack()
        kernel.sockets.send(kernel.sockets.supervisor, frames[: chance.randint(2, 3)])
    elif layer == "direct":
        path = kernel.loop.direct._paths.get(target)
        if path is None:
            return
        prefix = [] if path.identity is None else [path.identity]
        if path.line is not None and chance.random() < 0.5:
            path.line.send(packed(chance) or b"\xc1")
        else:
            head = Header(Kind.DATA, kernel.identity.epoch, kernel.pid, kernel.incarnation, 0, tuple(numbers)).pack()
            kernel.sockets.send(path.socket, [*prefix, pack_route(target), head, packed(chance)])


def overdraw(what: str, target: int, pipe: Any) -> None:
    """Send far more than the receiver gives credit for, in good order; then wait for what it costs."""
    kernel: Any = current().kernel
    other = rack.process(target)
    if what == "messages":
        other.tell(b"")
        kernel.call_soon_threadsafe(lambda: kernel.loop.peers.get(target).outgoing.acknowledge(0, 1 << 50))
        for _ in range(2_000):
            other.tell(bytes(10_000))
        settle()
    else:
        with rack.pipe(pipe, "w") as writer:
            writer.send(bytes(10))
            writer.flush()  # the reader has made itself known
            kernel.call_soon_threadsafe(lambda: unbind(writer._end.writer))
            for _ in range(2_000):
                writer.send(bytes(10_000))
            settle()  # before the end is closed


def unbind(writer: Any) -> None:
    """Have a writer believe that it may send whatever it likes."""
    for lane in writer.lanes.values():
        lane.limit = 1 << 50


def forge(target: int, seat: int) -> None:
    """Write into the lanes of all other writers of a pipe: numbers that they have yet to use."""
    kernel: Any = current().kernel
    rack.process(target).ask("hello")

    def write() -> None:
        for writer in range(1, 30):
            for first in (1, 2, 3, 4):
                fields = msgpack.packb((writer, first, [b"forged"], False))
                kernel.offer(target, Entry(EntryKind.PIPE, seat, fields))

    kernel.call_soon_threadsafe(write)
    rack.process(target).ask("hello again")  # by now it has come


def grant(target: int) -> None:
    """Tell a writer in the name of all other readers that they have taken everything, and that it may send more."""
    kernel: Any = current().kernel
    rack.process(target).ask("hello")

    def write() -> None:
        for writer in range(1, 30):
            for reader in range(1, 30):
                kernel.offer(target, Entry(EntryKind.CREDIT, writer, msgpack.packb((reader, 50, 1 << 40))))

    kernel.call_soon_threadsafe(write)
    rack.process(target).ask("hello again")  # by now it has come


def answer(target: int) -> None:
    """Answer what a process has asked somebody else."""
    kernel: Any = current().kernel
    done: list[bool] = []

    def reply() -> None:
        for number in range(1, 2000):
            kernel.offer(target, Entry(EntryKind.REPLY, number, encode("forged")))
            kernel.offer(target, Entry(EntryKind.FAILED, number, b"forged"))
        done.append(True)

    kernel.call_soon_threadsafe(reply)
    kernel.wait(lambda: done, 20.0)
    rack.process(target).tell("answered")


def write_numbers(pipe: Any, count: int) -> None:
    """Answer twice, and then write."""
    with rack.pipe(pipe, "w") as writer:
        for _ in range(2):
            message = rack.receive(None)
            message.reply(message.value)
        for number in range(count):
            writer.send((number, bytes(1000)))
        rack.receive(None)  # what we write is ours to hand over as long as we live


def hold(pipe: Any) -> None:
    """Open a pipe to read and take one message of it, and none from the mailbox."""
    with rack.pipe(pipe, "r") as reader, rack.pipe("enough", "r") as enough:
        reader.recv()
        enough.recv()


def echo(pipe: Any) -> None:
    """Reply to what is asked, with the end of a pipe open; say at which seat that is."""
    reader = rack.pipe(pipe, "r")
    while True:
        try:
            message = rack.receive(None)
        except rack.CannotOpen:  # somebody has sent a pickle that is none
            continue
        answers = {"seat": lambda: reader._end.seat, "read": lambda: reader.recv(timeout=20)}
        known = answers.get(message.value) if isinstance(message.value, str) else None
        with contextlib.suppress(rack.InvalidCall):  # nested more deeply than what is sent may be
            message.reply(message.value if known is None else known())
