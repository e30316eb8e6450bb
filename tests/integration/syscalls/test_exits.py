"""Exit truth: for each way to die, the code, the signal, the cause, and something that shows it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import targets
from support import eventually, os_pid_of

import rackactor as rack

pytestmark = pytest.mark.wire

C = rack.Cause
TERM, KILL = signal.SIGTERM, signal.SIGKILL
ENOUGH = 20.0


class Death(NamedTuple):
    """A way to die, and what must be told of it."""

    target: Any
    code: int
    signal: int | None
    cause: rack.Cause
    #: A regular expression that the evidence matches.
    evidence: str = ""
    options: dict[str, Any] = {}
    #: What is done to it once it is up.
    action: Callable[[rack.Process], None] | None = None


def kill_outside(sig: int) -> Callable[[rack.Process], None]:
    return lambda child: os.kill(os_pid_of(child), sig)


# Functions are defined where a process can import them without this file's own imports, or travel by value.


def handle_term() -> Any:
    def run() -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        rack.process(rack.getppid()).tell("ready")
        while True:
            signal.pause()

    return run


def by_value() -> dict[str, Any]:
    def say_and_exit() -> None:
        print("last words")
        sys.exit("the text of an exit")

    def broken_import() -> None:
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401

    def segv() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        print("before the crash", flush=True)
        ctypes.string_at(0)

    def abort() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.abort()

    def self_kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def eat() -> int:
        return len(bytearray(1 << 30))

    class Deep(Exception):
        pass

    def interrupt() -> None:
        raise KeyboardInterrupt

    def exit_in_hook() -> None:
        rack.on_exit(lambda: print("the hook ran", flush=True))
        rack.on_exit(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
        rack.exit(6)

    return {name: value for name, value in locals().items() if callable(value)}


F = by_value()


def either(one: str, other: str) -> str:
    """Match both, in whichever order: standard output and error are two streams."""
    return rf"{one}(.|\n)*{other}|{other}(.|\n)*{one}"


class Quitter(rack.Actor):
    """Ends itself when asked to."""

    def receiveMsg_int(self, code: int, sender: Any) -> None:
        self.exit(code)


DEATHS = {
    "return": Death(int, 0, None, C.EXITED),
    "sys.exit(3)": Death(lambda: sys.exit(3), 3, None, C.EXITED),
    "sys.exit(text)": Death(F["say_and_exit"], 1, None, C.EXITED, "the text of an exit"),
    "os._exit(4)": Death(lambda: os._exit(4), 4, None, C.EXITED),
    "rack.exit(6)": Death(F["exit_in_hook"], 6, None, C.EXITED, either("ZeroDivisionError", "the hook ran")),
    "exception": Death(targets.fail, 1, None, C.EXCEPTION, r"targets\.py(.|\n)*LookupError: lost", {"args": ["lost"]}),
    "KeyboardInterrupt": Death(F["interrupt"], 130, 2, C.SIGNALLED),
    "wrong arguments": Death(targets.fail, 1, None, C.EXCEPTION, "TypeError.*missing"),
    "__init__": Death(targets.Faulty, 1, None, C.EXCEPTION, "ValueError: no actor today"),
    "actor exits": Death(Quitter, 7, None, C.EXITED, action=lambda p: p.tell(7)),
    "import in a function": Death(F["broken_import"], 1, None, C.EXCEPTION, "ModuleNotFoundError.*no_such_module"),
    "command": Death(["sh", "-c", "echo out; echo err >&2; exit 5"], 5, None, C.EXITED, either("out", "err")),
    "command not found": Death(["no-such-command"], 127, None, C.LOAD_FAILED, "no-such-command.*No such file"),
    "not executable": Death(["/etc/passwd"], 126, None, C.LOAD_FAILED, "/etc/passwd.*Permission denied"),
    "not a program": Death(["{tmp}/empty"], 126, None, C.LOAD_FAILED, "empty.*Exec format error"),
    "command killed": Death(["sh", "-c", "kill -9 $$"], 137, 9, C.DELETED_OUTSIDE, "nobody in the group"),
    "TERM handled": Death(handle_term(), 0, None, C.EXITED, "", {}, lambda p: (rack.receive(), p.kill())[0]),
    "TERM": Death(targets.nap, 143, 15, C.SIGNALLED, "SIGTERM from process 2", {}, lambda p: p.kill()),
    "TERM to a command": Death(["sleep", "60"], 143, 15, C.SIGNALLED, "SIGTERM from process 2", {}, lambda p: p.kill()),
    "TERM to an actor": Death(targets.Echo, 143, 15, C.SIGNALLED, "SIGTERM from process 2", {}, lambda p: p.kill()),
    "KILL": Death(targets.nap, 137, 9, C.SIGNALLED, "SIGKILL from process 2", {}, lambda p: p.kill("KILL")),
    "KILL to a command": Death(["sleep", "60"], 137, 9, C.SIGNALLED, "SIGKILL from", {}, lambda p: p.kill(9)),
    "SEGV": Death(F["segv"], 139, 11, C.SIGNALLED, "crashed: SIGSEGV(.|\n)*before the crash"),
    "abort": Death(F["abort"], 134, 6, C.SIGNALLED, "crashed: SIGABRT"),
    "MemoryError": Death(F["eat"], 1, None, C.OOM, "MemoryError", {"memory": "300M"}),
    "KILL by itself": Death(F["self_kill"], 137, 9, C.DELETED_OUTSIDE, "nobody in the group sent"),
    "KILL from outside": Death(
        targets.nap, 137, 9, C.DELETED_OUTSIDE, "nobody in the group sent", {}, kill_outside(KILL)
    ),
    "TERM from outside": Death(targets.nap, 143, 15, C.SIGNALLED, "nobody in the group sent", {}, kill_outside(TERM)),
    "TERM from outside to a command": Death(["sleep", "60"], 143, 15, C.SIGNALLED, "SIGTERM", {}, kill_outside(TERM)),
    "STOP from outside": Death(targets.nap, 137, 9, C.LOST, "stopped", {}, kill_outside(signal.SIGSTOP)),
    "deadline": Death(targets.nap, 143, 15, C.DEADLINE, "deadline passed", {"deadline": 0.3}),
    "bad cwd": Death(targets.nap, 1, None, C.LOAD_FAILED, "/no/such/place.*No such file", {"cwd": "/no/such/place"}),
    "cwd of a command": Death(["true"], 126, None, C.LOAD_FAILED, "/etc/passwd.*Not a dir", {"cwd": "/etc/passwd"}),
}


def test_every_death_is_told_as_it_was(transport: str, tmp_path: Path) -> None:
    """One group, all deaths at once: each is judged by itself."""
    (tmp_path / "empty").touch(mode=0o755)
    with rack.group(transport=transport, grace=3.0, end_grace=0.5, echo=False) as group:
        children: dict[str, rack.Process] = {}
        for name, death in DEATHS.items():
            options = dict(death.options)
            target = death.target
            if isinstance(target, list):
                target = [word.replace("{tmp}", str(tmp_path)) for word in target]
            children[name] = group.fork(target, *options.pop("args", ()), name=name, **options)
            if death.action is not None:
                assert eventually(lambda child=children[name]: child.info()["started"])  # type: ignore[misc]
                death.action(children[name])
        stopped = time.monotonic()
        wrong = {}
        for name, death in DEATHS.items():
            status = children[name].wait(ENOUGH)
            if death.cause is C.LOST:
                assert time.monotonic() - stopped < 3.5, "silence is noticed within the bound"
            try:
                assert (status.code, status.signal, status.cause) == death[1:4]
                assert pytest.importorskip("re").search(death.evidence, status.evidence)
                assert status.ok == (status.code == 0)
                assert (status.started is None) == ("cwd" in name)
                assert abs(status.ended - time.time()) < 60
            except AssertionError as error:
                wrong[name] = f"{status!r}\n{error}"
        assert not wrong, "\n\n".join(f"{name}: {text}" for name, text in wrong.items())


def test_a_module_that_is_gone(group: rack.Group, tmp_path: Path, monkeypatch: Any) -> None:
    """A target that the child cannot load: its module is not there any more."""
    (tmp_path / "ephemeral_module.py").write_text("def work():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import ephemeral_module  # type: ignore[import-not-found]

    assert group.fork(ephemeral_module.work).result(ENOUGH) == 1
    (tmp_path / "ephemeral_module.py").write_text("raise RuntimeError('broken module')\n")
    for cached in (tmp_path / "__pycache__").glob("*"):
        cached.unlink()
    status = group.fork(ephemeral_module.work).wait(ENOUGH)
    assert (status.code, status.cause) == (1, C.LOAD_FAILED)
    assert "RuntimeError: broken module" in status.evidence
    (tmp_path / "ephemeral_module.py").unlink()
    child = group.fork(ephemeral_module.work)
    with pytest.raises(ModuleNotFoundError):
        child.result(ENOUGH)
    assert child.wait().cause is C.LOAD_FAILED
    del sys.modules["ephemeral_module"]


def test_the_death_of_a_parent_and_of_the_group(transport: str) -> None:
    with rack.group(transport=transport, end_grace=0.3) as group:
        me = group.getpid()

        def parent() -> None:
            rack.process(me).tell(rack.fork(targets.nap).pid)
            targets.nap()

        dying, staying = group.fork(parent, n=2)
        grandchild, _ = (rack.receive(ENOUGH).value for _ in range(2))
        first = group.process(grandchild).info()["ppid"]
        head, other = (dying, staying) if first == dying.pid else (staying, dying)
        head.kill("KILL")
        assert head.wait(ENOUGH).cause is C.SIGNALLED
        assert eventually(lambda: group.process(grandchild).info()["state"] == "gone")
        status = rack.ExitStatus.from_wire(group.process(grandchild).info()["status"])
        assert (status.cause, status.signal) == (C.PARENT_DIED, 15)
        assert f"its parent, process {head.pid}, has ended" in status.evidence
    assert other.wait().cause is C.GROUP_ENDED
    assert "the group ended: its block ended" in other.wait().evidence


def writable_memory_group() -> bool:
    from rackactor_runtime.providers.local.cgroup import MemoryGroups, make_name

    groups = MemoryGroups(make_name())
    try:
        made = groups.make("probe", 1 << 26)
        if made is not None:
            groups.discard(made)
        return made is not None
    finally:
        eventually(lambda: not groups.close(), 2.0)


def test_the_memory_of_a_whole_family(transport: str) -> None:
    """What no process alone exceeds, they do together: only a control group sees that."""
    if not writable_memory_group():
        pytest.skip("no memory control group can be made here")
    words = "import mmap, time; m = mmap.mmap(-1, 256 << 20)\nfor i in range(0, 256 << 20, 4096): m[i] = 1"
    with rack.group(transport=transport, end_grace=0.3) as group:
        status = group.fork(lambda: exec(words), memory="64M").wait(ENOUGH)
        assert (status.code, status.signal, status.cause) == (137, 9, C.OOM)
        assert "memory" in status.evidence
        status = group.fork([sys.executable, "-c", words], memory="64M").wait(ENOUGH)
        assert (status.code, status.signal, status.cause) == (137, 9, C.OOM)
        assert "memory" in status.evidence


def test_who_is_busy_is_not_lost(transport: str) -> None:
    """Heartbeats may starve: a loop of Python, a C call that holds the interpreter, a stopped command."""

    def loop() -> str:
        until = time.monotonic() + 4
        while time.monotonic() < until:
            pass
        return "looped"

    def hold() -> str:
        ctypes.PyDLL(None).sleep(3)
        return "held"

    def compute() -> str:
        sum(range(100_000_000))
        return "computed"

    with rack.group(transport=transport, heartbeat=0.3, lost_after=1.0, end_grace=0.5) as group:
        children = [group.fork(function) for function in (loop, hold, compute)]
        assert [child.result(30) for child in children] == ["looped", "held", "computed"]


def test_a_silent_agent_is_lost_at_last(transport: str) -> None:
    """One that seems to run and never answers again: its limit is longer, and there is one."""
    with rack.group(transport=transport, heartbeat=0.2, lost_after=0.5, silence_limit=1.5) as group:
        child = group.fork(lambda: ctypes.PyDLL(None).sleep(60))
        status = child.wait(ENOUGH)
        assert status.cause is C.LOST
        assert "running" in status.evidence


def test_a_supervisor_that_was_away_judges_nobody_by_that(transport: str) -> None:
    """SIGSTOP to the supervisor: when it comes back, nobody has died meanwhile."""
    from rackactor.launch import directories

    with rack.group(transport=transport, heartbeat=0.2, lost_after=0.6, lease=8.0, end_grace=0.5) as group:
        child = group.fork(targets.answer)
        assert child.ask(1) == 1
        [card] = [card for card in directories.cards() if card["gid"] == group.gid]
        os.kill(card["os_pid"], signal.SIGSTOP)
        time.sleep(2.0)  # the time that is to pass
        os.kill(card["os_pid"], signal.SIGCONT)
        assert child.ask(2) == 2
        assert child.is_alive()


def test_sigkill_of_the_agent_of_a_command_takes_the_command_with_it(group: rack.Group) -> None:
    child = group.fork(["sh", "-c", "echo $$; sleep 60"])
    command = int(child.stdout.readline())
    os.kill(os_pid_of(child), signal.SIGKILL)
    assert child.wait(ENOUGH).cause is C.DELETED_OUTSIDE
    assert not os.path.exists(f"/proc/{command}")


def test_an_exit_code_of_a_real_program(group: rack.Group) -> None:
    """As a shell would tell it."""
    for words in (["false"], ["sh", "-c", "exit 200"], [sys.executable, "-c", "import os; os.abort()"]):
        expected = subprocess.run([*words], stderr=subprocess.DEVNULL).returncode
        assert group.fork(words).wait(ENOUGH).code == (expected if expected >= 0 else 128 - expected)
