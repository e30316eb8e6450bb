"""The system call `logs`: reading and following the output of processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack

from rackactor.errors import InvalidCall
from rackactor.wire.calls.logs import FEED, Logs
from rackactor_runtime.providers.base import Key
from rackactor_runtime.supervisor.clock import Clock
from rackactor_runtime.supervisor.logs.spool import Follower, Log, Spool

#: The most logs of ended processes that are kept open.
_KEEP = 1000

ReplyTo = Callable[[int, int, dict[str, Any], list[bytes]], None]


class LogService:
    """Keeps the output of every process, and serves its readers.

    Args:
        directory: where the spools lie.
        limit: bytes kept of each.
        grant: gives a process credit for more output.
        reply: answers a call (pid, rid, fields, blobs).
        lives: tells whether a pid is that of a living process.
        clock: tells when something was printed.
    """

    def __init__(
        self,
        directory: Path,
        limit: int,
        grant: Callable[[Key, int], None],
        reply: ReplyTo,
        lives: Callable[[int], bool],
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._limit = limit
        self._grant = grant
        self._reply = reply
        self._lives = lives
        self._clock = clock
        self._logs: dict[int, Log] = {}
        self._withheld: dict[Key, int] = {}
        self._feeding: set[Key] = set()  # processes, among those withheld, whose output is part of the group's
        self._unserved: set[int] = set()  # readers whose log could not be read the last time

    def output(self, key: Key, stream: int, data: bytes, *, feed: bool) -> None:
        """Take what a process printed; `feed`: its output is part of the group's."""
        now = self._clock.wall()
        logs = self._logs_of(key, feed)
        for log in logs:
            log.spool.append(key.pid, stream, now, data, log.keep)
            self._serve(log)
        if any(log.blocked() for log in logs):
            self._withheld[key] = self._withheld.get(key, 0) + len(data)
            if feed:
                self._feeding.add(key)
        else:
            self._grant(key, len(data))

    def ended(self, pid: int) -> None:
        """Note that a process prints nothing any more."""
        log = self._log(pid)
        log.ended = True
        log.spool.rest()
        self._serve(log)
        self._withheld = {key: n for key, n in self._withheld.items() if key.pid != pid}
        self._feeding &= self._withheld.keys()
        self._forget_oldest()

    def end_feed(self) -> None:
        """Note that no process prints anything any more."""
        log = self._logs.get(FEED)
        if log is not None:
            log.ended = True
            self._serve(log)

    def tail(self, pid: int) -> str:
        """Return the last output of a process."""
        log = self._logs.get(pid)
        return "" if log is None else log.spool.tail()

    def call(self, caller: int, rid: int, asked: Logs) -> None:
        """Answer a call, at once or when there is something to read.

        Raises:
            InvalidCall: no record begins at that offset.
            OSError: the log cannot be read now. A follower only waits longer.
        """
        offset = asked.offset
        log = self._log(asked.pid)
        who = (caller, asked.reader)
        if asked.leave:
            log.followers.pop(who, None)
            self._release()
            return
        if log.ended:
            offset = min(offset, log.spool.end)
        elif offset > log.spool.end:
            raise InvalidCall(f"the log ends at offset {log.spool.end}, before {offset}")
        if asked.follow:
            follower = log.followers.setdefault(who, Follower())
            follower.offset, follower.rid = offset, rid
            try:
                self._serve(log)
            except InvalidCall:
                del log.followers[who]
                raise
            finally:
                self._release()
        else:
            self._answer(log, caller, rid, offset)

    def unfollow(self, caller: int, pid: int | None = None) -> None:
        """Stop holding writers back for a reader (of one log, or of all)."""
        for number, log in self._logs.items():
            if log.followers and (pid is None or number == pid):
                log.followers = {who: f for who, f in log.followers.items() if who[0] != caller}
        self._release()

    def again(self) -> None:
        """Answer followers of a log that could not be read when there was something to read."""
        pids, self._unserved = self._unserved, set()
        for pid in pids & self._logs.keys():
            self._serve(self._logs[pid])

    def move(self, directory: Path) -> None:
        """Write to another directory from now on, since the present one is gone."""
        self._directory = directory
        for pid, log in self._logs.items():
            log.spool.path = directory / f"out-{pid}"

    def close(self) -> None:
        """Remove everything."""
        for log in self._logs.values():
            log.spool.close()
        self._logs.clear()

    def _log(self, pid: int) -> Log:
        log = self._logs.get(pid)
        if log is None:
            log = self._logs[pid] = Log(pid, Spool(self._directory / f"out-{pid}", self._limit))
            log.ended = pid != FEED and not self._lives(pid)  # its log has been forgotten
        return log

    def _logs_of(self, key: Key, feed: bool) -> list[Log]:
        """Return the logs to which the output of a process goes."""
        logs = [self._log(key.pid)]
        if feed and FEED in self._logs:
            logs.append(self._logs[FEED])
        return logs

    def _serve(self, log: Log) -> None:
        for (caller, _), follower in log.followers.items():
            if follower.rid and (log.spool.end > follower.offset or log.ended):
                rid, follower.rid = follower.rid, 0
                try:
                    self._answer(log, caller, rid, follower.offset)
                except OSError:
                    follower.rid = rid
                    self._unserved.add(log.pid)

    def _answer(self, log: Log, caller: int, rid: int, offset: int) -> None:
        records, after, skipped = log.spool.read(offset)
        eof = log.ended and after >= log.spool.end
        fields: dict[str, Any] = {"next": after, "skipped": skipped, "eof": eof}
        if skipped:
            fields["dropped"] = log.spool.dropped
        self._reply(caller, rid, fields, [msgpack.packb(records)])

    def _release(self) -> None:
        """Return the credit that was withheld for followers that have caught up."""
        for key, count in list(self._withheld.items()):
            if not any(log.blocked() for log in self._logs_of(key, key in self._feeding)):
                del self._withheld[key]
                self._feeding.discard(key)
                self._grant(key, count)

    def _forget_oldest(self) -> None:
        if len(self._logs) <= _KEEP:
            return
        ended = [pid for pid, log in self._logs.items() if log.ended and pid != FEED and not log.followers]
        for pid in ended[:-_KEEP]:
            self._logs.pop(pid).spool.close()
