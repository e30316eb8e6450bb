"""A provider whose instances are virtual machines, on any cloud that has five operations (`Cloud`).

It observes what the cloud lists, and what the program on each machine reports (`rackactor_runtime.guest`). `lifecycle`
decides what follows from that. A cloud's calls block, so a few threads make them; one descriptor tells when results
are ready.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from rackactor.errors import InvalidCall
from rackactor.system.readiness import readable
from rackactor.wire.calls.machine import MachineSays
from rackactor.wire.events import MachineEvent
from rackactor_runtime.providers.base import (
    Capabilities,
    CreateFailed,
    Ended,
    Event,
    Key,
    Liveness,
    Order,
    Output,
    Say,
)
from rackactor_runtime.providers.machines.cloud import Cloud, CloudFault, LaggingCloud, Machine
from rackactor_runtime.providers.machines.effects import Ask, Discard, Effect, Find, List, Remove, Seen, Tell
from rackactor_runtime.providers.machines.effects import Say as SayTo
from rackactor_runtime.providers.machines.lifecycle import Machines
from rackactor_runtime.providers.machines.userdata import script
from rackactor_runtime.providers.machines.workers import Answer, WorkerPool

__all__ = ["Cloud", "CloudFault", "LaggingCloud", "Machine", "MachineProvider", "Seen"]

#: The default number of machines that come up at the same time.
CONCURRENCY = 10
#: Additional threads beside those that make machines: for deletes, lists and consoles.
_MORE = 10

_log = logging.getLogger(__name__)


class MachineProvider:
    """Starts, watches and destroys virtual machines.

    Args:
        settings: `gid` of the group (set by the supervisor), `boot_concurrency`: how many machines come up at the same
            time. A subclass removes its own settings, makes its cloud, and passes on the rest.
        state_dir: the group's directory.
        cloud: where the machines are.
        own: the cloud's name for the machine that the supervisor runs on, if it is one of them.
        owed: seconds for which a duplicate of that machine may still appear, from a create that was given up.

    Raises:
        InvalidCall: a setting is invalid.
    """

    name = "machines"
    capabilities = Capabilities(
        remote=True,
        machines=True,
        defaults=MappingProxyType(
            {
                "lost_after": 5.0,
                "lease": 30.0,
                "boot_timeout": 300.0,
                "max_spawns": 100,
                "spawn_period": 60.0,
                "max_processes": 200,
            }
        ),
        closing=60.0,
    )
    #: The part of every guest program's birth data that comes from the provider.
    birth: Mapping[str, Any] = MappingProxyType({})
    #: Shell commands that install the guest program on images that lack it.
    install = ""

    def __init__(
        self,
        settings: Mapping[str, Any],
        state_dir: str,
        cloud: Cloud,
        own: str | None = None,
        owed: float = 0.0,
    ) -> None:
        concurrency = _check(settings)
        self._cloud = cloud
        self._lagging = cloud if isinstance(cloud, LaggingCloud) else None
        self._lives = Machines(str(settings["gid"]), concurrency, own)
        self._orders: dict[Key, Machine] = {}
        self._told: list[Event] = []
        self._say: Say = lambda key, event: None
        self._workers = WorkerPool(concurrency + _MORE)
        self._closed = False
        if owed > 0:
            self._lives.owe(owed, self._now())
            self._workers.waker.wake()  # for the first list

    def fds(self) -> Sequence[int]:
        """Return the descriptors whose readability means that `events()` has something."""
        return () if self._closed else (self._workers.waker.fileno(),)

    def create(self, order: Order) -> None:
        """Begin to make a machine.

        Raises:
            ValueError: there is one of that key already.
        """
        if order.key in self._lives:
            raise ValueError(f"{order.key} exists")
        if self._closed:
            self._told.append(CreateFailed(order.key, "the provider is closed"))
            return
        self._orders[order.key] = self.machine(order)
        self._do(self._lives.order(order.key, self._now(), fork=order.fork, patience=order.boot_timeout))

    def machine(self, order: Order) -> Machine:
        """Return what an order asks of the cloud."""
        mark, birth = self._lives.mark(order.key), {**order.birth, **self.birth}
        text = script(birth, self.install)
        about = (order.key.pid, order.ppid, order.name, text, order.placement, order.args, order.deadline)
        return Machine(mark, *about, wanted=partial(self._lives.wants, order.key))

    def delete(self, key: Key) -> None:
        """Begin to destroy a machine. Idempotent."""
        self._do(self._lives.delete(key, self._now()))

    def probe(self, key: Key) -> Liveness:
        """Return the result of the last list; if that is old, a new list is under way."""
        liveness, effects = self._lives.probe(key, self._now())
        self._do(effects)
        return liveness

    def grant_output(self, key: Key, count: int) -> None:
        """Allow `count` more bytes of a process's output to be sent.

        Raises:
            ValueError: `count` is negative.
        """
        if count < 0:
            raise ValueError(f"a grant of {count} bytes")
        if key in self._lives:
            self._say(key, MachineEvent("grant", count))

    def events(self) -> list[Event]:
        """Return what happened since the last call, in order; never blocks."""
        if not self._closed:
            for answer in self._workers.answers():
                self._do(answer(self._now()))
            self._do(self._lives.tick(self._now()))
        told, self._told = self._told, []
        return told

    def close(self, timeout: float) -> None:
        """Destroy whatever is left, within `timeout` seconds. Idempotent.

        The ends are still reported by `events`; for unconfirmed ones, the report says that something may be left.
        """
        if self._closed:
            return
        until = time.monotonic() + timeout
        for key in list(self._orders):
            self.delete(key)
        told: list[Event] = []
        while (left := until - self._now()) > 0:
            told += self.events()
            if not len(self._lives):
                break
            readable([self._workers.waker], min(left, 1.0))
        self._closed = True
        self._workers.close()
        self._told = told + self._told
        for key in list(self._orders):
            words = f"not confirmed by the cloud within {timeout:g} s: {self._lives.mark(key)} may be left"
            _log.warning("a delete was %s", words)
            self._told.append(Ended(key, None, None, note=f"its delete was {words}"))
        self._orders.clear()
        self._cloud.close()

    # -- the programs on the machines -----------------------------------------------------------------------

    def connect(self, say: Say) -> None:
        """Store the function that sends a message to a guest program."""
        self._say = say

    def joined(self, key: Key, os_pid: int) -> None:
        """Note that a guest program has joined."""
        self._do(self._lives.joined(key, self._now()))

    def left(self, key: Key) -> None:
        """Note that a guest program is no longer a member."""
        self._do(self._lives.left(key, self._now()))

    def heard(self, key: Key, said: MachineSays, blobs: Sequence[bytes]) -> None:
        """Process a message of a guest program."""
        if key not in self._lives:
            return
        self._lives.spoke(key)
        match said.event:
            case "output" if blobs and said.stream is not None:
                self._told.append(Output(key, said.stream, bytes(blobs[0])))
            case "created":
                self._do(self._lives.located(key, said.address, self._now()))
            case "ended" | "failed":
                self._do(self._lives.said_ended(key, said, self._now()))
        if self._told:
            self._workers.waker.wake()

    def last_act(self, kept: bool) -> None:
        """Do the very last action: nothing here."""

    # -- doing ------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return time.monotonic()

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Tell(event):
                    if isinstance(event, (Ended, CreateFailed)):
                        self._orders.pop(event.key, None)
                    self._told.append(event)
                    self._workers.waker.wake()
                case SayTo(key, word):
                    self._say(key, word)
                case Ask(key):
                    self._workers.begin(partial(self._ask, key, self._orders[key]))
                case List():
                    self._workers.begin(self._list)
                case Find(key, instance):
                    self._workers.begin(partial(self._find, key, instance))
                case Remove(key, instance, console):
                    self._workers.begin(partial(self._remove, key, instance, console))
                case Discard(mark, instance):
                    _log.warning("%s of %s counts for nobody: it is deleted", instance, mark)
                    self._workers.begin(partial(self._discard, mark, instance))
        self._workers.wake_at(self._lives.due())

    # These run in threads; `events` processes their results.

    def _ask(self, key: Key, machine: Machine) -> Answer:
        try:
            instance = (self._lagging.ask if self._lagging is not None else self._cloud.create)(machine)
        except CloudFault as fault:
            return partial(self._lives.refused, key, fault.kind, str(fault), retry_after=fault.retry_after)
        except Exception as error:
            _log.exception("a create of %s", machine.mark)
            return partial(self._lives.refused, key, "unclear", f"{type(error).__name__}: {error}")
        return partial(self._lives.asked, key, instance)

    def _list(self) -> Answer:
        try:
            seen = self._lagging.survey() if self._lagging is not None else self._cloud.list()
        except Exception as error:
            _log.warning("the cloud's list could not be had: %s", str(error))
            return self._sparing(error, self._lives.list_failed)
        return partial(self._lives.listed, seen)

    def _find(self, key: Key, instance: str) -> Answer:
        try:
            if self._lagging is not None:
                seen = self._lagging.find(instance)
            else:
                seen = next((each for each in self._cloud.list().values() if each.instance == instance), None)
        except Exception as error:
            _log.warning("the cloud could not be asked for %s: %s", instance, str(error))
            return self._sparing(error, partial(self._lives.find_failed, key))
        return partial(self._lives.found, key, seen)

    def _remove(self, key: Key, instance: str | None, console: bool) -> Answer:
        text = ""
        if console and instance is not None:
            try:
                text = self._cloud.console(instance)
            except Exception as error:
                _log.warning("the console of %s could not be had: %s", instance, str(error))
        try:
            gone = self._cloud.delete(self._lives.mark(key), instance)
        except Exception as error:
            words = str(error) or type(error).__name__
            return self._sparing(error, partial(self._lives.removed, key, False, words, text))
        return partial(self._lives.removed, key, gone, "", text)

    def _discard(self, mark: str, instance: str) -> Answer:
        try:
            if self._lagging is not None:
                self._lagging.discard(instance)
            else:
                self._cloud.delete(mark, instance)
        except Exception as error:
            _log.warning("%s of %s, which counts for nobody, could not be deleted: %s", instance, mark, str(error))
            return self._sparing(error, partial(self._lives.discarded, instance))
        return partial(self._lives.discarded, instance)

    def _sparing(self, error: Exception, answer: Answer) -> Answer:
        """Return an answer that also notes for how long the cloud asks for no more requests, if it does."""
        if not isinstance(error, CloudFault) or (error.kind != "busy" and error.retry_after is None):
            return answer

        def answered(now: float) -> list[Effect]:
            self._lives.spare(error.retry_after, now)
            effects: list[Effect] = answer(now)
            return effects

        return answered


def _check(settings: Mapping[str, Any]) -> int:
    for name in settings:
        if name not in ("gid", "boot_concurrency"):
            raise InvalidCall(f"this provider has no setting {name!r}; it has: boot_concurrency")
    value = settings.get("boot_concurrency", CONCURRENCY)
    if type(value) is not int or not 1 <= value <= 1000:
        raise InvalidCall(f"the setting 'boot_concurrency' is an integer from 1 to 1000, not {value!r}")
    return value
