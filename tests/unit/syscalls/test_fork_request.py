"""What a fork asks for is checked and pickled as a whole, with nobody at the other end."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from rackactor.errors import InvalidCall
from rackactor.syscalls.fork_request import ForkRequest
from rackactor.wire.target import Creation, pack_target


def target(*args: Any, **kwargs: Any) -> None:
    """Do nothing."""


def arguments(request: ForkRequest) -> list[Any]:
    return [pickle.loads(blob) for blob in request.blobs[1:]]


def test_one_process_or_a_list() -> None:
    for request, count, many in [
        (ForkRequest.fork(target), 1, False),
        (ForkRequest.fork(target, n=1), 1, True),
        (ForkRequest.fork(target, each="ab"), 2, True),
        (ForkRequest.fork(target, n=0), 0, True),
    ]:
        assert (request.call.n, request.many) == (count, many)


def test_one_set_of_arguments_for_all_or_one_for_each() -> None:
    assert arguments(ForkRequest.fork(target, 1, n=3, kwargs={"k": 2})) == [((1,), {"k": 2})]
    assert arguments(ForkRequest.fork(target, 1, each="ab")) == [(("a", 1), {}), (("b", 1), {})]
    assert arguments(ForkRequest.fork(["cat"], b"x")) == [(("x",), {})]
    assert ForkRequest.fork(target, n=0).blobs[1:] == ()


def test_a_command_has_a_standard_input_unless_it_is_told_otherwise() -> None:
    assert ForkRequest.fork(["cat"]).call.stdin
    assert not ForkRequest.fork(["cat"], stdin=False).call.stdin
    assert not ForkRequest.fork(target).call.stdin


def test_options_are_plain_values() -> None:
    call = ForkRequest.fork(target, env={"A": "b"}, cwd=b"/x", deadline="1h", memory="1M", flavor="m1").call
    assert (call.env, call.cwd, call.deadline, call.memory) == ({"A": "b"}, "/x", 3600.0, 1 << 20)
    assert call.placement == {"flavor": "m1"}


@pytest.mark.parametrize(
    "options, words",
    [
        ({"n": -1}, "n is how many"),
        ({"n": 1, "each": []}, "n= or each=, not both"),
        ({"each": 3}, "each= holds"),
        ({"kwargs": {1: 2}}, "kwargs is a dict"),
        ({"name": 3}, "name is a string"),
        ({"env": [1]}, "env is a dict"),
        ({"env": {"a=b": "c"}}, "a string without ="),
        ({"deadline": "soon"}, "deadline"),
        ({"stdout": True}, "stdout is the writing end"),
        ({"n": 2, "min_ok": 3}, "min_ok is an integer from 1 to n"),
        ({"timeout": -1}, "timeout"),
    ],
)
def test_what_cannot_be_used_is_refused(options: Any, words: str) -> None:
    with pytest.raises(InvalidCall, match=words):
        ForkRequest.fork(target, **options)


def test_an_actor_with_a_global_name_outlives_who_has_made_it() -> None:
    packed = pack_target(["cat"])
    named = ForkRequest.create_actor(packed, Creation({"flavor": "m1", "other": 1}, "the one", "hash")).call
    assert (named.name, named.global_name, named.on_orphan, named.source_hash) == (
        "the one",
        "the one",
        "adopt",
        "hash",
    )
    assert named.placement == {"flavor": "m1"}
    assert ForkRequest.create_actor(packed, Creation()).call.on_orphan == "kill"


def test_it_does_not_change() -> None:
    request = ForkRequest.fork(target)
    with pytest.raises(FrozenInstanceError):
        request.many = True  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        request.call.n = 2  # type: ignore[misc]


def test_a_misspelt_option_is_an_error_of_fork() -> None:
    """Python names the function in it, and the caller has called `rack.fork`."""
    fork: Any = ForkRequest.fork
    with pytest.raises(TypeError, match=r"^fork\(\) got an unexpected keyword argument 'nmae'"):
        fork(print, nmae="x")
