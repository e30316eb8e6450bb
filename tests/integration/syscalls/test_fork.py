"""fork, wait and the handle of a process: what may be started, how, and what comes back."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import targets
from support import eventually, wait_gone

import rackactor as rack
from rackactor.launch import directories

ENOUGH = 20.0


# -- what can be started ----------------------------------------------------------------------------


@pytest.mark.machines
def test_one_some_and_each(group: rack.Group) -> None:
    offset = 10
    assert group.fork(lambda: offset).result(ENOUGH) == 10
    assert group.fork(targets.add, 2, kwargs={"right": 3}).result(ENOUGH) == 5
    some = group.fork(targets.add, 1, 2, n=3)
    assert isinstance(some, list)
    assert [p.result(ENOUGH) for p in some] == [3, 3, 3]
    assert [p.result(ENOUGH) for p in group.fork(targets.add, 5, each=range(4))] == [5, 6, 7, 8]
    assert [p.result(ENOUGH) for p in group.fork(targets.add, 5, each=iter([1]))] == [6]
    assert group.fork(targets.add, n=0) == []
    assert group.fork(targets.add, each=[]) == []
    [one] = group.fork(targets.add, 1, n=1)
    assert one.result(ENOUGH) == 1
    assert len({p.pid for p in [*some, one]}) == 4


@pytest.mark.machines
def test_names_environment_and_directory(group: rack.Group, tmp_path: Path) -> None:
    def look() -> Any:
        return os.environ["COLOUR"], os.getcwd(), {name: os.environ[f"RACK_{name}"] for name in ("GID", "PID", "PPID")}

    child = group.fork(look, name="painter", env={"COLOUR": "grün"}, cwd=tmp_path)
    variables = {"GID": group.gid, "PID": str(child.pid), "PPID": str(group.getpid())}
    assert child.result(ENOUGH) == ("grün", str(tmp_path), variables)
    assert child.name == "painter"
    words = 'printf "%s " $RACK_GID $RACK_PID $RACK_PPID $COLOUR; pwd'
    command = group.fork(["sh", "-c", words], env={"COLOUR": "rot"}, cwd=str(tmp_path))
    assert command.stdout.read().decode().split() == [
        group.gid,
        str(command.pid),
        str(group.getpid()),
        "rot",
        str(tmp_path),
    ]
    assert command.wait(ENOUGH).ok
    assert "COLOUR" not in os.environ
    assert command.name == f"process-{command.pid}"


def test_a_fork_returns_before_its_children_are_up_and_they_get_what_was_told(group: rack.Group) -> None:
    children = group.fork(lambda: rack.receive().value, n=5)
    for number, child in enumerate(children):
        child.tell(number)
    assert [child.result(ENOUGH) for child in children] == [0, 1, 2, 3, 4]


@pytest.mark.machines
def test_families(group: rack.Group) -> None:
    """Children fork too; anyone asks anyone by pid; handles travel."""
    sibling = group.fork(targets.answer)

    def parent(friend: rack.Process) -> Any:
        grandchild = rack.fork(lambda: (rack.getppid(), rack.process(friend.pid).ask("hello")))
        return rack.getpid(), grandchild.ppid, grandchild.pid, grandchild.result(), friend.ask("and me")

    child = group.fork(parent, sibling)
    pid, ppid, grandchild, told, answer = child.result(ENOUGH)
    assert (pid, ppid) == (child.pid, child.pid)
    assert told == (child.pid, "hello")
    assert answer == "and me"
    assert grandchild > child.pid
    assert pickle.loads(pickle.dumps(sibling)) == sibling
    assert group.process(sibling.pid) == sibling
    sibling.tell("stop")
    assert sibling.wait(ENOUGH).ok


@pytest.mark.machines
def test_children_of_one_fork_are_a_process_group_and_have_a_parent(group: rack.Group) -> None:
    children = group.fork(targets.nap, n=3)
    assert {group.getpgid(child.pid) for child in children} == {children[0].pid}
    assert {child.ppid for child in children} == {group.getpid()}
    assert all(child.is_alive() and child.poll() is None for child in children)


# -- what cannot ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args, options, words",
    [
        ((5,), {}, "not a int"),
        (("ls -l",), {}, "list of strings"),
        (([],), {}, "at least one string"),
        ((["ls", 5],), {}, "a str, bytes or a path"),
        ((["a\0b"],), {}, "NUL"),
        ((targets.nap, threading.Lock()), {}, "cannot be sent"),
        ((threading.Lock().acquire,), {}, "cannot be sent"),
        ((targets.nap,), {"n": -1}, "non-negative"),
        ((targets.nap,), {"n": True}, "non-negative"),
        ((targets.nap,), {"n": 2.0}, "non-negative"),
        ((targets.nap,), {"n": 2, "each": [1]}, "not both"),
        ((targets.nap,), {"n": 100_000}, "10000"),
        ((targets.nap,), {"each": 5}, "each"),
        ((targets.nap,), {"kwargs": [1]}, "kwargs"),
        ((targets.nap,), {"kwargs": {1: 2}}, "kwargs"),
        ((targets.nap,), {"name": 5}, "name"),
        ((targets.nap,), {"env": {"A=B": "c"}}, "env"),
        ((targets.nap,), {"env": {"A": 5}}, "env"),
        ((targets.nap,), {"env": {"A": "\0"}}, "env"),
        ((targets.nap,), {"env": ["A"]}, "env"),
        ((targets.nap,), {"cwd": 5}, "cwd"),
        ((targets.nap,), {"cwd": "a\0b"}, "cwd"),
        ((targets.nap,), {"deadline": 0}, "deadline"),
        ((targets.nap,), {"deadline": float("nan")}, "deadline"),
        ((targets.nap,), {"deadline": "soon"}, "deadline"),
        ((targets.nap,), {"on_orphan": "shoot"}, "on_orphan"),
        ((targets.nap,), {"on_orphan": "detach"}, "deadline"),
        ((targets.nap,), {"memory": "lots"}, "memory"),
        ((targets.nap,), {"memory": -1}, "memory"),
        ((targets.nap,), {"min_ok": 0}, "min_ok"),
        ((targets.nap,), {"n": 2, "min_ok": 3}, "min_ok"),
        ((targets.nap,), {"n": 0, "min_ok": 1}, "min_ok"),
        ((targets.nap,), {"min_ok": 1, "timeout": -1}, "timeout"),
        ((targets.nap,), {"min_ok": 1, "timeout": "long"}, "timeout"),
        ((targets.nap,), {"stdin": "yes"}, "stdin"),
        ((targets.nap,), {"colour": "red"}, "colour"),
    ],
)
def test_a_bad_argument_costs_nothing(
    shared: rack.Group, args: tuple[Any, ...], options: dict[str, Any], words: str
) -> None:
    before = shared.ps()
    with pytest.raises((rack.InvalidCall, TypeError), match=words):
        shared.fork(*args, **options)
    assert shared.ps() == before


@pytest.fixture(scope="module")
def shared() -> Any:
    """A group for those tests that start nothing."""
    with rack.group("shared", provider_settings={"warm": 0}) as made:
        yield made


def test_spawn_intensity(transport: str) -> None:
    with rack.group(transport=transport, max_spawns=5, spawn_period=60, end_grace=0.2) as group:
        group.fork(targets.nap, n=4)
        with pytest.raises(rack.SpawnIntensityExceeded, match=r"6 forks within 60 s.*allows 5.*max_spawns"):
            group.fork(targets.nap, n=2)
        group.fork(targets.nap)
        with pytest.raises(rack.ForkError):
            group.fork(targets.nap)
        assert len(group.ps()) == 1 + 5


# -- what comes back --------------------------------------------------------------------------------


def test_results_of_every_kind(group: rack.Group) -> None:
    values = [None, 0, (1, [2, {3}]), b"x" * 100, {"a": (1,)}, 2**80, "\udcff", range(3), ValueError("as a value")]
    for child, value in zip(group.fork(lambda value: value, each=values), values, strict=True):
        assert repr(child.result(ENOUGH)) == repr(value)
        assert repr(child.result()) == repr(value), "it can be asked again"


@pytest.mark.machines
def test_big_arguments_and_results(group: rack.Group) -> None:
    block = os.urandom(1 << 20) * 50
    assert group.fork(lambda data: data[::-1], block).result(60) == block[::-1]


class Custom(Exception):
    """It can be pickled, and not be rebuilt."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)


@pytest.mark.machines
def test_exceptions_are_raised_again(group: rack.Group) -> None:
    with pytest.raises(LookupError, match="no such thing") as caught:
        group.fork(targets.fail, "no such thing").result(ENOUGH)
    trace = str(caught.value.__cause__)
    assert isinstance(caught.value.__cause__, rack.RemoteTraceback)
    assert "in fail" in trace
    assert "targets.py" in trace
    assert "rackactor_runtime" not in trace

    def chained() -> None:
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError as error:
            raise RuntimeError("the second") from error

    with pytest.raises(RuntimeError, match="the second") as second:
        group.fork(chained).result(ENOUGH)
    assert "ZeroDivisionError" in str(second.value.__cause__)


def test_what_cannot_travel_back_is_told(group: rack.Group) -> None:
    def unpicklable() -> Any:
        return threading.Lock()

    def hopeless() -> Any:
        raise Custom("a", "b")

    def stuffed() -> Any:
        raise ValueError(threading.Lock())

    with pytest.raises(rack.ProcessDied, match="cannot be sent to another process"):
        group.fork(unpicklable).result(ENOUGH)
    for function, words in ((hopeless, "Custom: a"), (stuffed, "ValueError")):
        with pytest.raises(rack.ProcessDied, match=words) as caught:
            group.fork(function).result(ENOUGH)
        assert caught.value.status is not None
        assert caught.value.status.cause is rack.Cause.EXCEPTION
    for words, code in ((["true"], 0), (["sh", "-c", "exit 3"], 3)):
        child = group.fork(words)
        with pytest.raises(rack.ProcessDied) if code else contextlib.nullcontext():
            assert child.result(ENOUGH) is None
    with pytest.raises(rack.ProcessDied) as died:
        group.fork(sys.exit, 3).result(ENOUGH)
    assert died.value.status is not None
    assert died.value.status.code == 3
    again = pickle.loads(pickle.dumps(died.value))
    assert (again.pid, again.status) == (died.value.pid, died.value.status)


# -- deadlines and orphans --------------------------------------------------------------------------


@pytest.mark.machines
def test_deadline(group: rack.Group) -> None:
    begun = time.monotonic()
    status = group.fork(targets.nap, deadline="500ms").wait(ENOUGH)
    assert status.cause is rack.Cause.DEADLINE
    assert 0.5 <= time.monotonic() - begun < 30  # long before it would have ended
    assert group.fork(targets.nap, 0, deadline=30).wait(ENOUGH).ok


@pytest.mark.machines
def test_orphans(group: rack.Group) -> None:
    """What happens to grandchildren when the child ends: kill is the default, adopt and detach let them live."""

    def parent() -> dict[str, int]:
        pids = {"kill": rack.fork(targets.nap).pid}
        pids["adopt"] = rack.fork(targets.answer, on_orphan="adopt").pid
        pids["detach"] = rack.fork(targets.nap, on_orphan="detach", deadline=3.0).pid
        for pid in pids.values():
            while rack.process(pid).info()["started"] is None and rack.process(pid).is_alive():
                time.sleep(0.01)
        return pids

    pids = group.fork(parent).result(ENOUGH)
    killed, adopted, detached = (group.process(pids[word]) for word in ("kill", "adopt", "detach"))
    assert eventually(lambda: not killed.is_alive())
    assert killed.info()["status"]["cause"] == "parent-died"
    assert adopted.ask("alive?", timeout=ENOUGH) == "alive?"
    assert adopted.ppid == detached.ppid == 1
    adopted.tell("stop")
    assert eventually(lambda: not detached.is_alive())
    assert detached.info()["status"]["cause"] == "deadline"
    assert eventually(lambda: len(group.ps()) == 1), "init reaps what it has adopted"


def test_whole_families_go_with_their_head(group: rack.Group) -> None:
    me = group.getpid()

    def family(depth: int) -> None:
        if depth:
            rack.fork(family, depth - 1)
        else:
            rack.process(me).tell("complete")
        targets.nap()

    head = group.fork(family, 4)
    assert rack.receive(ENOUGH).value == "complete"
    assert eventually(lambda: all(row["instance"] for row in group.ps()))
    os_pids = {int(row["instance"]) for row in group.ps() if row["kind"] == "function"}
    assert len(os_pids) == 5
    head.kill("KILL")
    assert head.wait(ENOUGH).signal == signal.SIGKILL
    assert not wait_gone(os_pids, 10.0)


# -- min_ok -----------------------------------------------------------------------------------------


def test_enough_come_up(group: rack.Group, tmp_path: Path) -> None:
    children = group.fork(targets.answer, n=3, min_ok=3, timeout=ENOUGH)
    assert [child.ask("up?") for child in children] == ["up?"] * 3
    assert children.outcomes == {child.pid: "running" for child in children}
    assert [c.pid for c in group.fork(targets.nap, 0, n=2, min_ok=2)]


def test_too_few_come_up(transport: str, tmp_path: Path) -> None:
    with rack.group(transport=transport, end_grace=0.2, provider_settings={"warm": 0}) as group:
        with pytest.raises(rack.ForkFailed, match="0 of 3 processes came up, 1 were wanted") as caught:
            group.fork(targets.nap, n=3, min_ok=1, timeout=ENOUGH, cwd=tmp_path / "missing")
        assert {outcome.cause for outcome in caught.value.outcomes.values()} == {rack.Cause.LOAD_FAILED}
        assert len(caught.value.outcomes) == 3
        assert len(group.ps()) == 1, "nothing of this fork is left"


def test_those_that_are_late_are_ended(transport: str) -> None:
    with rack.group(transport=transport, end_grace=0.2, provider_settings={"warm": 0}) as group:
        (card,) = [card for card in directories.cards() if card["gid"] == group.gid]
        (fork_server,) = psutil.Process(card["os_pid"]).children()
        fork_server.suspend()
        goes_on = threading.Timer(1.0, fork_server.resume)
        goes_on.start()
        with pytest.raises(rack.ForkFailed, match="0 of 30 processes came up, 30 were wanted") as caught:
            group.fork(targets.nap, n=30, min_ok=30, timeout=0.1)
        goes_on.join()
        assert set(caught.value.outcomes) == set(range(3, 33))
        assert len(group.ps()) == 1, "nothing of this fork is left"


# -- wait -------------------------------------------------------------------------------------------


@pytest.mark.machines
def test_wait_for_any_child(group: rack.Group) -> None:
    group.fork(targets.nap)
    quick = group.fork(targets.nap, 0, n=2)
    found = {group.wait(timeout=ENOUGH)[0], group.wait(-1, timeout=ENOUGH)[0]}
    assert found == {child.pid for child in quick}
    with pytest.raises(rack.RackTimeout):
        group.wait(timeout=0.05)


def test_wait_for_one_of_a_list(group: rack.Group) -> None:
    slow, quick = group.fork(targets.nap), group.fork(targets.nap, 0)
    pid, status = group.wait([slow.pid, quick.pid], timeout=ENOUGH)
    assert (pid, status.ok) == (quick.pid, True)
    with pytest.raises(TimeoutError):
        group.wait([slow.pid, quick.pid], timeout=0.05)
    for wrong in ([], [0], [-5], "any", 0, -2, [slow.pid, "x"], 1.5):
        with pytest.raises(rack.InvalidCall, match="wait takes"):
            group.wait(wrong)  # type: ignore[arg-type]


def test_zombies_stay_until_they_are_waited_for(group: rack.Group) -> None:
    child = group.fork(sys.exit, 5)
    assert eventually(lambda: child.info()["state"] == "zombie")
    [row] = [row for row in group.ps() if row["pid"] == child.pid]
    assert row["state"] == "zombie"
    assert row["status"]["code"] == 5
    assert not psutil.pid_exists(int(row["instance"])), "only its status is kept"
    with pytest.raises(ProcessLookupError):
        child.kill(0)
    assert group.wait(child.pid)[1].code == 5
    assert child.pid not in [row["pid"] for row in group.ps()]
    with pytest.raises(ChildProcessError, match="waited for already"):
        group.wait(child.pid)
    with pytest.raises(rack.NoChild, match="no child"):
        group.wait()
    with pytest.raises(rack.NoSuchProcess, match="never had"):
        group.wait(4_000_000)
    assert child.wait().code == 5, "its handle remembers"
    poll = child.poll()
    assert poll is not None
    assert poll.code == 5
    assert not child.is_alive()
    assert "exited with code 5" in repr(child)


def test_observers_wait_too_and_reap_nothing(group: rack.Group) -> None:
    child = group.fork(lambda: rack.receive().value)
    observers = group.fork(lambda pid: rack.process(pid).result(ENOUGH), child.pid, n=2)
    assert eventually(lambda: all(observer.info()["started"] for observer in observers))
    child.tell("seen")
    assert [observer.result(ENOUGH) for observer in observers] == ["seen", "seen"]
    assert group.wait([child.pid], timeout=ENOUGH)[1].ok


def test_timeouts_of_a_handle(group: rack.Group) -> None:
    child = group.fork(targets.nap)
    for call in (child.wait, child.result):
        with pytest.raises(TimeoutError):
            call(timeout=0.05)
    assert child.poll() is None
    assert child.is_alive()
    assert not group.process(4_000_000).is_alive()


def test_a_wait_that_timed_out_loses_nothing(group: rack.Group) -> None:
    """The timeout and the end may cross on the way: the status must not be lost between the two."""
    for delay in (0.0, 0.01, 0.02, 0.03, 0.04, 0.06):
        child = group.fork(targets.nap, delay)
        begun = time.monotonic()
        while time.monotonic() - begun < ENOUGH:
            try:
                assert child.wait(timeout=0.005).ok
                break
            except TimeoutError:
                continue
        assert child.result() is None


# -- standard files ---------------------------------------------------------------------------------


@pytest.mark.machines
def test_ten_megabytes_through_a_command(group: rack.Group) -> None:
    block = os.urandom(10 << 20)
    child = group.fork(["cat"])
    assert child.stdout.readable(), "from its opening on nothing is dropped"
    writer = threading.Thread(target=lambda: (child.stdin.write(block), child.stdin.close()))
    writer.start()
    assert child.stdout.read() == block
    writer.join(ENOUGH)
    assert child.wait(ENOUGH).ok
    assert child.stdout.read() == b""


@pytest.mark.machines
def test_standard_files_of_commands(group: rack.Group) -> None:
    child = group.fork(["sh", "-c", "read line; echo out $line; echo err >&2"])
    child.stdin.write(b"one line\n")
    child.stdin.flush()
    assert child.stdout.readline() == b"out one line\n"
    assert child.stderr.read() == b"err\n"
    assert child.stdout.read() == b""
    assert child.wait(ENOUGH).ok
    words = group.fork(["wc", "-c"])
    words.stdin.close()
    assert words.stdout.read().split() == [b"0"]
    unread = group.fork(["cat"], stdin=False)
    assert unread.wait(ENOUGH).ok, "no standard input: an empty one"
    more = group.fork(["echo", "a b"], "c", Path("d"))
    assert more.stdout.read() == b"a b c d\n"


@pytest.mark.machines
def test_standard_files_of_functions(group: rack.Group) -> None:
    def work() -> None:
        for line in sys.stdin:
            print(line.upper(), end="", flush=True)
        print("bye", file=sys.stderr)

    child = group.fork(work, stdin=True)
    for line in (b"one\n", b"two\n"):
        child.stdin.write(line)
        child.stdin.flush()
        assert child.stdout.readline() == line.upper()
    child.stdin.close()
    assert child.stderr.read() == b"bye\n"
    assert child.wait(ENOUGH).ok
    assert group.fork(lambda: sys.stdin.read()).result(ENOUGH) == ""


@pytest.mark.machines
def test_a_writer_is_held_back_by_its_reader_and_let_go_when_that_closes(group: rack.Group) -> None:
    child = group.fork(["sh", "-c", "yes | head -c 30000000; echo done >&2"])
    assert child.stdout.read(4) == b"y\ny\n"
    assert child.is_alive(), "its output is far beyond what is kept"
    child.stdout.close()
    assert child.wait(ENOUGH).ok
    assert child.stderr.read() == b"done\n"


def test_writing_to_a_process_that_is_gone(group: rack.Group) -> None:
    child = group.fork(["true"])
    child.wait(ENOUGH)
    with pytest.raises(BrokenPipeError):
        while True:
            child.stdin.write(b"x" * 100_000)
    with contextlib.suppress(BrokenPipeError):
        child.stdin.close()


def test_a_command_that_does_not_read_holds_its_writer_back(group: rack.Group) -> None:
    child = group.fork(["sleep", "60"])
    written = 0

    def write() -> None:
        nonlocal written
        with contextlib.suppress(BrokenPipeError):
            while True:
                written += child.stdin.raw.write(b"x" * 65536) or 0

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    last = -1
    while written != last:
        last = written
        time.sleep(0.2)
    assert 0 < written < 8 << 20
    child.kill("KILL")
    writer.join(ENOUGH)
    assert not writer.is_alive(), "its death lets the writer go"
    with contextlib.suppress(BrokenPipeError):
        child.stdin.close()


def test_what_nobody_read_in_time_is_no_silent_gap(group: rack.Group) -> None:
    child = group.fork(["sh", "-c", "yes | head -c 20000000; echo end"])
    assert child.wait(ENOUGH).ok
    with pytest.raises(rack.OutputLost, match=r"1[0-9]{7} bytes that process"):
        child.stdout.read()
    text = child.stdout.read()
    assert text.endswith(b"y\nend\n")
    assert 1 << 20 < len(text) < 5 << 20
