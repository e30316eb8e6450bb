"""Services as the supervisor decides on them, whose turn it is in one, and what travels to and from it."""

from __future__ import annotations

from collections import defaultdict

import pytest
from driving import House
from hypothesis import given
from hypothesis import strategies as st

from rackactor.errors import NotAllowed, ProtocolError, RackError
from rackactor.ipc import service
from rackactor.wire.errors import pack_error, unpack_error
from rackactor_runtime.services.fair_queue import Turn, Turns
from rackactor_runtime.supervisor.decisions import messages as m
from rackactor_runtime.supervisor.decisions.services import BOOT, PERIOD, STARTS


def begin(house: House, caller: int, name: str = "files") -> tuple[int, m.StartService]:
    """Ask for a service that does not run yet."""
    rid = house.cast(caller, "service", name=name)
    (start,) = house.pick(m.StartService)
    assert house.answer(caller, rid) is None
    return rid, start


def test_it_is_started_once_and_all_who_wait_are_told(house: House, script: int) -> None:
    child = house.spawn(script)
    rid, start = begin(house, script)
    assert house.state.tokens[start.token] == start.pid
    other = house.cast(child, "service", name="files")
    assert not house.pick(m.StartService)
    house.hear(m.Joined(start.pid, 77))
    for caller, number in ((script, rid), (child, other)):
        answer = house.answer(caller, number)
        assert answer is not None
        assert answer.fields == {"pid": start.pid}
    assert house.call(script, "service", name="files").fields == {"pid": start.pid}


def test_it_is_none_of_the_groups_processes(house: House, script: int) -> None:
    _, start = begin(house, script)
    house.hear(m.Joined(start.pid, 77))
    assert [row["pid"] for row in house.call(script, "ps").fields["processes"]] == [script]
    assert house.call(script, "group").fields["processes"] == 0
    house.call(script, "kill", pids=[0], signal=15)
    assert start.pid not in {n.pid for n in house.pick(m.Notify)}
    refused = house.call(script, "kill", pids=[start.pid], signal=9)
    assert refused.fields["type"] == "NotAllowed"
    assert house.call(script, "why", pid=start.pid).fields["process"]["kind"] == "service"


def test_one_that_dies_before_it_joins_is_an_error_for_those_who_wait(house: House, script: int) -> None:
    rid, start = begin(house, script)
    house.hear(m.ServiceEnded(start.pid, "its program ended with code 1"))
    answer = house.answer(script, rid)
    assert answer is not None
    assert (answer.ok, answer.fields["type"]) == (False, "ServiceFailed")
    assert "code 1" in answer.fields["message"]
    assert house.state.table.get(start.pid) is None
    assert start.token not in house.state.tokens


def test_one_that_dies_is_started_anew_for_the_next_who_asks(house: House, script: int) -> None:
    _, start = begin(house, script)
    house.hear(m.Joined(start.pid, 77))
    house.state.table.get(start.pid).correspondents.add(script)  # type: ignore[union-attr]
    house.hear(m.ServiceEnded(start.pid, "its program was ended by signal 9"))
    assert [told["pid"] for told in house.told(script, "gone")] == [start.pid]
    assert not house.pick(m.StartService)
    _, again = begin(house, script)
    assert again.pid != start.pid


def test_it_is_not_started_without_end(house: House, script: int) -> None:
    for _ in range(STARTS):
        _, start = begin(house, script)
        house.hear(m.ServiceEnded(start.pid, "its program ended with code 3"))
    refused = house.call(script, "service", name="files")
    assert refused.fields["type"] == "ServiceFailed"
    assert "code 3" in refused.fields["message"]
    house.pass_time(PERIOD, heard=[script])
    begin(house, script)


def test_one_that_does_not_come_up_is_ended(house: House, script: int) -> None:
    rid, start = begin(house, script)
    house.pass_time(BOOT, heard=[script])
    assert house.pick(m.StopService) == [m.StopService(start.pid)]
    house.pass_time(0.1, heard=[script])
    assert not house.pick(m.StopService)
    house.hear(m.ServiceEnded(start.pid, "its program was ended by signal 9"))
    answer = house.answer(script, rid)
    assert answer is not None
    assert not answer.ok


def test_one_that_is_silent_for_too_long_is_ended(house: House, script: int) -> None:
    _, start = begin(house, script)
    house.hear(m.Joined(start.pid, 77))
    house.pass_time(house.state.settings.silence_limit, heard=[script])
    assert not house.pick(m.StopService)
    house.pass_time(1.0, heard=[script])
    assert house.pick(m.StopService) == [m.StopService(start.pid)]


def test_who_has_ended_or_withdrawn_is_not_answered(house: House, script: int) -> None:
    child = house.spawn(script)
    rid, start = begin(house, child)
    other = house.cast(script, "service", name="files")
    house.cast(script, "cancel", rid=other)
    house.die(child, 0)
    house.hear(m.Joined(start.pid, 77))
    assert house.answer(child, rid) is None
    answer = house.answer(script, other)
    assert answer is not None
    assert answer.fields["type"] == "RackTimeout"


def test_no_other_names(house: House, script: int) -> None:
    for name in ("nothing", "", None, 5, []):
        assert house.call(script, "service", name=name).fields["type"] == "InvalidCall"


def test_a_detached_group_does_not_live_for_its_services(house: House) -> None:
    script = house.script()
    house.state.deadline_at = house.now + 1000
    child = house.spawn(script)
    _, start = begin(house, child)
    house.hear(m.Joined(start.pid, 77))
    house.call(script, "detach")
    house.exit(child)
    house.pass_time(house.state.settings.linger + 1, heard=[start.pid])
    house.pass_time(house.state.settings.linger + 1, heard=[start.pid])
    assert house.state.shutdown.reason
    assert house.pick(m.Finish) or house.state.shutdown.finished


def test_an_ended_group_starts_none(house: House, script: int) -> None:
    house.cast(script, "end")
    assert house.state.shutdown.finished
    assert house.call(script, "service", name="files").fields["type"] == "ServiceFailed"


# -- turns -------------------------------------------------------------------------------------------------


class Work:
    """Questions being answered, in an order that the test chooses."""

    def __init__(self, at_once: int, each: int) -> None:
        self.turns: Turns[int] = Turns(at_once, each, 1000)
        self.working: list[Turn[int]] = []
        self.finished: list[int] = []

    def start(self, turns: list[Turn[int]] | None) -> None:
        assert turns is not None
        self.working += turns

    def finish(self, index: int) -> None:
        turn = self.working.pop(index % len(self.working))
        self.finished.append(turn.job)
        self.start(self.turns.done(turn))


@given(
    at_once=st.integers(1, 6),
    each=st.integers(1, 4),
    script=st.lists(st.tuples(st.integers(0, 3), st.sampled_from([None, "a", "b"]), st.integers(0, 9)), max_size=60),
)
def test_turns_are_bounded_ordered_and_complete(
    at_once: int, each: int, script: list[tuple[int, str | None, int]]
) -> None:
    work = Work(at_once, each)
    strands: dict[tuple[int, str | None], list[int]] = defaultdict(list)
    for job, (client, strand, choice) in enumerate(script):
        strands[client, strand].append(job)
        work.start(work.turns.add(client, strand, job))
        of_clients: dict[int, int] = defaultdict(int)
        held = [(turn.client, turn.strand) for turn in work.working if turn.strand is not None]
        for turn in work.working:
            of_clients[turn.client] += 1
        assert len(work.working) <= at_once
        assert max(of_clients.values()) <= each
        assert len(held) == len(set(held))
        if choice < 4:
            work.finish(choice)
    while work.working:
        work.finish(0)
    assert sorted(work.finished) == list(range(len(script)))
    for (_, strand), jobs in strands.items():
        if strand is not None:
            assert [job for job in work.finished if job in jobs] == jobs


def test_a_client_of_many_questions_holds_up_no_other() -> None:
    work = Work(4, 2)
    for job in range(10):
        work.start(work.turns.add(1, None, job))
    work.start(work.turns.add(2, None, 100))
    assert [turn.job for turn in work.working] == [0, 1, 100]


def test_the_last_word_on_a_client_comes_when_its_work_is_done() -> None:
    work = Work(4, 2)
    for job in range(3):
        work.start(work.turns.add(1, None, job))
    work.start(work.turns.gone(1, -1))
    assert [turn.job for turn in work.working] == [0, 1]
    work.finish(0)
    work.finish(0)
    assert [turn.job for turn in work.working] == [-1]
    work.finish(0)
    assert work.finished == [0, 1, -1]
    assert work.turns.add(1, None, 5) is None  # what comes late


def test_too_many_questions_are_refused() -> None:
    turns: Turns[int] = Turns(1, 1, 2)
    assert turns.add(1, None, 0) == [Turn(1, None, 0)]
    assert turns.add(1, None, 1) == turns.add(1, None, 2) == []
    assert turns.add(1, None, 3) is None
    assert turns.add(2, None, 4) == []


# -- what travels -------------------------------------------------------------------------------------------


def test_questions_travel_as_they_are() -> None:
    what, fields, data = service.unpack(service.pack("read", {"at": 5, "name": "ä"}, b"\0" * 10))
    assert (what, fields, bytes(data)) == ("read", {"at": 5, "name": "ä"}, b"\0" * 10)
    assert service.unpack(service.pack(None, {}))[2] == b""


@pytest.mark.parametrize("payload", [b"", b"\0\0\0\1", b"\0\0\0\1\x90", b"\0\0\0\2\x92\1\2", b"\xff\xff\xff\xff\x90"])
def test_nonsense_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        service.unpack(payload)


def test_errors_travel_by_name() -> None:
    for error in (
        FileNotFoundError(2, "No such file or directory", "/x"),
        OSError(28, "No space left on device"),
        ValueError("bad"),
        NotImplementedError("cannot"),
        NotAllowed("no"),
        FileNotFoundError("/only/a/text"),
    ):
        made = unpack_error(pack_error(error))
        assert type(made) is type(error)
        assert str(made) == str(error)
        if isinstance(error, OSError):
            assert (made.errno, made.filename) == (error.errno, error.filename)  # type: ignore[attr-defined]

    class Strange(Exception):
        pass

    made = unpack_error(pack_error(Strange("thing")))
    assert type(made) is RackError
    assert str(made) == "Strange: thing"
