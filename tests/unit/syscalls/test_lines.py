"""Whole lines of several processes: what is held back, for how long, and that nothing is lost."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rackactor.syscalls.lines import LONGEST, Lines

_PIECES = st.lists(
    st.tuples(st.integers(3, 5), st.integers(1, 2), st.text("ab\r\n", max_size=6).map(str.encode), st.integers(0, 5)),
    max_size=30,
)


@given(_PIECES)
@settings(max_examples=100, deadline=None)
def test_nothing_is_lost_or_waits_too_long(pieces: list[tuple[int, int, bytes, int]]) -> None:
    lines = Lines(2)
    printed: dict[tuple[int, int], bytes] = {}
    shown: dict[tuple[int, int], bytes] = {}
    now = 0

    def show(pid: int, stream: int, data: bytes) -> None:
        shown[pid, stream] = shown.get((pid, stream), b"") + data

    for pid, stream, data, later in pieces:
        printed[pid, stream] = printed.get((pid, stream), b"") + data
        show(pid, stream, lines.take(pid, stream, data, now))
        now += later
        for due in lines.due(now):
            show(*due)
        for who, text in printed.items():
            held = text.removeprefix(shown.get(who, b""))
            assert b"\n" not in held
            assert b"\r" not in held[:-1]
        wait = lines.wait(now)
        assert (wait is None) is (printed == {who: shown.get(who, b"") for who in printed})
        assert wait is None or 0 < wait <= 2
    for rest in lines.rest():
        show(*rest)
    assert {who: data for who, data in shown.items() if data} == {who: data for who, data in printed.items() if data}
    assert lines.wait(now) is None


def test_lines_do_not_mix() -> None:
    lines = Lines()
    assert lines.take(3, 1, b"one, ", 0.0) == b""
    assert lines.take(4, 1, b"other\n", 0.05) == b"other\n"
    assert lines.take(3, 1, b"two\nthr", 0.1) == b"one, two\n"
    assert list(lines.rest(4)) == []
    assert list(lines.rest(3)) == [(3, 1, b"thr")]


def test_patience_counts_from_the_first_byte() -> None:
    lines = Lines(0.2)
    for step in range(4):
        assert lines.take(3, 2, b".", 0.06 * step) == b""
    assert list(lines.due(0.199)) == []
    assert list(lines.due(0.2)) == [(3, 2, b"....")]
    assert lines.take(3, 2, b".", 0.24) == b""
    assert lines.wait(0.24) == 0.2


def test_a_carriage_return_ends_a_piece_unless_it_may_be_half_of_a_lines_end() -> None:
    lines = Lines()
    assert lines.take(3, 2, b"\r 10%", 0.0) == b"\r"
    assert lines.take(3, 2, b"\r 20%", 0.1) == b" 10%\r"
    assert lines.take(3, 2, b"\r\nword\r", 0.1) == b" 20%\r\n"
    assert lines.take(3, 2, b"\n", 0.1) == b"word\r\n"


def test_an_endless_line_comes_in_pieces() -> None:
    lines = Lines()
    assert lines.take(3, 1, b"x" * (LONGEST - 1), 0.0) == b""
    assert len(lines.take(3, 1, b"x", 0.0)) == LONGEST
