"""What a function returned or raised: it arrives, or whoever asks is told why it does not."""

from __future__ import annotations

import pickle
import threading
import traceback
import urllib.error
import xmlrpc.client
from email.message import Message
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rackactor as rack
from rackactor.status import Cause, ExitStatus
from rackactor.wire import outcomes

STATUS = ExitStatus(1, None, Cause.EXCEPTION, "evidence", 1.0, 2.0)


class Two(Exception):
    def __init__(self, left: int, right: int) -> None:
        super().__init__(f"{left} and {right}")
        self.left, self.right = left, right


class Keyword(ValueError):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class Holding(OSError):
    """Holds what no pickle can carry."""

    def __init__(self, name: str) -> None:
        super().__init__(2, "not there", name)
        self.lock = threading.Lock()
        self.name = name


class InArguments(KeyError):
    def __init__(self, number: int) -> None:
        super().__init__(threading.Lock(), number)


class Lying(RuntimeError):
    def __reduce__(self) -> Any:
        return str, ("no exception at all",)


class LyingOfItsClass(RuntimeError):
    def __reduce__(self) -> Any:
        return ValueError, ("another one",)


class Raising(LookupError):
    def __reduce__(self) -> Any:
        raise TypeError("not to be pickled")


class Slotted(Exception):
    __slots__ = ("left", "right")

    def __init__(self, left: int, right: int) -> None:
        super().__init__()
        self.left, self.right = left, right


class Speechless(Exception):
    def __init__(self, left: int, right: int) -> None:
        super().__init__(left)

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Particular(Exception):
    def __new__(cls, *, left: int) -> Particular:
        return super().__new__(cls, left)

    def __init__(self, *, left: int) -> None:
        super().__init__(left)


class Stop(BaseException):
    def __init__(self, left: int, right: int) -> None:
        super().__init__(left)


class Final(Exception):
    def __init__(self, left: int, right: int) -> None:
        super().__init__(left)

    def __init_subclass__(cls) -> None:
        raise TypeError("no class is made of this one")


class Web(Exception):
    """Has a status and a pid of its own."""

    status = 404

    def __init__(self, left: int, right: int) -> None:
        super().__init__(left)
        self.pid = right


def http_error() -> urllib.error.HTTPError:
    return urllib.error.HTTPError("http://x/", 404, "Not Found", Message(), None)


def over(error: BaseException) -> Any:
    """Send an exception over, as a function's process and whoever asks for its result do."""
    text = "".join(traceback.format_exception(error))
    frames = [bytes(frame) for frame in outcomes.pack_raised(error, text)]
    return outcomes.raised(frames, 7, STATUS)


@pytest.mark.parametrize(
    "error",
    [
        Two(1, 2),
        Keyword(code=3),
        Holding("f"),
        InArguments(4),
        Lying("x"),
        LyingOfItsClass("x"),
        Raising("x"),
        Slotted(1, 2),
        Speechless(1, 2),
        Particular(left=1),
        Stop(1, 2),
        Web(1, 2),
        http_error(),
        xmlrpc.client.ProtocolError("u", 500, "m", {}),
        ExceptionGroup("all", [Two(1, 2), ValueError(3)]),
        BaseExceptionGroup("all", [Stop(1, 2), Two(1, 2)]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_cannot_be_rebuilt_is_of_its_class_all_the_same(error: BaseException) -> None:
    error.add_note("a note")
    again = over(error)
    assert isinstance(again, type(error))
    assert isinstance(again, rack.ProcessDied)
    assert "a note" in again.__notes__
    assert type(error).__name__ in str(again.__cause__)
    if not isinstance(error, Speechless):
        assert str(again).endswith(f"{type(error).__name__}: {error}")
        assert str(again).startswith("process 7 raised ")
    twice = pickle.loads(pickle.dumps(again))
    assert isinstance(twice, type(error))
    assert str(twice) == str(again)
    assert "".join(traceback.format_exception(again))


def test_attributes_arrive_as_far_as_they_can() -> None:
    two, keyword, holding, slotted = over(Two(1, 2)), over(Keyword(code=3)), over(Holding("f")), over(Slotted(1, 2))
    assert (two.left, two.right, two.args) == (1, 2, ("1 and 2",))
    assert keyword.code == 3
    assert (holding.errno, holding.strerror, holding.filename, holding.name) == (2, "not there", "f", "f")
    assert not hasattr(holding, "lock")
    assert (slotted.left, slotted.right) == (1, 2)
    assert over(InArguments(4)).args[1] == 4
    assert (over(http_error()).code, over(http_error()).status, over(http_error()).url) == (404, 404, "http://x/")
    assert (two.pid, two.status) == (7, STATUS)
    assert (over(Web(1, 2)).status, over(Web(1, 2)).pid) == (404, 2), "what its own class says goes first"


def test_exceptions_within_a_group_are_of_their_classes() -> None:
    group = over(ExceptionGroup("all", [Two(1, 2), ExceptionGroup("more", [Keyword(code=3)]), ValueError(4)]))
    matched, rest = group.split(Two)
    assert (matched.exceptions[0].left, matched.exceptions[0].right) == (1, 2)
    inner, last = rest.exceptions
    assert isinstance(inner.exceptions[0], Keyword)
    assert type(last) is ValueError


def test_a_class_that_cannot_be_mixed_is_told_by_a_more_general_one() -> None:
    error = over(Final(1, 2))
    assert type(error) is rack.ProcessDied
    assert "Final" in str(error)


@pytest.mark.parametrize("error", [ValueError("x"), FileNotFoundError(2, "no", "f"), KeyError(1), rack.NoGroup("x")])
def test_what_can_be_rebuilt_is_what_it_was(error: Exception) -> None:
    again = over(error)
    assert type(again) is type(error)
    assert again.args == error.args
    assert isinstance(again.__cause__, rack.errors.RemoteTraceback)


def test_a_class_that_is_not_here_is_told_by_what_it_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = outcomes.pack_raised(Holding("f"), "the traceback")
    monkeypatch.delitem(globals(), "Holding")
    error = outcomes.raised(frames, 7, STATUS)
    assert isinstance(error, FileNotFoundError | OSError)
    assert isinstance(error, rack.ProcessDied)
    assert str(error.__cause__.args[0]) == "the traceback"


class Elsewhere:
    """Can be opened where `here` is set."""

    here = True

    def __setstate__(self, state: Any) -> None:
        if not self.here:
            raise RuntimeError("not here")

    def __getstate__(self) -> Any:
        return {"a": 1}


def test_a_value_that_cannot_be_opened_here_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = outcomes.pack_returned(Elsewhere())
    assert isinstance(outcomes.take(frames, 7, STATUS), Elsewhere)
    monkeypatch.setattr(Elsewhere, "here", False)
    with pytest.raises(
        rack.ProcessDied, match=r"process 7 returned \(of the type Elsewhere\) cannot be opened"
    ) as died:
        outcomes.take(frames, 7, STATUS)
    assert died.value.status is STATUS
    with pytest.raises(rack.InvalidCall, match=r"returned \(of the type Elsewhere\) cannot be rebuilt.*not here"):
        outcomes.pack_returned(Elsewhere())


@pytest.mark.parametrize(
    "value", [Two(1, 2), [Two(1, 2)], threading.Lock(), Raising("x")], ids=["two", "list", "lock", "raising"]
)
def test_a_value_that_cannot_travel_is_refused_where_it_was_made(value: Any) -> None:
    with pytest.raises(rack.InvalidCall, match=r"what the function returned \(of the type \w+\) cannot be"):
        outcomes.pack_returned(value)


values = st.recursive(
    st.none() | st.integers() | st.text(st.characters()) | st.binary() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
)


@given(values, st.integers(1, 64))
@settings(max_examples=100, deadline=None)
def test_values_arrive_in_parts_of_any_size(value: Any, part: int) -> None:
    before, outcomes.PART = outcomes.PART, part
    try:
        frames = outcomes.pack_returned(value)
    finally:
        outcomes.PART = before
    assert all(len(frame) <= part for frame in frames[1:])
    assert outcomes.take([bytes(frame) for frame in frames], 7, STATUS) == value
