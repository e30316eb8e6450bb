"""A Nova in virtual time that does what real ones have been seen to do: its lists lag and leave servers out, creates
are carried out minutes after they were given up, deletes are accepted and forgotten, a 404 means "not yet".

And a world around it, driven by a seed: programs that fork and kill, guest programs that join, people who delete
servers by hand; with the real `Machines` and the real `NovaCloud` in between. `World(seed).run()` returns what should
never happen and did.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rackactor.wire.calls.machine import MachineSays
from rackactor_runtime.providers.base import Created, CreateFailed, Ended, Event, Key, Owed
from rackactor_runtime.providers.machines import strays
from rackactor_runtime.providers.machines.effects import Ask, Discard, Effect, Find, List, Remove, Say, Tell
from rackactor_runtime.providers.machines.lifecycle import Machines
from rackactor_runtime.providers.machines.provider import CloudFault, Machine, Seen
from rackactor_runtime.providers.nova.cloud import NovaCloud, Site
from rackactor_runtime.providers.nova.marks import names as w

GID = "01234567-89ab-4cde-8f01-23456789abcd"
#: Seconds until a guest program gives up that is not let in, and until one that is silent is looked at.
PATIENCE, LOST_AFTER = 120.0, 5.0
#: Seconds of a run: programs do things, then everything is killed, then nothing may come any more.
BUSY, END = 300.0, 300.0 + strays.DEBT + 400.0


@dataclass
class Server:
    """One of Nova's."""

    id: str
    body: dict[str, Any]
    made: float
    #: From when it is known by its id, and in lists; in which spans lists lack it; until when they show it when gone.
    known: float
    listed: float
    unlisted: tuple[float, float] = (0.0, 0.0)
    ghost: float = 0.0
    address: str = ""
    going: float | None = None
    joined: bool = False
    #: Somebody has switched it off, or deleted it by hand; it gives up itself.
    off: bool = False
    error: tuple[float, float] = (0.0, 0.0)

    @property
    def mark(self) -> str:
        return str(self.body["metadata"]["rack_key"])


class LaggingNova:
    """What stands in a `Session`'s place."""

    def __init__(self, rng: random.Random, clock: Callable[[], float], later: Callable[..., None]) -> None:
        self.rng, self.clock, self.later = rng, clock, later
        self.servers: dict[str, Server] = {}
        self.past: list[Server] = []
        self.posts: dict[str, int] = {}
        self.wrong: list[str] = []
        self.on_boot: Callable[[Server], None] = lambda server: None
        self.on_post: Callable[[str], None] = lambda mark: None
        self.on_delete: Callable[[Server], None] = lambda server: None
        self._numbers = itertools.count(1)

    # -- Session's ------------------------------------------------------------------------------------------

    def call(self, service: str, method: str, path: str, **more: Any) -> Any:
        assert (method, path) == ("POST", "/servers"), (method, path)
        body = more["json"]["server"]
        mark = body["metadata"]["rack_key"]
        self.on_post(mark)
        match self.rng.choices(
            ["made", "lost", "nothing", "late", "busy"], weights=[60, 10, 10, 14 if self.clock() < BUSY else 0, 6]
        )[0]:
            case "made":
                self.posts[mark] = self.posts.get(mark, 0) + 1
                return {"server": {"id": self.make(body).id}}
            case "busy":
                raise CloudFault("busy", "429", self.rng.choice([None, 5.0, 20.0]))
            case "lost":
                self.make(body)
            case "late":
                self.later(self.rng.uniform(3.0, 400.0), partial(self.make, body))
        self.posts[mark] = self.posts.get(mark, 0) + 1
        raise CloudFault("unclear", "504")

    def list(self, service: str, path: str, **params: Any) -> list[dict[str, Any]]:
        if service == "network":
            return []
        if self.rng.random() < 0.05:
            raise CloudFault("unclear", "503")
        now, prefix = self.clock(), params["name"].lstrip("^").replace("\\", "")
        there = [s for s in self.servers.values() if now >= s.listed and not s.unlisted[0] <= now < s.unlisted[1]]
        there += [s for s in self.past if now < s.ghost]
        return [self._row(each) for each in there if each.body["name"].startswith(prefix)]

    def get(self, service: str, path: str) -> Any:
        if self.rng.random() < 0.05:
            raise CloudFault("unclear", "503")
        server = self.servers.get(path.rpartition("/")[2])
        return {"server": self._row(server)} if server is not None and self.clock() >= server.known else None

    def delete(self, service: str, path: str) -> bool:
        server = self.servers.get(path.rpartition("/")[2])
        if server is None or self.clock() < server.known:
            return True
        self.on_delete(server)
        how = self.rng.choices(["goes", "forgotten", "503"], weights=[70, 15, 15])[0]
        if how == "503":
            raise CloudFault("unclear", "503")
        if how == "goes" and server.going is None:
            server.going = self.clock()
            self.later(self.rng.uniform(0.2, 4.0), partial(self.vanish, server))
        return False

    def close(self) -> None:
        pass

    # -- the cloud's own --------------------------------------------------------------------------------------

    def make(self, body: dict[str, Any]) -> Server:
        now, rng = self.clock(), self.rng
        number = next(self._numbers)
        known = now + (rng.uniform(0.0, 1.5) if rng.random() < 0.2 else 0.0)
        listed = known + (rng.uniform(0.0, 30.0) if rng.random() < 0.3 else 0.0)
        server = Server(f"s{number}", body, now, known, listed, address=f"10.0.0.{number}")
        if rng.random() < 0.3:  # its cell is down, for those who list
            begin = now + rng.uniform(0.0, 200.0)
            server.unlisted = (begin, begin + rng.uniform(1.0, 100.0))
        self.servers[server.id] = server
        self.later(rng.uniform(0.5, 20.0), partial(self.on_boot, server))
        return server

    def vanish(self, server: Server) -> None:
        if self.servers.pop(server.id, None) is not None:
            server.ghost = self.clock() + (self.rng.uniform(0.0, 3.0) if self.rng.random() < 0.3 else 0.0)
            self.past.append(server)

    def _row(self, server: Server) -> dict[str, Any]:
        now = self.clock()
        status = "SHUTOFF" if server.off else "ERROR" if server.error[0] <= now < server.error[1] else "ACTIVE"
        return {
            "id": server.id,
            "name": server.body["name"],
            "metadata": server.body["metadata"],
            "status": status,
            "created": f"{server.made:010.3f}",
            "addresses": {"net": [{"addr": server.address, "OS-EXT-IPS:type": "fixed"}]},
            "OS-EXT-STS:task_state": "deleting" if server.going is not None else None,
        }


@dataclass
class World:
    """One run."""

    seed: int
    wrong: list[str] = field(default_factory=list)
    told: list[Event] = field(default_factory=list)
    now: float = 0.0
    wanted: dict[Key, bool] = field(default_factory=dict)
    #: Who is to end: killed, ended by itself, given up because of its boot.
    over: set[Key] = field(default_factory=set)
    silent: dict[Key, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self.nova = LaggingNova(self.rng, lambda: self.now, self.later)
        self.nova.on_boot, self.nova.on_post, self.nova.on_delete = self._booted, self._posted, self._deleted
        first = {"name": w.server(GID, 1, "supervisor"), "metadata": w.metadata(GID, 1, 0, f"{GID}.1.1")}
        if self.rng.random() < 0.3:  # its first create was given up, and carried out all the same
            self.later(self.rng.uniform(0.0, 60.0), partial(self.nova.make, first))
        self.own = self.nova.make(first).id
        cloud: Any = self.nova
        self.cloud = NovaCloud(cloud, Site(GID, "net", "i", "f"), sleep=self._never, clock=self._clock, own=self.own)
        self.lives = Machines(GID, 3, self.own)
        self.lives.owe(strays.DEBT, 0.0)

    # -- running ------------------------------------------------------------------------------------------

    def run(self) -> list[str]:
        """Run; return what went wrong."""
        for pid in range(3, 3 + self.rng.randint(1, 4)):
            self.later(self.rng.uniform(0.0, 30.0), partial(self._fork, Key(pid, 1)))
        self.later(BUSY, self._kill_all)
        self.later(END, lambda: None)
        while self._events:
            due = self.lives.due()
            if due < self._events[0][0]:
                self.now = max(self.now, due)
                self.do(self.lives.tick(self.now))
                continue
            self.now, _, action = heapq.heappop(self._events)
            action()
        self._judge()
        return self.wrong

    def later(self, seconds: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), action))

    def _clock(self) -> float:
        return self.now

    def _never(self, seconds: float) -> None:
        raise AssertionError("who decides does not sleep")

    def do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Tell(event):
                    self._tell(event)
                case Ask(key):
                    self.later(self.rng.choice([0.0, 0.05, 2.0]), partial(self._ask, key))
                case List():
                    self._answer(self._listing)
                case Find(key, instance):
                    self._answer(partial(self._find, key, instance))
                case Remove(key, instance):
                    self._answer(partial(self._remove, key, instance))
                case Discard(_, instance):
                    self._answer(partial(self._discard, instance))
                case Say():
                    pass

    def _answer(self, call: Callable[[], Callable[[], list[Effect]]]) -> None:
        """Have the cloud called; its answer arrives a moment later."""
        answer = call()
        self.later(self.rng.choice([0.02, 0.05, 1.0]), lambda: self.do(answer()))

    def _ask(self, key: Key) -> None:
        machine = Machine(f"{GID}.{key.pid}.1", key.pid, 2, "w", "", wanted=partial(self.lives.wants, key))

        def call() -> Callable[[], list[Effect]]:
            try:
                name = self.cloud.ask(machine)
            except CloudFault as fault:
                kind, words, after = fault.kind, str(fault), fault.retry_after
                return lambda: self.lives.refused(key, kind, words, self.now, retry_after=after)
            return lambda: self.lives.asked(key, name, self.now)

        self._answer(call)

    def _listing(self) -> Callable[[], list[Effect]]:
        try:
            seen = self.cloud.survey()
        except CloudFault:
            return lambda: self.lives.list_failed(self.now)
        return lambda: self.lives.listed(seen, self.now)

    def _find(self, key: Key, instance: str) -> Callable[[], list[Effect]]:
        seen: Seen | None
        try:
            seen = self.cloud.find(instance)
        except CloudFault:
            return lambda: self.lives.find_failed(key, self.now)
        return lambda: self.lives.found(key, seen, self.now)

    def _remove(self, key: Key, instance: str | None) -> Callable[[], list[Effect]]:
        try:
            gone, words = self.cloud.delete(f"{GID}.{key.pid}.1", instance), ""
        except CloudFault as fault:
            gone, words = False, str(fault)
        return lambda: self.lives.removed(key, gone, words, "", self.now)

    def _discard(self, instance: str) -> Callable[[], list[Effect]]:
        try:
            self.cloud.discard(instance)
        except CloudFault:
            pass
        return lambda: self.lives.discarded(instance, self.now)

    # -- what happens ---------------------------------------------------------------------------------------

    def _fork(self, key: Key) -> None:
        self.wanted[key] = True
        self.do(self.lives.order(key, self.now, fork=3, patience=PATIENCE))
        if self.rng.random() < 0.3:
            self.later(self.rng.uniform(0.0, 60.0), partial(self._kill, key))

    def _kill(self, key: Key) -> None:
        self.over.add(key)
        self.do(self.lives.delete(key, self.now))

    def _kill_all(self) -> None:
        for key in list(self.wanted):
            self._kill(key)

    def _booted(self, server: Server) -> None:
        """Have its guest program join, if it is let in: the first with its token."""
        pid = int(server.body["metadata"]["pid"])
        key = Key(pid, 1)
        if server.id not in self.nova.servers or server.off or server.going is not None or pid == 1:
            return
        if key not in self.lives or self._has_joined(server.mark):
            self.later(PATIENCE, partial(setattr, server, "off", True))
            return
        server.joined = True
        if not self.lives.wants(key):
            self.over.add(key)  # it is too late
        self.do(self.lives.joined(key, self.now))
        self.do(self.lives.located(key, server.address, self.now))
        match self.rng.choices(["lives", "ends", "deleted", "off", "error"], weights=[40, 25, 10, 10, 15])[0]:
            case "ends":
                self.later(self.rng.uniform(0.1, 200.0), partial(self._ended, key, server))
            case "deleted":
                self.later(self.rng.uniform(0.1, 200.0), partial(self._by_hand, key, server, delete=True))
            case "off":
                self.later(self.rng.uniform(0.1, 200.0), partial(self._by_hand, key, server, delete=False))
            case "error":  # a live migration that failed: it runs all the same
                server.error = (self.now + 10.0, self.now + 60.0)

    def _ended(self, key: Key, server: Server) -> None:
        if server.id in self.nova.servers and server.going is None:
            self.over.add(key)
            self.do(self.lives.said_ended(key, MachineSays("ended", code=0), self.now))

    def _by_hand(self, key: Key, server: Server, delete: bool) -> None:
        if server.id not in self.nova.servers:
            return
        server.off = True
        if delete:
            self.nova.vanish(server)
        self.over.add(key)
        self.later(LOST_AFTER, partial(self._silent, key))

    def _silent(self, key: Key) -> None:
        if key in self.lives:
            self.do(self.lives.probe(key, self.now)[1])
            self.later(1.0, partial(self._silent, key))

    def _tell(self, event: Event) -> None:
        self.told.append(event)
        match event:
            case Created(key, _):
                self.later(PATIENCE, partial(self._boot_by, key))
                if self.rng.random() < 0.15:
                    self.later(self.rng.uniform(0.0, 0.5), partial(self._kill, key))
            case Ended(key) | CreateFailed(key):
                owed = any(isinstance(each, Owed) and each.key == key for each in self.told)
                if isinstance(event, Ended) and event.outside and key not in self.over:
                    self.wrong.append(f"{event} at {self.now:.1f}, and nobody has touched it")
                left = [s.id for s in self.nova.servers.values() if s.mark == f"{GID}.{key.pid}.1"]
                if left and not owed:
                    self.wrong.append(f"{event} at {self.now:.1f}, and {left} is there")

    def _boot_by(self, key: Key) -> None:
        if key in self.lives and not self._has_joined(f"{GID}.{key.pid}.1"):
            self._kill(key)

    def _has_joined(self, mark: str) -> bool:
        return any(each.joined for each in [*self.nova.servers.values(), *self.nova.past] if each.mark == mark)

    # -- judging ----------------------------------------------------------------------------------------------

    def _posted(self, mark: str) -> None:
        key = Key(int(mark.split(".")[1]), 1)
        if key in self.over:
            self.wrong.append(f"a create of {key} at {self.now:.1f}, which nobody wants")

    def _deleted(self, server: Server) -> None:
        key = Key(int(server.body["metadata"]["pid"]), 1)
        if server.id == self.own:
            self.wrong.append("the supervisor has deleted itself")
        elif server.joined and not server.off and key not in self.over:
            self.wrong.append(f"{server.id} of {key}, which is well, is deleted at {self.now:.1f}")

    def _judge(self) -> None:
        left = [server.id for server in self.nova.servers.values() if server.id != self.own]
        if left:
            self.wrong.append(f"left: {left}")
        ends = [event.key for event in self.told if isinstance(event, (Ended, CreateFailed))]
        if sorted(ends) != sorted(self.wanted):
            self.wrong.append(f"ends of {ends}, births of {list(self.wanted)}")
        self.wrong += [f"{count} creates of {mark}" for mark, count in self.nova.posts.items() if count > 3]
