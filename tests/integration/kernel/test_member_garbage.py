"""What a member sends costs at most that member its membership: nobody else's, never the supervisor."""

from __future__ import annotations

import pytest
import spewing

import rackactor as rack

pytestmark = pytest.mark.wire

ENOUGH = 30.0


@pytest.mark.timeout(150)
@pytest.mark.parametrize("layer", ["entries", "packets", "letters", "services", "supervisor", "direct", "calls"])
def test_nobody_but_the_sender_suffers(group: rack.Group, layer: str) -> None:
    victim = group.fork(spewing.echo, "p")
    bystander = group.fork(spewing.echo, "q")
    seat = victim.ask("seat", timeout=ENOUGH)
    for seed in (1, 2):
        sender = group.fork(spewing.spew, layer, seed, victim.pid, seat, name="sender")
        status = sender.wait(ENOUGH)
        if layer not in ("calls", "services"):
            assert status.cause is rack.Cause.EXPELLED, status
            assert "ProtocolError" in str(sender.info()["status"]), sender.info()
        for other in (victim, bystander):
            assert other.ask(("still", "there"), timeout=ENOUGH) == ("still", "there")
        with group.pipe("p", "w") as writer:
            writer.send("word")
        with group.open("/file", "w") as file:
            file.write("words")
        assert group.fs.cat("/file") == b"words"
        group.shm["k"] = seed
        assert group.shm["k"] == seed
        assert group.fork(abs, -3).result(ENOUGH) == 3


@pytest.mark.timeout(150)
@pytest.mark.parametrize("what", ["messages", "pipe"])
def test_who_sends_more_than_it_has_credit_for_is_put_out(group: rack.Group, what: str) -> None:
    with group.pipe("p", "w"), group.pipe("enough", "w") as enough:
        victim = group.fork(spewing.hold, "p")
        sender = group.fork(spewing.overdraw, what, victim.pid, "p")
        if what == "messages":
            with group.pipe("p", "w") as writer:
                writer.send(b"")
        status = sender.wait(ENOUGH)
        assert status.cause is rack.Cause.EXPELLED, status
        assert "more messages" in str(sender.info()["status"]), sender.info()
        enough.send(None)
        assert victim.wait(ENOUGH).ok


@pytest.mark.timeout(150)
def test_nobody_writes_in_the_name_of_another_writer(group: rack.Group) -> None:
    victim = group.fork(spewing.echo, "p")
    seat = victim.ask("seat", timeout=ENOUGH)
    with group.pipe("p", "w") as writer:
        writer.send("first")
        forger = group.fork(spewing.forge, victim.pid, seat)
        assert forger.wait(ENOUGH).ok
        for word in ("second", "third", "fourth"):
            writer.send(word)
        assert [victim.ask("read", timeout=ENOUGH) for _ in range(4)] == ["first", "second", "third", "fourth"]


def test_nobody_speaks_in_the_name_of_another_reader(group: rack.Group) -> None:
    """A writer that believed it would send more than its reader takes, and be put out for that."""
    reader = group.fork(spewing.echo, "p")
    reader.ask("seat", timeout=ENOUGH)
    writer = group.fork(spewing.write_numbers, "p", 300)
    forger = group.fork(spewing.grant, writer.pid)
    assert forger.wait(ENOUGH).ok
    assert [reader.ask("read", timeout=ENOUGH)[0] for _ in range(300)] == list(range(300))
    writer.tell("enough")
    assert writer.wait(ENOUGH).ok


def test_nobody_answers_for_another(group: rack.Group) -> None:
    def hold_an_answer_back() -> None:
        asked = rack.receive(None)
        rack.receive(None)
        asked.reply("the answer")

    holder = group.fork(hold_an_answer_back)
    answers = [holder.submit("question")]
    forger = group.fork(spewing.answer, group.getpid())
    assert group.receive(ENOUGH).value == "answered"
    assert forger.wait(ENOUGH).ok
    holder.tell("now")
    assert answers[0].result(ENOUGH) == "the answer"
