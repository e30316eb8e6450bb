"""Whether this process is in its group, for whoever calls or waits."""

from __future__ import annotations

from collections.abc import Callable

from rackactor.errors import GroupEnded
from rackactor.kernel.event_loop import EventLoop
from rackactor.system import fork_generation

#: Why there is no group any more for a process that has closed its membership.
LEFT = "this process has left the group"


class Membership:
    """See the module.

    Attributes:
        left: this process has closed its membership.
    """

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._leader = loop.leader
        self._generation = fork_generation.generation
        self.left = False

    @property
    def inherited(self) -> bool:
        """Tell whether this is a child made by os.fork, which has no membership of its own."""
        return fork_generation.generation != self._generation

    @property
    def closed(self) -> bool:
        """Tell whether the membership can be used no more (left, or in a child made by os.fork)."""
        return self.left or fork_generation.generation != self._generation  # a call less: each read of a key asks this

    def check(self) -> None:
        """Raise if this process is in its group no more.

        Raises:
            GroupEnded: it has left, the group has ended, or this is a child made by os.fork.
        """
        if fork_generation.generation != self._generation:
            raise GroupEnded("a child made by os.fork is no process of the group: use rack.fork")
        ended = self._loop.ended
        if ended or self.left:
            raise GroupEnded(ended or LEFT)

    def wait(self, done: Callable[[], object], timeout: float | None) -> bool:
        """Wait until `done()`, doing I/O meanwhile; returns whether it is done.

        Raises:
            GroupEnded: the group has ended first.
        """
        loop = self._loop
        if self._leader.wait(lambda: done() or loop.ended, timeout):
            if loop.ended and not done():  # if it has not, another thread was quicker to take what was awaited
                raise GroupEnded(loop.ended)
            return True
        return False
