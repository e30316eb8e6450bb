"""Durations, sizes, signals, exit statuses, errors, targets: the words of the API."""

from __future__ import annotations

import ast
import inspect
import pickle
import signal
import threading
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thespian.actors import Actor

import rackactor_runtime.supervisor
from rackactor import errors, units
from rackactor.errors import BY_NAME, InvalidCall, ProcessDied, RackError
from rackactor.kernel.messages import Messages
from rackactor.signals import MAX_NAME, parse_signal
from rackactor.status import Cause, ExitStatus, signal_name
from rackactor.wire.codec import unpack
from rackactor.wire.frames import pack_body
from rackactor.wire.target import actor_target, pack_arguments, pack_target, unpack_target

# -- timeouts, durations and sizes ---------------------------------------------------------------------------


@given(st.floats(min_value=0) | st.integers(min_value=0) | st.fractions(min_value=0))
def test_what_is_a_timeout(value: Any) -> None:
    bound = units.timeout(value)
    assert bound is None if value == float("inf") else bound == pytest.approx(float(min(value, 36525 * 86400)))


@given(
    st.floats(max_value=-1e-300)
    | st.integers(max_value=-1)
    | st.text()
    | st.booleans()
    | st.just(float("nan"))
    | st.binary()
)
def test_what_is_no_timeout(value: Any) -> None:
    with pytest.raises(InvalidCall, match="patience is a number of seconds"):
        units.timeout(value, "patience")


@pytest.mark.parametrize(
    "given_, wanted",
    [
        (None, None),
        (1, 1.0),
        (0.25, 0.25),
        ("90", 90.0),
        ("90s", 90.0),
        (" 1.5 h ", 5400.0),
        ("250ms", 0.25),
        ("2m", 120.0),
        ("1d", 86400.0),
        (float("inf"), None),
    ],
)
def test_durations(given_: Any, wanted: float | None) -> None:
    assert units.seconds(given_, "deadline") == wanted


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        0.0,
        float("nan"),
        float("-inf"),
        -(10**400),
        True,
        "",
        "s",
        "1 week",
        "-1s",
        "1e3",
        "0s",
        "1h30m",
        b"1",
        [],
        10**400,
        1e12,
    ],
    ids=repr,
)
def test_what_is_no_duration(value: Any) -> None:
    with pytest.raises(InvalidCall, match="deadline is a positive number of seconds"):
        units.seconds(value, "deadline")


@pytest.mark.parametrize(
    "given_, wanted",
    [
        (None, None),
        (1, 1),
        ("512", 512),
        ("1K", 1024),
        ("256M", 256 << 20),
        ("2g", 2 << 30),
        ("1 GiB", 1 << 30),
        ("1MB", 1 << 20),
        ("10B", 10),
        ("1T", 1 << 40),
    ],
)
def test_sizes(given_: Any, wanted: int | None) -> None:
    assert units.size(given_, "memory") == wanted


@pytest.mark.parametrize(
    "value",
    [0, -1, True, 1.5, "", "M", "1.5M", "-1", "0M", "1 Mega", b"1", "1iM", "1\u212a", 1 << 63, "9" * 5000, "9999999T"],
    ids=lambda value: repr(value)[:12],
)
def test_what_is_no_size(value: Any) -> None:
    with pytest.raises(InvalidCall, match="memory is a positive number of bytes"):
        units.size(value, "memory")


@given(st.text(max_size=12))
@settings(max_examples=100, deadline=None)
def test_any_text_is_a_unit_or_refused(text: str) -> None:
    for parse in (units.seconds, units.size):
        try:
            found = parse(text, "x")
        except InvalidCall:
            continue
        assert found is not None
        assert found > 0


# -- signals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", sorted(signal.Signals))
def test_signals_by_number_and_name(number: signal.Signals) -> None:
    name = number.name
    short = name.removeprefix("SIG")
    cases = [case for word in (name, short, f"sig{short}") for case in (word, word.lower(), word.title())]
    for sig in (int(number), number, *cases, str(int(number))):
        found = parse_signal(sig)
        assert found == int(number)
        assert type(found) is int


def test_life_is_tested_by_signal_0() -> None:
    assert parse_signal(0) == parse_signal("0") == 0


def test_real_time_signals() -> None:
    for number in range(signal.SIGRTMIN, signal.SIGRTMAX + 1):
        assert parse_signal(number) == number
        assert signal_name(number)
        assert parse_signal(f"RTMIN+{number - signal.SIGRTMIN}") == number
        assert parse_signal(f"sigrtmax-{signal.SIGRTMAX - number}") == number


@pytest.mark.parametrize(
    "sig",
    [
        "terminate",
        "reload",
        "SIGNATURE",
        "KILLALL",
        "sig",
        "é",
        "\u017figterm",
        "RTMIN+99",
        "RTMAX-0x1",
        "x" * MAX_NAME,
        "-9",
        "1.5",
        "²",
        "٣",
    ],
)
def test_free_strings(sig: str) -> None:
    assert parse_signal(sig) == sig
    assert signal_name(sig) == sig


@pytest.mark.parametrize(
    "sig", [-1, 65, 1000, 32, 33, "", "x" * (MAX_NAME + 1), "99", b"TERM", None, 1.5, [], True, False], ids=repr
)
def test_what_is_no_signal(sig: Any) -> None:
    with pytest.raises(InvalidCall):
        parse_signal(sig)


@given(st.text(max_size=6) | st.integers() | st.text("0123456789", max_size=6))
@settings(max_examples=150, deadline=None)
def test_any_word_is_a_signal_or_refused(word: str | int) -> None:
    try:
        found = parse_signal(word)
    except InvalidCall:
        return
    assert parse_signal(found) == found
    assert signal_name(found)


def testnames_of_signals() -> None:
    assert signal_name(15) == "SIGTERM"
    assert signal_name(60) == "signal 60"


# -- exit status ---------------------------------------------------------------------------------------

statuses = st.builds(
    ExitStatus,
    st.integers(0, 255),
    st.none() | st.integers(1, 64),
    st.sampled_from(list(Cause)),
    st.text(),
    st.none() | st.floats(0, 2e9),
    st.floats(0, 2e9),
)


@given(statuses)
@settings(max_examples=60, deadline=None)
def test_a_status_travels(status: ExitStatus) -> None:
    found = ExitStatus.from_wire(unpack(pack_body(status.to_wire())))
    assert found == status
    assert type(found.cause) is Cause
    assert str(found)


def test_how_a_status_reads() -> None:
    status = ExitStatus(143, 15, Cause.SIGNALLED, "", 1.0, 2.0)
    assert str(status) == "signalled by SIGTERM (code 143)"
    assert str(ExitStatus(0, None, Cause.EXITED, "", 1.0, 2.0)) == "exited with code 0"


@pytest.mark.parametrize("cause", list(Cause))
@pytest.mark.parametrize("code", [0, 1])
def test_only_its_own_exit_with_0_is_ok(cause: Cause, code: int) -> None:
    assert ExitStatus(code, None, cause, "", 1.0, 2.0).ok == (code == 0 and cause is Cause.EXITED)


# -- errors --------------------------------------------------------------------------------------------

ERRORS = [
    cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, RackError) and cls is not RackError
]


@pytest.mark.parametrize("cls", [*ERRORS, RackError])
def test_an_error_says_its_docstring_by_default(cls: type[RackError]) -> None:
    assert cls.__doc__
    assert str(cls()) == cls.__doc__.strip().splitlines()[0]
    assert str(cls("text")) == "text"
    assert cls("text").args == ("text",)


@pytest.mark.parametrize("cls", [*ERRORS, RackError])
def test_an_error_can_be_sent(cls: type[RackError]) -> None:
    found = pickle.loads(pickle.dumps(cls("text")))
    assert type(found) is cls
    assert str(found) == "text"


def test_errors_keep_what_they_carry() -> None:
    status = ExitStatus(1, None, Cause.EXCEPTION, "", 1.0, 2.0)
    died = pickle.loads(pickle.dumps(ProcessDied("text", pid=7, status=status)))
    assert (died.pid, died.status, str(died)) == (7, status, "text")
    failed = pickle.loads(pickle.dumps(errors.ForkFailed("text", {3: status})))
    assert (failed.outcomes, str(failed)) == ({3: status}, "text")


@pytest.mark.parametrize(
    "cls, family",
    [
        (errors.NoSuchProcess, ProcessLookupError),
        (errors.NoChild, ChildProcessError),
        (errors.RackTimeout, TimeoutError),
        (errors.MailboxFull, TimeoutError),
        (errors.AuthenticationError, PermissionError),
        (errors.NotAllowed, PermissionError),
        (errors.GroupEnded, ConnectionError),
        (errors.InvalidCall, ValueError),
    ],
)
def test_errors_belong_to_the_families_of_python(cls: type[RackError], family: type[Exception]) -> None:
    assert issubclass(cls, family)
    with pytest.raises(family):
        raise cls()


def test_every_error_of_the_supervisor_travels_by_name() -> None:
    raised = set()
    for path in Path(rackactor_runtime.supervisor.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
                raised.add(node.exc.func.id)
    known = {name for name in raised if isinstance(getattr(errors, name, None), type)}
    assert {"NoSuchProcess", "NoChild", "InvalidCall", "NotAllowed", "AuthenticationError"} <= known
    assert known <= set(BY_NAME)
    assert all(BY_NAME[name] is getattr(errors, name) for name in BY_NAME)


def test_all_errors_are_on_the_face() -> None:
    import rackactor

    assert {cls.__name__ for cls in ERRORS} - {"ProtocolError"} <= set(rackactor.__all__) | {"ProtocolError"}
    assert list(rackactor.__all__) == sorted(rackactor.__all__)


# -- targets --------------------------------------------------------------------------------------------


class Echo(Actor):  # type: ignore[misc]
    pass


def test_what_a_process_can_run() -> None:
    assert (pack_target(Echo).kind, pack_target(Echo).what) == ("actor", "Echo")
    assert (pack_target(len).kind, pack_target(len).what) == ("function", "len")
    command = pack_target(["ls", b"-l\xff", PurePosixPath("/tmp")])
    assert (command.kind, command.blob, command.words) == ("command", b"", ["ls", "-l\udcff", "/tmp"])
    assert actor_target("some.module.Actor").kind == "actor"
    assert unpack_target(pack_target(lambda: 42).blob)() == 42


@pytest.mark.parametrize(
    "target", ["ls -l", [], (), [1], ["a", None], ["a\0b"], 5, None, {"a": 1}, ["ls", 5]], ids=repr
)
def test_what_a_process_cannot_run(target: Any) -> None:
    with pytest.raises(InvalidCall):
        pack_target(target)


def test_what_cannot_be_pickled_is_refused_before_anything_starts() -> None:
    lock = threading.Lock()
    with pytest.raises(InvalidCall, match="cannot be sent to another process"):
        pack_target(lambda: lock)
    with pytest.raises(InvalidCall, match="the arguments cannot be sent"):
        pack_arguments((lock,), {})


def test_arguments_travel() -> None:
    assert pickle.loads(pack_arguments([1, "a"], {"k": (2,)})) == ((1, "a"), {"k": (2,)})


def test_whoever_names_no_bound_waits_for_machines_too() -> None:
    kernel = Messages.__new__(Messages)
    for more, bound in (0.0, 60.0), (300.0, 360.0):
        kernel.boot_timeout = more
        assert kernel.bound(units.DEFAULT_TIMEOUT) == bound
        assert units.timeout(units.DEFAULT_TIMEOUT) == 60.0
        assert (kernel.bound(60.0), kernel.bound(None), kernel.bound(1.0)) == (60.0, None, 1.0)
