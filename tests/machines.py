"""A cloud whose machines are processes of this one: real ones that boot, print on a console, hang, and are deleted.

Each runs its user-data as a new server does, with nothing of the tests' environment, in a session of its own and, as
root, in a network namespace (`netlab.Lab`), where it sees neither the group's directory nor its shared memory. They
outlive whoever made them, as servers do. It is the second cloud behind `MachineProvider`; `Yard` is how a test gets
at it.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import family
import psutil

from rackactor.launch import directories
from rackactor_runtime.providers.machines import lifecycle
from rackactor_runtime.providers.machines.provider import CloudFault, Machine, MachineProvider, Seen

#: What the supervisor of a group is told to find this module.
NAME = "machines:Provider"
HERE = str(Path(__file__).parent)
#: In the environment of every process of a machine: its name.
MARK = "RACK_TEST_MACHINE"
#: In the environment of a supervisor: seconds after which a delete that is not confirmed is told, and repeated.
HASTE = "RACK_TEST_HASTE"
_SECLUDED = 'mount -t tmpfs none /dev/shm && mount -t tmpfs none "$0" && exec sh "$1"'


class Yard:
    """A directory with one directory for each machine; several programs may have it open.

    Args:
        path: where it is.
        namespaces: network namespaces that machines are put into in turns; none: they are on this machine's network.
    """

    def __init__(self, path: Path, namespaces: tuple[str, ...] = ()) -> None:
        self.path = path
        self.namespaces = namespaces
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        path.mkdir(exist_ok=True)
        (path / "faults").mkdir(exist_ok=True)

    # -- what a test does --------------------------------------------------------------------------------

    def plan(self, *faults: str) -> None:
        """Have the next creates meet these, one each: "" (nothing), "quota", "no-valid-host", "hang", "unclear" (and
        nothing was made), "unclear-made", "error" (made, and in ERROR), "stuck" (made, and not to be deleted)."""
        for fault in faults:
            (self.path / "faults" / f"{next(self._numbers):06}").write_text(fault)

    def machines(self) -> list[str]:
        """Return the names of the machines that there are."""
        return sorted(path.name for path in self.path.iterdir() if (path / "mark").exists())

    def power_off(self, instance: str) -> None:
        """Stop a machine as somebody would who pulls its plug."""
        _kill(instance)

    def remove(self, instance: str) -> None:
        """Delete a machine behind everybody's back."""
        _kill(instance)
        shutil.rmtree(self.path / instance, ignore_errors=True)

    def unstick(self) -> None:
        """Let the machines be deleted that could not be."""
        for path in self.path.glob("*/stuck"):
            path.unlink()

    def creates(self) -> list[str]:
        """Return the marks of all creates, in their order."""
        log = self.path / "creates"
        return log.read_text().split() if log.exists() else []

    def clear(self) -> None:
        """Leave nothing."""
        for instance in self.machines():
            self.remove(instance)
        shutil.rmtree(self.path, ignore_errors=True)
        _reap()

    # -- the port ------------------------------------------------------------------------------------------

    def create(self, machine: Machine) -> str:
        """See `Cloud.create`."""
        with self._lock:
            with (self.path / "creates").open("a") as log:
                log.write(f"{machine.mark}\n")
            fault = self._next_fault()
        words = {"quota": "Quota exceeded for cores: Requested 1, but already used 8 of 8 cores"}
        if fault == "quota":
            raise CloudFault("quota", words[fault])
        if fault == "unclear":
            raise CloudFault("unclear", "503 Service Unavailable")
        instance = f"m-{secrets.token_hex(6)}"
        path = self.path / instance
        path.mkdir()
        if fault == "stuck":
            (path / "stuck").touch()
        if fault in ("error", "no-valid-host"):
            (path / "fault").write_text("No valid host was found. There are not enough hosts available.")
        (path / "user-data").write_text(
            "#!/bin/sh\necho booting...\nsleep 600\n" if fault == "hang" else machine.user_data
        )
        if not (path / "fault").exists():
            self._boot(path, machine)
        (path / "mark").write_text(machine.mark)
        if fault == "unclear-made":
            raise CloudFault("unclear", "503 Service Unavailable")
        return instance

    def list(self) -> dict[str, Seen]:
        """See `Cloud.list`."""
        seen = {}
        for instance in self.machines():
            path = self.path / instance
            try:
                mark = (path / "mark").read_text()
                fault = (path / "fault").read_text() if (path / "fault").exists() else ""
            except FileNotFoundError:
                continue  # it is being deleted
            status = "ERROR" if fault else ("ACTIVE" if _runs(path) else "SHUTOFF")
            seen[mark] = Seen(mark, instance, status, fault)
        return seen

    def delete(self, mark: str, instance: str | None) -> bool:
        """See `Cloud.delete`."""
        for name in self.machines() if instance is None else [instance]:
            path = self.path / name
            try:
                if (path / "mark").read_text() != mark:
                    continue
            except FileNotFoundError:
                continue
            _kill(name)
            if (path / "stuck").exists():
                return False
            shutil.rmtree(path, ignore_errors=True)
        return True

    def console(self, instance: str) -> str:
        """See `Cloud.console`."""
        return (self.path / instance / "console").read_text(errors="replace")

    def close(self) -> None:
        """See `Cloud.close`."""

    def _next_fault(self) -> str:
        for path in sorted((self.path / "faults").iterdir()):
            fault = path.read_text()
            path.unlink()
            return fault
        return ""

    def _boot(self, path: Path, machine: Machine) -> None:
        words = ["sh", str(path / "user-data")]
        if self.namespaces:
            network = self.namespaces[next(self._numbers) % len(self.namespaces)]
            hidden = os.environ["XDG_RUNTIME_DIR"]
            words = ["ip", "netns", "exec", network, "sh", "-c", _SECLUDED, hidden, words[1]]
        self._start(path, words, path / "console")

    def _start(self, path: Path, words: list[str], output: Path) -> None:
        """Start the process that a machine is."""
        kept = {name: os.environ[name] for name in ("RACK_TEST_SESSION",) if name in os.environ}
        path_of_python = f"{os.path.dirname(sys.executable)}:/usr/sbin:/usr/bin:/sbin:/bin"
        (path / "tmp").mkdir()  # a server's disk ends with it
        with output.open("wb") as file:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={"PATH": path_of_python, "TMPDIR": str(path / "tmp"), MARK: path.name, **kept},
                cwd="/",
                start_new_session=True,
            )
        (path / "pid").write_text(f"{process.pid} {directories.start_time(process.pid)}")


def options(yard: Yard, address: str) -> dict[str, Any]:
    """Return the arguments of a group whose processes are machines of a yard."""
    settings = {"yard": str(yard.path), "namespaces": yard.namespaces}
    return {"provider": NAME, "transport": "tcp", "address": address, "provider_settings": settings}


def _runs(path: Path) -> bool:
    """Tell whether a machine's first process lives."""
    try:
        os_pid, started = map(int, (path / "pid").read_text().split())
    except (OSError, ValueError):
        return False
    return directories.start_time(os_pid) == started != 0


def processes(instance: str) -> list[int]:
    """Return the OS pids of a machine's processes; one that is just being executed may be missing."""
    mark, found = f"{MARK}={instance}".encode(), []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                if mark in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    found.append(int(name))
            except OSError:
                continue
    return found


def agent_of(instance: str) -> int:
    """Return the OS pid of the agent on a machine."""
    found = {os_pid: Path(f"/proc/{os_pid}/stat").read_text() for os_pid in processes(instance)}
    servers = {os_pid for os_pid, stat in found.items() if "(rack-forkserver)" in stat}
    return next(os_pid for os_pid, stat in found.items() if int(stat.rpartition(")")[2].split()[1]) in servers)


def _kill(instance: str) -> None:
    """Kill all processes of a machine at once, again and again until there are none."""
    for _ in range(200):
        found = processes(instance)
        if not found:
            _reap()
            return
        for os_pid in found:
            try:
                os.kill(os_pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        _reap()
        time.sleep(0.005)


def bury() -> None:
    """Reap what we have booted, and what others have left to us because a test has made us a subreaper."""
    _reap()
    zombies = set()
    for os_pid in family.children(os.getpid()):
        with contextlib.suppress(psutil.Error):
            if psutil.Process(os_pid).status() == psutil.STATUS_ZOMBIE:
                zombies.add(os_pid)
    if zombies:
        zombies -= {
            each.pid for each in gc.get_objects() if isinstance(each, subprocess.Popen) and each.returncode is None
        }
    for os_pid in zombies:
        with contextlib.suppress(OSError):
            os.waitpid(os_pid, os.WNOHANG)


def _reap() -> None:
    """Reap what this program itself has booted: a zombie has no environment, but it is one all the same."""
    subprocess._cleanup()  # type: ignore[attr-defined]


class Provider(MachineProvider):
    """Machines of a yard: `provider="machines:Provider", provider_settings={"yard": path, "namespaces": [...]}`."""

    birth = {"poweroff": False}
    # Without networks of their own they are reached by loopback.
    capabilities = replace(MachineProvider.capabilities, remote=False, closing=10.0)

    def __init__(self, settings: Mapping[str, Any], state_dir: str) -> None:
        if HASTE in os.environ:
            lifecycle.UNKILLABLE = float(os.environ[HASTE])
            lifecycle.PAUSES = (lifecycle.UNKILLABLE,)
            self.capabilities = replace(self.capabilities, closing=lifecycle.UNKILLABLE)
        rest = dict(settings)
        yard = Yard(Path(rest.pop("yard")), tuple(rest.pop("namespaces", ())))
        super().__init__(rest, state_dir, yard)
