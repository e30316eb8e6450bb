"""The judges of `make chaos`: each must find what it is there to find, or its silence means nothing."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chaos import deliveries, histories, journal, queues, watches
from chaos.books import Books, Did, Kind
from chaos.deliveries import Reader, Writer, words
from chaos.histories import ABSENT, Operation
from chaos.queues import Append, Pop
from chaos.watches import Event

# -- deliveries -----------------------------------------------------------------------------------------


def delivered(
    taken: list[list[tuple[int, int]]], *, handed: dict[int, int], killed: tuple[str, ...] = (), window: int = 2
) -> deliveries.Delivered:
    """Judge readers r0, r1, ... and writers w1, w2, ...; `killed` has the names of those killed."""
    writers = [Writer(label, count, f"w{label}" in killed) for label, count in handed.items()]
    readers = [Reader(number, words(each), f"r{number}" in killed) for number, each in enumerate(taken)]
    return deliveries.judge(writers, readers, window)


def test_a_perfect_delivery_has_no_violation() -> None:
    found = delivered([[(1, 1), (2, 1), (1, 3)], [(1, 2), (2, 2)]], handed={1: 3, 2: 2})
    assert (found.violations, found.messages) == ([], 5)


@pytest.mark.parametrize(
    "taken, word",
    [
        ([[(1, 1), (1, 3)]], "lost"),
        ([[(1, 1), (1, 2)]], "lost"),
        ([[]], "lost"),
        ([[(1, 1), (1, 2), (1, 2), (1, 3)]], "twice"),
        ([[(1, 1), (1, 2), (1, 3)], [(1, 2)]], "twice"),
        ([[(1, 2), (1, 1), (1, 3)]], "after later ones"),
        ([[(1, 1), (1, 2), (1, 3), (1, 4)]], "ended after 3"),
        ([[(1, 1), (1, 2), (1, 3), (1, 7)]], "not sent"),
        ([[(1, 1), (1, 2), (1, 3), (9, 1)]], "not sent"),
    ],
)
def test_what_goes_wrong_while_all_live_is_found(taken: list[list[tuple[int, int]]], word: str) -> None:
    assert any(word in each for each in delivered(taken, handed={1: 3}).violations)


def test_a_killed_writer_excuses_what_is_missing_at_its_end_only() -> None:
    assert delivered([[(1, 1), (1, 2)]], handed={1: 5}, killed=("w1",)).violations == []
    assert delivered([[(1, 1), (1, 2)]], handed={1: 5}, killed=("w1",)).cut_off == 3
    assert delivered([[(1, 1), (1, 3)]], handed={1: 5}, killed=("w1",)).violations != []
    assert delivered([[]], handed={1: 5}, killed=("w1",)).violations == []


def test_a_killed_writer_excuses_what_was_under_way_to_one_of_several_readers() -> None:
    taken = [Reader(0, words([(1, 1), (1, 2), (1, 3), (1, 7)]))]
    found = deliveries.judge([Writer(1, 8, killed=True)], taken, 2, lanes=2)
    assert any("lost" in each for each in found.violations)
    found = deliveries.judge([Writer(1, 8, killed=True)], taken, 2, lanes=3)
    assert (found.violations, found.under_way, found.cut_off) == ([], 3, 1)
    assert deliveries.judge([Writer(1, 8)], taken, 2, lanes=3).violations != []


def test_a_killed_writer_may_have_sent_one_more_than_it_wrote_down() -> None:
    assert delivered([[(1, 1), (1, 2), (1, 3)]], handed={1: 2}, killed=("w1",)).violations == []


def test_a_killed_reader_excuses_some_redelivery() -> None:
    found = delivered([[(1, 1), (1, 2)], [(1, 3), (1, 1), (1, 2)]], handed={1: 3}, killed=("r0",))
    assert (found.violations, found.redelivered, found.late) == ([], 2, 2)


def test_a_killed_reader_excuses_no_more_than_its_window() -> None:
    taken = [[(1, n) for n in range(1, 4)], [(1, n) for n in range(1, 4)]]
    assert any("twice" in each for each in delivered(taken, handed={1: 3}, killed=("r0",)).violations)


def test_a_killed_reader_does_not_excuse_what_others_took_twice() -> None:
    taken = [[(1, 1)], [(1, 2), (1, 3)], [(1, 3)]]
    assert any("by no killed" in each for each in delivered(taken, handed={1: 3}, killed=("r0",)).violations)


def test_a_killed_reader_excuses_the_loss_of_one_message_after_its_last() -> None:
    found = delivered([[(1, 1)], [(1, 3)]], handed={1: 3}, killed=("r0",))
    assert (found.violations, found.in_hand) == ([], 1)
    found = delivered([[(1, 1)], [(1, 4)]], handed={1: 4}, killed=("r0",))
    assert any("1 messages" in each and "lost" in each for each in found.violations)
    found = delivered([[(1, 1), (1, 3)], [(1, 4)]], handed={1: 4}, killed=("r0",))
    assert any("lost" in each for each in found.violations)


@pytest.mark.parametrize("seed", range(20))
def test_any_single_message_dropped_doubled_or_moved_is_found(seed: int) -> None:
    chance = random.Random(seed)
    sent = [(label, number) for label in (1, 2, 3) for number in range(1, 200)]
    sent.sort(key=lambda message: (message[1], message[0]))
    taken: list[list[tuple[int, int]]] = [[], []]
    for message in sent:
        chance.choice(taken).append(message)
    handed = dict.fromkeys((1, 2, 3), 199)
    assert delivered(taken, handed=handed).violations == []
    victim = chance.choice([each for each in taken if each])
    place = chance.randrange(len(victim))
    for spoil in (_drop, _double, _move):
        spoilt = [list(each) if each is victim else each for each in taken]
        spoil(spoilt[taken.index(victim)], place)
        assert delivered(spoilt, handed=handed).violations != []


def _drop(taken: list[tuple[int, int]], place: int) -> None:
    del taken[place]


def _double(taken: list[tuple[int, int]], place: int) -> None:
    taken.append(taken[place])


def _move(taken: list[tuple[int, int]], place: int) -> None:
    label, _ = message = taken.pop(place)
    later = [i for i, other in enumerate(taken) if other[0] == label and i >= place]
    earlier = [i for i, other in enumerate(taken) if other[0] == label and i < place]
    taken.insert(later[-1] + 1 if later else earlier[-1], message)


# -- histories ------------------------------------------------------------------------------------------


def simulated(seed: int, count: int = 400, stale: bool = True) -> list[Operation]:
    """Return the history of processes that use a memory that is right, with replicas that lag."""
    chance = random.Random(seed)
    states: list[dict[str, object]] = [{}]  # after each write
    place = dict.fromkeys(range(4), 0)  # what each process has seen at least
    free = dict.fromkeys(range(4), 0.0)
    history = []
    now = 0.0
    for number in range(count):
        now = max(now, min(free.values())) + chance.random()  # when it takes effect
        process = chance.choice([process for process, since in free.items() if since <= now])
        call = chance.uniform(free[process], now)
        end = free[process] = now + chance.random() * 3
        now_state, kind = states[-1], chance.choice(("incr", "cas", "refused", "both", "read", "local"))
        if kind == "incr":
            old = now_state.get("n", 0)
            assert isinstance(old, int)
            history.append(Operation(process, call, end, {"n": old or ABSENT}, {"n": old + 1}))
        elif kind == "cas":
            history.append(Operation(process, call, end, {"a": now_state.get("a")}, {"a": number}))
        elif kind == "refused":
            before = chance.choice(states).get("a")
            if before == now_state.get("a"):
                continue
            history.append(Operation(process, call, end, {}, past={"a": before}))
        elif kind == "both":
            seen = {key: now_state.get(key) for key in "ab"}
            history.append(Operation(process, call, end, seen, dict.fromkeys("ab", number)))
        else:
            at = len(states) - 1
            if kind == "local" and stale:
                at = chance.randint(place[process], at)
            seen = {key: states[at].get(key) for key in "abn"}
            history.append(Operation(process, call, end, seen, local=kind == "local"))
            place[process] = max(place[process], at)
            continue
        if history[-1].writes:
            states.append(now_state | history[-1].writes)
        place[process] = len(states) - 1
    return history


@pytest.mark.parametrize("seed", range(30))
def test_a_memory_that_is_right_is_found_right(seed: int) -> None:
    assert histories.judge(simulated(seed)).violations == []


def test_a_lost_update_is_found() -> None:
    history = [Operation(1, 0, 3, {"a": ABSENT}, {"a": 1}), Operation(2, 1, 2, {"a": ABSENT}, {"a": 2})]
    assert any("lost update" in each for each in histories.judge(history).violations)


def test_a_counter_that_counts_one_call_twice_is_found() -> None:
    history = [Operation(1, 0, 1, {"n": ABSENT}, {"n": 1}), Operation(1, 2, 3, {"n": 2}, {"n": 3})]
    assert histories.judge(history).violations != []


def test_two_calls_with_the_same_result_are_found() -> None:
    history = [Operation(p, 0, 1, {"n": ABSENT}, {"n": 1}) for p in (1, 2)]
    assert histories.judge(history).violations != []


def test_a_stale_read_is_found_unless_it_is_local() -> None:
    history = [Operation(1, 0, 1, {"a": ABSENT}, {"a": 1}), Operation(2, 2, 3, {"a": ABSENT})]
    assert any("no order" in each for each in histories.judge(history).violations)
    history[1].local = True
    assert histories.judge(history).violations == []


def test_a_local_read_older_than_an_own_write_is_found() -> None:
    history = [Operation(1, 0, 1, {"a": ABSENT}, {"a": 1}), Operation(1, 2, 3, {"a": ABSENT}, local=True)]
    assert histories.judge(history).violations != []


def test_a_local_read_that_goes_back_is_found() -> None:
    history = [
        Operation(1, 0, 1, {"a": ABSENT}, {"a": 1}),
        Operation(2, 2, 3, {"a": 1}, local=True),
        Operation(2, 4, 5, {"a": ABSENT}, local=True),
    ]
    assert histories.judge(history).violations != []


def test_a_local_read_of_what_comes_later_is_found() -> None:
    history = [Operation(1, 4, 5, {"a": ABSENT}, {"a": 1}), Operation(2, 2, 3, {"a": 1}, local=True)]
    assert histories.judge(history).violations != []


def test_half_of_a_transaction_is_found() -> None:
    history = [
        Operation(1, 0, 1, {"a": ABSENT, "b": ABSENT}, {"a": 1, "b": 1}),
        Operation(2, 0, 1, {"a": 1, "b": ABSENT}),
    ]
    assert any("no order" in each for each in histories.judge(history).violations)
    history[1].local = True
    assert any("no order" in each for each in histories.judge(history).violations)


def test_two_readers_that_see_two_writes_in_two_orders_are_found() -> None:
    history = [
        Operation(1, 0, 9, {"a": ABSENT}, {"a": 1}),
        Operation(2, 0, 9, {"b": ABSENT}, {"b": 1}),
        Operation(3, 1, 2, {"a": 1, "b": ABSENT}, local=True),
        Operation(4, 1, 2, {"a": ABSENT, "b": 1}, local=True),
    ]
    assert histories.judge(history).violations != []


def test_a_refusal_without_a_reason_is_found() -> None:
    history = [Operation(1, 0, 1, {"a": ABSENT}, {"a": 1}), Operation(2, 2, 3, {}, past={"a": 1})]
    assert any("refused" in each for each in histories.judge(history).violations)
    late = Operation(1, 4, 5, {"a": 1}, {"a": 2})
    assert histories.judge([*history, late]).violations != []
    assert histories.judge([*history, replace(late, call=2.5)]).violations == []


def test_a_value_from_nowhere_is_found() -> None:
    assert any("never written" in each for each in histories.judge([Operation(1, 0, 1, {"a": 7})]).violations)


def test_what_a_killed_process_was_about_to_write_may_be_there_or_not() -> None:
    about = Operation(1, 0, math.inf, {"a": ABSENT}, {"a": 1})
    assert histories.judge([about]).violations == []
    assert histories.judge([about, Operation(2, 5, 6, {"a": 1})]).violations == []
    assert histories.judge([about, Operation(2, 5, 6, {"a": ABSENT}, {"a": 2})]).violations == []
    assert histories.judge([about]).orders == {}
    assert histories.judge([about], {("a", 1)}).orders == {"a": [ABSENT, 1]}
    gone = [about, Operation(2, 5, 6, {"a": 1}), Operation(2, 7, 8, {"a": ABSENT})]
    assert histories.judge(gone).violations != []


@pytest.mark.parametrize("spoil", ["lose", "swap", "old"])
@pytest.mark.parametrize("seed", range(10))
def test_a_history_in_which_one_result_is_changed_is_found(seed: int, spoil: str) -> None:
    chance = random.Random(seed)
    history = simulated(seed, stale=False)
    counts = [number for number, each in enumerate(history) if "n" in each.writes]
    if spoil == "lose":  # an acknowledged write that did not happen, in the middle
        history.pop(counts[len(counts) // 2])
    elif spoil == "swap":  # two results handed to the wrong callers, far apart in time
        one, other = history[counts[0]], history[counts[-1]]
        one.reads, one.writes, other.reads, other.writes = other.reads, other.writes, one.reads, one.writes
    else:
        late = [each for each in history[len(history) // 2 :] if not each.writes and "n" in each.reads]
        chance.choice(late).reads = {"n": 1}
    assert histories.judge(history).violations != []


# -- books ----------------------------------------------------------------------------------------------


def book(*records: Sequence[Any]) -> Books:
    books = Books()
    books.add(1, records)
    return books


def test_a_book_gives_what_was_seen_and_made() -> None:
    books = book(
        (Did.CALL, 1.0, Kind.INCR, "n0"),
        (Did.RETURN, 2.0, 1),
        (Did.CALL, 3.0, Kind.CAS, "c0", None, "1.1"),
        (Did.RETURN, 4.0, False),
        (Did.CALL, 5.0, Kind.BOTH, ["t0", "t1"], "1.2"),
        (Did.SAW, [None, "9.9"]),
        (Did.RETURN, 6.0, True),
        (Did.CALL, 7.0, Kind.READ, ["c0"]),
        (Did.RETURN, 8.0, ["9.8"]),
    )
    assert books.history() == [
        Operation(1, 1.0, 2.0, {"n0": ABSENT}, {"n0": 1}),
        Operation(1, 3.0, 4.0, {}, past={"c0": None}),
        Operation(1, 5.0, 6.0, {"t0": None, "t1": "9.9"}, {"t0": "1.2", "t1": "1.2"}),
        Operation(1, 7.0, 8.0, {"c0": "9.8"}, local=True),
    ]


def test_what_a_killed_process_may_have_counted_takes_the_values_that_nobody_else_made() -> None:
    books = book((Did.CALL, 1.0, Kind.MANY, ["n0", "n1"]))
    assert books.history() == []
    books.seen = {("n0", 1)}
    assert books.history() == [Operation(-1, 1.0, math.inf, {"n0": ABSENT}, {"n0": 1})]
    assert books.violations == []
    books.seen = {("n1", 1), ("n0", 1)}
    assert sorted(list(each.writes) for each in books.history()) == [["n0"], ["n1"]]
    between = Operation(2, 3.0, 4.0, {"n0": 1, "n1": ABSENT})
    assert histories.judge([*books.history(), between], books.seen).violations == []
    books.seen = {("n0", 2)}
    books.history()
    assert any("nobody made" in each for each in books.violations)


def test_nobody_knows_which_of_several_killed_processes_has_counted() -> None:
    """The first one's pipeline never arrived; two others, killed later, have counted, the key named last first."""
    books = book((Did.CALL, 1.0, Kind.MANY, ["n0", "n1"]))
    books.add(2, [(Did.CALL, 10.0, Kind.INCR, "n1")])
    books.add(3, [(Did.CALL, 100.0, Kind.INCR, "n0")])
    books.add(4, [(Did.CALL, 50.0, Kind.SYNC_READ, ["n0", "n1"]), (Did.RETURN, 51.0, [None, 1])])
    books.seen = {("n0", 1), ("n1", 1)}
    assert histories.judge(books.history(), books.seen).violations == []
    books.add(4, [(Did.CALL, 0.1, Kind.SYNC_READ, ["n0"]), (Did.RETURN, 0.2, [1])])
    assert histories.judge(books.history(), books.seen).violations != [], "before any of them had been called"


# -- queues ---------------------------------------------------------------------------------------------

APPENDS = [Append("a", 0, 1), Append("b", 2, 3), Append("c", 2, 4)]


def test_a_queue_that_is_right_is_found_right() -> None:
    assert queues.judge(APPENDS, [Pop(None, 0, 0.5), Pop("a", 1, 5), Pop("c", 5, 7), Pop("b", 6, 7)]) == []


@pytest.mark.parametrize(
    "pops, word",
    [
        ([Pop("a", 5, 6), Pop("b", 7, 8)], "lost"),
        ([Pop("a", 5, 6), Pop("b", 7, 8), Pop("c", 9, 10), Pop("a", 11, 12)], "twice"),
        ([Pop("a", 5, 6), Pop("b", 7, 8), Pop("c", 9, 10), Pop("d", 11, 12)], "never appended"),
        ([Pop("b", 5, 6), Pop("a", 7, 8), Pop("c", 9, 10)], "taken before"),
        ([Pop(None, 5, 6), Pop("a", 7, 8), Pop("b", 9, 10), Pop("c", 9, 10)], "empty"),
    ],
)
def test_a_queue_that_is_wrong_is_found(pops: list[Pop], word: str) -> None:
    assert any(word in each for each in queues.judge(APPENDS, pops))


def test_a_killed_process_excuses_one_element_of_a_queue() -> None:
    taken = [Pop("a", 5, 6), Pop(None, 5, math.inf, unknown=True)]
    assert queues.judge(APPENDS[:2], taken) == []
    assert queues.judge(APPENDS, taken) != []
    assert queues.judge([*APPENDS[:1], Append("b", 2, math.inf)], [Pop("a", 5, 6)]) == []


# -- watches --------------------------------------------------------------------------------------------

ORDERS = {"a": [None, "1", "2"], "n": [None, 1]}
TOLD = [Event(1, "a", "1"), Event(2, "n", 1), Event(5, "a", "2")]


def test_watchers_that_were_told_all_are_found_right() -> None:
    assert watches.judge({"x": TOLD, "y": TOLD}, ORDERS) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda told: told[1:],
        lambda told: told[:-1],
        lambda told: [told[0], *told],
        lambda told: [told[1], told[0], told[2]],
        lambda told: [*told, Event(6, "a", "3")],
        lambda told: [*told, Event(6, "z", "3")],
        lambda told: [Event(1, "a", "2"), told[1], Event(5, "a", "1")],
    ],
)
def test_a_watcher_that_was_told_wrong_is_found(spoil: Callable[[list[Event]], list[Event]]) -> None:
    assert watches.judge({"x": TOLD, "y": spoil(TOLD)}, ORDERS) != []


# -- journals -------------------------------------------------------------------------------------------


def test_numbers_are_read_back_up_to_where_their_writer_came(tmp_path: Path) -> None:
    kept = journal.Numbers(tmp_path / "taken", 300_000)
    for number in range(1, 200_001):
        kept.append(number)
    assert list(journal.numbers(tmp_path / "taken")) == list(range(1, 200_001))


def test_a_record_that_was_cut_short_is_not_one(tmp_path: Path) -> None:
    kept = journal.Records(tmp_path / "records")
    kept.append("one", 1)
    kept.append("two", None)
    kept.close()
    with open(tmp_path / "records", "ab") as file:
        file.write(b"\x93\x01")
    assert list(journal.records(tmp_path / "records")) == [["one", 1], ["two", None]]
