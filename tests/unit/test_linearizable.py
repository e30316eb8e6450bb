"""The checker of histories finds what is wrong, and nothing else."""

from __future__ import annotations

from linearizable import Op, linearizable


def test_histories() -> None:
    put, get = Op(0, 10, ("put", 1), 1), Op(5, 6, ("get",), 1)
    assert linearizable([put, get])
    assert linearizable([put, get._replace(result=None)])
    assert not linearizable([put, get._replace(begun=11, ended=12, result=None)])  # a stale read
    assert not linearizable([put, get, Op(7, 8, ("get",), None)])  # it went back
    both = [Op(0, 9, ("cas", None, 1), True), Op(1, 8, ("cas", None, 2), True)]
    assert not linearizable(both)
    assert linearizable([both[0], both[1]._replace(result=False)])
    assert not linearizable([Op(0, 9, ("incr", 1), 1), Op(0, 9, ("incr", 1), 1)])
    assert linearizable([Op(0, 9, ("incr", 1), 2), Op(0, 9, ("incr", 1), 1)])
