"""The life of the group's processes: from intent to exit status, and who goes with whom."""

from __future__ import annotations

import secrets
import signal
import sys
from collections.abc import Sequence
from typing import Any

from rackactor.status import Cause, Signal, State
from rackactor_runtime.providers.base import Key, Vital
from rackactor_runtime.services import SERVICES
from rackactor_runtime.supervisor.decisions.exit_status import Ending, verdict
from rackactor_runtime.supervisor.decisions.machines import Machinery
from rackactor_runtime.supervisor.decisions.messages import (
    Create,
    Delete,
    Dismiss,
    Effect,
    Examine,
    InstanceEnded,
    Notify,
    Reply,
    Welcome,
)
from rackactor_runtime.supervisor.decisions.pipes import Pipes
from rackactor_runtime.supervisor.decisions.results import Shelf
from rackactor_runtime.supervisor.decisions.services import Services
from rackactor_runtime.supervisor.decisions.settings import Settings
from rackactor_runtime.supervisor.decisions.shutdown import Shutdown
from rackactor_runtime.supervisor.decisions.sources import Sources
from rackactor_runtime.supervisor.decisions.spawn_rate import Intensity
from rackactor_runtime.supervisor.decisions.starts import Starts
from rackactor_runtime.supervisor.decisions.table import INIT, Process, Sent, Table
from rackactor_runtime.supervisor.decisions.waits import Waits


class Core:
    """The state of a group and what happens to its processes.

    Every method may append to `effects`; `now` (monotonic) and `wall` (since the epoch), seconds, are set by
    whoever hands in an event.
    """

    def __init__(self, gid: str, name: str, settings: Settings, *, epoch: int = 1, machines: bool = False) -> None:
        self.gid = gid
        self.name = name
        self.settings = settings
        self.epoch = epoch
        self.table = Table(settings.history)
        self.waits = Waits(self.table)
        self.starts = Starts(self.table)
        self.intensity = Intensity(settings.max_spawns, settings.spawn_period)
        self.effects: list[Effect] = []
        self.now = 0.0
        self.wall = 0.0
        self.tokens: dict[bytes, int] = {}
        self.names: dict[str, int] = {}
        self._names_of: dict[int, list[str]] = {}
        #: Who gets dead letters, if anybody.
        self.dead_letters: int | None = None
        #: What the group's actor system can do, by name: values that only its members open.
        self.capabilities: dict[str, bytes] = {}
        self.sources = Sources()
        self.services = Services(self, SERVICES)
        self.pipes = Pipes(settings.pipe_held)
        self.shelf = Shelf()
        self.machinery = Machinery(self, made=machines)
        self.shutdown = Shutdown(self)
        #: The operating system tells when the script dies: its silence means nothing (a long C call, Ctrl-Z).
        self.owner_watched = False
        self.deadline_at: float | None = None
        #: Everybody is on this host, and the operating system tells of their ends: whoever has nothing to say is left
        #: asleep. He is looked at from outside, and asked when that, or a missing heartbeat, makes us doubt.
        self.nearby = False
        #: Processes run where neither the script's disk nor the supervisor's directories are.
        self.remote = False

    # -- births ---------------------------------------------------------------------------------------

    def external(self, kind: str, token: bytes | None = None) -> Process:
        """Enter a member that nobody forked: the script that makes the group, or a command line."""
        pid = self.table.next_pid()
        record = Process(
            pid=pid, ppid=INIT, pgid=pid, name=kind, kind=kind, what="", created=self.wall, on_orphan="adopt"
        )
        record.birth = self._birth_of(record)
        self.table.add(record)
        if token is not None:
            self.tokens[token] = pid
            record.token = token
        return record

    def service(self, name: str) -> Process:
        """Enter a program of the supervisor's own."""
        record = self.external("service", secrets.token_bytes(24))
        record.name = name
        return record

    def fork(self, order: dict[str, Any], record: Process, blobs: Sequence[Any]) -> None:
        """Write the intent of a process down, then have the provider asked."""
        token = secrets.token_bytes(24)
        self.tokens[token] = record.pid
        record.token = token
        record.birth = self._birth_of(record)
        record.birth.update(order["welcome"])
        record.blobs = blobs
        if not self.machinery.made:  # machines wait for each other: see `created`
            record.boot_by = self.now + self.settings.boot_timeout
        self.table.add(record)
        self.effects.append(Create(self.machinery.order(record, order)))

    def give_name(self, name: str, pid: int) -> None:
        """Give a process a name that the whole group knows, until it ends."""
        self.names[name] = pid
        self._names_of.setdefault(pid, []).append(name)

    def _unname(self, pid: int) -> None:
        for name in self._names_of.pop(pid, ()):
            del self.names[name]

    def _birth_of(self, record: Process) -> dict[str, Any]:
        # Bytecode is for one Python only: whoever sends code has to know for which. And whoever waits for a process
        # elsewhere waits for a machine.
        remote = self.remote or self.machinery.made
        elsewhere: dict[str, Any] = {"python": list(sys.version_info[:2])}
        if self.machinery.made:
            elsewhere["boot_timeout"] = self.settings.boot_timeout
        return {
            **elsewhere,
            "gid": self.gid,
            "group": self.name,
            "pid": record.pid,
            "ppid": record.ppid,
            "pgid": record.pgid,
            "incarnation": record.incarnation,
            "name": record.name,
            "heartbeat": self.settings.idle_beat if self._sleeps(record) else self.settings.heartbeat,
            "lease": self.settings.lease,
            "pickle": self.settings.pickle,
            "remote": remote,
        }

    def created(self, key: Key, instance: str) -> None:
        """Learn that an instance exists."""
        record = self._of(key)
        if record is not None:
            record.instance = instance
            record.note = record.note if record.state is State.UNKILLABLE else ""
            if record.started is None and record.boot_by is None and record.state in (State.NEW, State.BOOTING):
                record.boot_by = self.now + self.settings.boot_timeout
            if record.state is State.NEW:
                record.state = State.BOOTING

    def joined(self, pid: int, os_pid: int, key: bytes | None) -> None:
        """Welcome an agent whose token was good."""
        record = self.table.get(pid)
        if record is None or not record.alive:
            return
        record.started, record.heard, record.key = self.wall, self.now, key
        record.boot_by = None
        if record.external:
            record.instance = str(os_pid)
        if record.state in (State.NEW, State.BOOTING):
            record.state = State.RUNNING
        self.starts.changed(pid)
        if record.kind == "actor" and self.capabilities:
            record.birth["capabilities"] = self.capabilities
        self.effects.append(Welcome(pid, record.birth, record.blobs))
        self.effects.extend(self.services.joined(pid))
        record.birth, record.blobs = {}, ()
        for held in record.held_signals:
            self.effects.append(Notify(pid, "signal", held))
        record.held_signals.clear()

    # -- ends -----------------------------------------------------------------------------------------

    def signal(self, record: Process, sig: Signal, sender: int, intent: Cause | None = None, words: str = "") -> None:
        """Send a signal; SIGTERM starts the grace, SIGKILL is the provider's delete."""
        killed = any(sent.signal == signal.SIGKILL for sent in record.sent)
        record.sent.append(Sent(self.wall, sender, sig))
        del record.sent[:-50]
        if intent is not None and record.intent is None and record.report is None and not killed:
            record.intent, record.intent_words = intent, words
        if sig == signal.SIGKILL:
            self._delete(record)
            return
        if record.state is State.UNKILLABLE:
            return
        if sig == signal.SIGTERM and not record.external and record.kill_at is None:
            record.kill_at = self.now + self.settings.grace
            record.state = State.STOPPING if record.started is not None else record.state
        fields = {"signal": sig, "sender": sender}
        if record.started is None:
            record.held_signals.append(fields)
        else:
            self.effects.append(Notify(record.pid, "signal", fields))

    def _delete(self, record: Process) -> None:
        if record.external:
            self.gone(record, Ending(None, None))
            return
        if record.state is not State.UNKILLABLE:
            record.state = State.STOPPING
        record.kill_at = record.deadline = record.boot_by = None
        self.effects.append(Delete(record.life))

    def instance_ended(self, event: InstanceEnded) -> None:
        """Learn from the provider that an instance is gone: the process is a zombie now."""
        record = self._of(event.key)
        if record is None or not record.alive:
            return
        self._explain(record, event)
        how = (event.code, event.signal, event.oom, event.note, event.fault, event.tail, event.kind, event.outside)
        self.gone(record, Ending(*how))

    def _explain(self, record: Process, event: InstanceEnded) -> None:
        """See whether a process that ended without a word did so because it had been cut off from us."""
        silent = self._silence(record)
        ended_by = event.deleted or (event.code is None and not event.outside)
        said = record.report is not None or record.intent is not None or ended_by
        if record.started is not None and not said and silent >= self.settings.lease - 2 * self.settings.heartbeat:
            record.intent = Cause.LOST
            record.intent_words = (
                f"it had not been heard for {silent:.1f} s, and then ended itself, as a process does that"
                f" has been cut off from its supervisor for longer than its lease ({self.settings.lease:g} s)"
            )

    def leaving(self, record: Process) -> None:
        """Learn that an actor has ended, its process not quite yet: Thespian's programs go on from here."""
        self._unname(record.pid)
        parent = self.table.get(record.ppid)
        if record.kind == "actor" and parent is not None and parent.kind == "actor" and parent.alive:
            self.effects.append(Notify(parent.pid, "leaving", {"pid": record.pid}))

    def gone(self, record: Process, ending: Ending) -> None:
        """Turn a process into a zombie, tell everyone concerned, and see to its children."""
        record.status = verdict(record, ending, self.wall)
        record.ended = self.wall
        self.table.bury(record)
        record.kill_at = record.deadline = record.boot_by = None
        self.tokens.pop(record.token, None)
        self.machinery.gone(record)
        self._unname(record.pid)
        if self.dead_letters == record.pid:
            self.dead_letters = None
        self.effects.extend(self.sources.gone(record.pid))
        self.effects.extend(self.services.gone(record))
        self.effects.extend(self.pipes.gone(record.pid, record.status))
        self.waits.forget(record.pid)
        self.starts.gone(record.pid)
        self.starts.changed(record.pid)
        self.shelf.gone(record.pid)
        if record.report is None:
            record.result = ()  # parts of one that it did not come to an end with
        self.effects.append(Dismiss(record.pid))
        self._tell_end(record)
        self._orphans(record)
        self._answer_waits(record)
        if record.kind == "script" and not self.shutdown.detached:
            self.shutdown.begin("the program that made the group has ended")

    def _tell_end(self, record: Process) -> None:
        assert record.status is not None
        why = record.status.reason
        parent = self.table.get(record.ppid)
        for pid in sorted(record.correspondents | {record.ppid}):
            other = self.table.get(pid)
            if other is not None and other.alive and other.started is not None:
                other.correspondents.discard(record.pid)
                self.effects.append(Notify(pid, "gone", {"pid": record.pid, "why": why}))
        if parent is not None and parent.alive and parent.started is not None:
            fields = {"pid": record.pid, "incarnation": record.incarnation, "status": record.status.to_wire()}
            self.effects.append(Notify(parent.pid, "child", fields))

    def _orphans(self, dead: Process) -> None:
        for child in self.table.children(dead.pid):
            if child.state is State.ZOMBIE or child.on_orphan != "kill":
                self.table.adopt(child, INIT)
            elif not self.shutdown.reason:
                words = f"its parent, process {dead.pid}, has ended ({dead.status})"
                self.signal(child, int(signal.SIGTERM), INIT, Cause.PARENT_DIED, words)
            if child.state is State.ZOMBIE:
                self._unwaited(child)

    def _answer_waits(self, record: Process) -> None:
        parent = self.table.get(record.ppid)
        reaped = False
        for waiter in self.waits.ended(record):
            self.answer_wait(waiter.pid, waiter.rid, record, reap=False)
            reaped = reaped or waiter.pid == record.ppid
        nobody = parent is None or not parent.alive
        if reaped or record.hidden:
            self.table.reap(record)
        elif nobody and not self.shutdown.reason:
            self._unwaited(record)
        for waiter, error in self.waits.hopeless(record):
            fields = {"type": type(error).__name__, "message": str(error)}
            self.effects.append(Reply(waiter.pid, waiter.rid, False, fields))

    def _unwaited(self, record: Process) -> None:
        """See to a process that has ended and whose parent will not wait for it."""
        if self.shutdown.detached:
            self.shutdown.keep(record)  # whoever comes from outside may ask how it ended
        else:
            self.table.reap(record)

    def answer_wait(self, pid: int, rid: int, record: Process, *, reap: bool) -> None:
        """Tell a waiter how a process ended; the parent's wait reaps it."""
        assert record.status is not None
        frames = self.shelf.put(pid, record.pid, record.result)
        parts = self.shelf.count(pid, record.pid)
        fields = {"pid": record.pid, "status": record.status.to_wire(), **({"parts": parts} if parts else {})}
        self.effects.append(Reply(pid, rid, True, fields, tuple(frames)))
        if reap and pid == record.ppid:
            self.table.reap(record)

    def owner_gone(self, reason: str) -> None:
        """Learn from the operating system that the program that made the group is no more."""
        if not self.shutdown.detached:
            self.shutdown.begin(reason)
        for record in self.table:
            if record.kind == "script" and record.alive:
                self.gone(record, Ending(None, None))

    # -- silence and time --------------------------------------------------------------------------

    def heard(self, pid: int, now: float) -> None:
        """Take note that an agent has said something."""
        record = self.table.get(pid)
        if record is not None:
            record.heard, record.asked = now, None

    def _sleeps(self, record: Process) -> bool:
        """Tell whether a member is left asleep while it has nothing to say. A command line's silence is its end."""
        return self.nearby and record.kind != "operator"

    def _silence(self, record: Process) -> float:
        """Return for how long a member has not answered, seconds."""
        if not self._sleeps(record):
            return self.now - record.heard
        return 0.0 if record.asked is None else self.now - record.asked

    def examined(self, key: Key, vital: Vital) -> None:
        """Judge a silent agent by what the provider sees of its instance."""
        record = self._of(key)
        if record is None or not record.alive or record.started is None:
            return
        if self._sleeps(record) and not self._doubted(record, vital):
            return
        silent = self._silence(record)
        if vital is Vital.GONE or silent <= self.settings.lost_after:
            return
        if vital is not Vital.STOPPED and silent <= self.settings.silence_limit:
            return  # also where the provider cannot tell: that is no evidence of anything
        words = f"its agent has not answered for {silent:.1f} s, and the provider says: {vital.value}"
        self.signal(record, int(signal.SIGKILL), INIT, Cause.LOST, words)

    def _doubted(self, record: Process, vital: Vital) -> bool:
        """Ask a member that sleeps whether it is there, should there be a doubt; tell whether it may be judged now."""
        if record.asked is not None:
            return True
        overdue = self.now - record.heard > self.settings.idle_beat + self.settings.lost_after
        if vital is Vital.RUNNING:
            record.ran = self.now
        if vital is Vital.GONE or (vital is Vital.RUNNING and not overdue):
            return False
        self.effects.append(Notify(record.pid, "heartbeat", {}))
        stopped = vital is Vital.STOPPED  # since the last look, or sooner: it cannot answer, and has not
        record.asked = max(record.ran, record.heard) if stopped else self.now
        return stopped

    def severed(self, pid: int, words: str) -> None:
        """End a process that has missed something for good: a silent gap would be a wrong answer."""
        record = self.table.get(pid)
        if record is None or not record.alive:
            return
        if record.kind == "machine":
            self.machinery.lost(record, f"the machine's connection: {words}")
        elif record.external:
            record.intent, record.intent_words = Cause.LOST, words
            self.gone(record, Ending(None, None))
        else:
            self.signal(record, int(signal.SIGKILL), INIT, Cause.LOST, words)

    def expel(self, record: Process, words: str) -> None:
        """Put a process out that sends what nobody of this wire sends; who was not forked is only not listened to."""
        if record.alive and not record.external:
            self.signal(record, int(signal.SIGKILL), INIT, Cause.EXPELLED, words)

    def excuse(self, away: float) -> None:
        """Count no silence for a time in which we did not run, and nothing of a boot: what came is still to be read."""
        fresh = away > self.settings.lost_after / 2
        for record in self.table:
            for time in ("heard", "asked", "ran", "examined"):
                then = getattr(record, time)
                if then is not None:
                    setattr(record, time, self.now if fresh else min(self.now, then + away))
            if record.boot_by is not None:
                record.boot_by += away
        self.services.excuse(away)

    def tick(self) -> None:
        """Do what is due."""
        if self.deadline_at is not None and self.now >= self.deadline_at:
            self.shutdown.begin("the group's deadline passed")
        for record in self.table:
            if record.alive:
                self._tick(record)
        self.effects.extend(self.services.tick())
        self.shutdown.tick()

    def _tick(self, record: Process) -> None:
        if record.kill_at is not None and self.now >= record.kill_at:
            self.signal(record, int(signal.SIGKILL), INIT)
        elif record.deadline is not None and self.now >= record.deadline:
            record.deadline = None
            self.signal(record, int(signal.SIGTERM), INIT, Cause.DEADLINE, "its deadline passed")
        elif record.boot_by is not None and self.now >= record.boot_by:
            record.boot_by = None
            words = f"its agent had not joined within {self.settings.boot_timeout:g} s"
            self.signal(record, int(signal.SIGKILL), INIT, Cause.BOOT_FAILED, words)
        elif record.started is not None and self.now - record.heard > self._quiet_for(record):
            self._silent(record)

    def _quiet_for(self, record: Process) -> float:
        """Return after how long without a word a member is of interest; whoever sleeps has to be seen to run."""
        asleep = self._sleeps(record) and not record.external
        return self.settings.heartbeat if asleep else self.settings.lost_after

    def _silent(self, record: Process) -> None:
        if record.external:
            if record.kind == "script" and (self.owner_watched or self._kept()):
                return
            if record.kind == "machine":
                self.effects.extend(self.machinery.silent(record))
                return
            if record.kind == "service":
                if self.now - record.heard > self.settings.silence_limit:
                    self.effects.append(self.services.silent(record))
                return
            at_once = record.kind == "operator" and not record.keeper
            if self.now - record.heard > self.settings.silence_limit or at_once:
                record.intent, record.intent_words = Cause.LOST, "it has not answered"
                self.gone(record, Ending(None, None))
        elif self.now >= self._look_at(record) and record.state is State.RUNNING:
            record.examined = self.now
            self.effects.append(Examine(record.life))

    def _look_at(self, record: Process) -> float:
        """Return when a silent member is to be looked at from outside: as soon as it may be lost, else now and then."""
        at = record.examined + self.settings.heartbeat
        lost = 0.0 if record.asked is None else record.asked + self.settings.lost_after
        return min(at, lost + 1e-3) if record.examined <= lost else at

    def _kept(self) -> bool:
        """Tell whether somebody watches over the group who knows whether the script lives."""
        return any(record.keeper and record.alive for record in self.table)

    # -- looking ---------------------------------------------------------------------------------------

    def lives(self, pid: int) -> bool:
        """Tell whether a pid is that of a living process."""
        record = self.table.get(pid)
        return record is not None and record.alive

    def _of(self, key: Key) -> Process | None:
        record = self.table.get(key.pid)
        return record if record is not None and record.incarnation == key.incarnation else None
