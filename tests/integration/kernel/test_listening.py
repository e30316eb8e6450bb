"""Where a process listens for direct connections: what that keeps open is known, and no more than that."""

from __future__ import annotations

from support import eventually, listening, open_files

import rackactor as rack

MANY = 1000


def _talk(pid: int) -> None:
    for number in range(MANY):
        rack.process(pid).tell(number)
    rack.receive(60)


def test_a_process_that_is_told_much_listens_until_its_group_ends(group: rack.Group) -> None:
    before = len(open_files())
    talker = group.fork(_talk, group.getpid())
    assert [group.receive(60).value for _ in range(MANY)] == [*range(MANY)]
    assert eventually(listening, 30.0)
    talker.tell("enough")
    assert talker.wait(60).ok
    assert eventually(lambda: len(open_files()) <= before + listening(), 30.0)
    assert len(open_files()) == before + listening()
