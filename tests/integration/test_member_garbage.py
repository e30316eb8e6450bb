"""What a member sends costs at most that member its membership: nobody else's, never the supervisor."""

from __future__ import annotations

import pytest
import spewing

import rackactor as rack

ENOUGH = 30.0


@pytest.mark.timeout(150)
@pytest.mark.parametrize("layer", ["entries", "packets", "supervisor", "direct", "calls"])
def test_nobody_but_the_sender_suffers(group: rack.Group, layer: str) -> None:
    victim = group.fork(spewing.echo, "p")
    bystander = group.fork(spewing.echo, "q")
    seat = victim.ask("seat", timeout=ENOUGH)
    for seed in (1, 2):
        sender = group.fork(spewing.spew, layer, seed, victim.pid, seat, name="sender")
        status = sender.wait(ENOUGH)
        if layer != "calls":
            assert status.cause is rack.Cause.EXPELLED, status
            assert "ProtocolError" in str(sender.info()["status"]), sender.info()
        for other in (victim, bystander):
            assert other.ask(("still", "there"), timeout=ENOUGH) == ("still", "there")
        with group.pipe("p", "w") as writer:
            writer.send("word")
        group.shm["k"] = seed
        assert group.shm["k"] == seed
        assert group.fork(abs, -3).result(ENOUGH) == 3
