"""The settings of a group, checked when they come in."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from rackactor import units
from rackactor.errors import InvalidCall
from rackactor.records import dataclass

#: Upper limit of `Settings.idle_beat`, seconds.
IDLE_BEAT = 40.0


@dataclass(frozen=True)
class Settings:
    """The settings of a new group; every limit has a default."""

    #: Seconds between SIGTERM and SIGKILL of one process. Raise it for processes that save a lot when they end.
    grace: float = 10.0
    #: The same at the group's end, when nobody waits for results any more.
    end_grace: float = 1.0
    #: Seconds between heartbeats of an agent (and the supervisor's answers).
    heartbeat: float = 1.0
    #: Seconds of silence after which the provider is asked about an agent, which is lost if it does not run.
    lost_after: float = 2.5
    #: Seconds of silence after which even an agent that seems to run is lost (C code may hold the GIL for long).
    silence_limit: float = 60.0
    #: Seconds without the supervisor after which a process ends itself.
    lease: float = 10.0
    #: Seconds from the fork (of a machine: from when the cloud has begun to make it) until the agent must have joined.
    boot_timeout: float = 60.0
    #: Seconds that the group's end waits for deletes that the provider does not confirm; they are named in its answer.
    delete_timeout: float = 60.0
    #: Forks allowed within `spawn_period` seconds: a limit for faulty programs, not a quota.
    max_spawns: int = 2000
    #: See `max_spawns`.
    spawn_period: float = 10.0
    #: The most processes that are alive at the same time; the same in the long run.
    max_processes: int = 10_000
    #: Bytes of output kept of each process; the oldest is dropped first, unless the output is followed.
    log_limit: int = 4 << 20
    #: Ended processes that `why` still knows after they have been waited for.
    history: int = 1000
    #: Bytes of messages of ended writers that the supervisor keeps for later readers.
    pipe_held: int = 256 << 20
    #: Whether messages may be pickled. False: msgpack only.
    pickle: bool = True
    #: Whether two processes that talk a lot get a connection of their own.
    direct: bool = True
    #: Seconds after which the group ends, whatever runs in it; None: no bound.
    deadline: float | None = None
    #: Seconds from the end of its last process to the end of a detached group, unless somebody asked for the statuses.
    linger: float = 600.0
    #: Bytes of shared memory. Only what is used takes room on the disk; raise it before the memory is full.
    shm_size: int = 1 << 30
    #: Bytes of its last changes that are kept for watchers that are behind; at most a quarter of `shm_size`.
    shm_log: int = 64 << 20
    #: Which processes keep a replica of shared memory: "auto": those on other hosts; "always": every process.
    shm_replica: str = "auto"
    #: Where the group's files are stored: an fsspec URL, or a map of a `url` and fsspec's options for it. None: in the
    #: group's own directory, which is removed with it. Only the file service sees it, since it may contain credentials.
    files: str | dict[str, Any] | None = None

    @property
    def idle_beat(self) -> float:
        """Return the seconds between heartbeats of a process whose end the operating system reports: each wakes it."""
        return max(self.heartbeat, min(IDLE_BEAT, 4 * self.lease, self.silence_limit * 2 / 3))

    @classmethod
    def parse(cls, given: dict[str, Any]) -> Settings:
        """Check settings by name, type and range.

        Raises:
            InvalidCall: names the setting and what it may be.
        """
        known = {f.name: f for f in fields(cls)}
        given = {name: _bytes(name, value) for name, value in given.items()}
        for name, value in given.items():
            if name not in known:
                raise InvalidCall(f"a group has no setting {name!r}; it has: {', '.join(sorted(known))}")
            default = known[name].default
            if name == "files":
                _check_files(value)
                continue
            if isinstance(default, bool):
                good = isinstance(value, bool)
            elif isinstance(default, str):
                good = value in _CHOICES[name]
            elif name == "deadline":
                good = value is None or (_number(value) and value > 0)
            else:
                good = _number(value) and value > 0
            if not good:
                kind = "True or False" if isinstance(default, bool) else "a positive number"
                if isinstance(default, str):
                    kind = "one of " + ", ".join(_CHOICES[name])
                raise InvalidCall(f"the setting {name!r} is {kind}, not {value!r}")
        made = cls(**given)
        for name in ("lost_after", "lease"):
            if getattr(made, name) <= made.heartbeat:
                raise InvalidCall(
                    f"the setting {name!r} ({getattr(made, name):g} s) is longer than 'heartbeat' ({made.heartbeat:g}):"
                    " a process that is well would be taken for dead"
                )
        return made


#: The choices of settings that are strings.
_CHOICES = {"shm_replica": ("auto", "always")}
_SIZES = ("shm_size", "shm_log")
#: More than this is a mistake, and does not fit into 64 bits.
_MOST = 1 << 62


def _bytes(name: str, value: Any) -> Any:
    """Return a size in bytes, which may be given as a string ("4G")."""
    if name not in _SIZES:
        return value
    size = units.size(value, f"the setting {name!r}")
    if name == "shm_size" and (size is None or size < 1 << 20):
        raise InvalidCall(f"the setting 'shm_size' is at least 1 MiB, not {value!r}")
    return size


def _check_files(value: Any) -> None:
    url = value.get("url") if isinstance(value, dict) else value
    if value is not None and not (isinstance(url, str) and url and url.isprintable()):
        raise InvalidCall(
            f"the setting 'files' is an fsspec URL, or a map of a 'url' and options, not {_masked(value)!r}"
        )


def _masked(value: Any) -> Any:
    """Return a value without possible secrets."""
    return dict.fromkeys(value, "...") if isinstance(value, dict) else value


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_MOST < value < _MOST
