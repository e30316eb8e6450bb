"""Joining the group that a program was started in: the program is a command of it, or a process of it started it.

Such a program finds RACK_GID and RACK_PID in its environment. At its first call it joins that group, by the group's
card or by the agent of its process, as the command line does, and with the same rights. It never gets a group of its
own silently: what it shared there, nobody would see.
"""

from __future__ import annotations

import atexit
import os
from typing import Any

from rackactor import current
from rackactor.errors import InvalidCall, NoGroup, RackError
from rackactor.launch import agent_socket, directories
from rackactor.signals import parse_signal
from rackactor.syscalls.group import Group, attach_as

#: Environment variables that name the group, and the process.
GROUP, PROCESS = current.GROUP, "RACK_PID"


class Inside(Group):
    """The membership of a program that runs inside a process.

    It has its own mailbox and its own children; its pid is that of the process.
    """

    _place = 0

    def getpid(self) -> int:
        """Return the pid of the process that this program runs in."""
        return self._place

    def signal(self, sig: int | str, handler: Any) -> Any:
        """Set the handler of a POSIX signal, or of the end of a child of this program.

        Raises:
            InvalidCall: a free string, which a program of the operating system cannot receive.
        """
        if isinstance(parse_signal(sig), str):
            raise InvalidCall(f"{sig!r} is no POSIX signal, and a program that a process has started gets no others")
        return super().signal(sig, handler)

    def finish(self) -> None:
        """Run the exit hooks, and leave. Do nothing in a child by os.fork, which is not the member."""
        if not self.kernel.inherited:
            self.run_exit_hooks()
            self.leave()


def join() -> Inside:
    """Join the group that RACK_GID names, and make it the current one.

    Raises:
        NoGroup: it cannot be reached from here; the error names RACK_GID.
    """
    with current.entering():
        session = current.find()
        if isinstance(session, Inside):
            return session  # another thread was faster
        gid = os.environ[GROUP]
        try:
            place = int(os.environ.get(PROCESS, ""))
            joined = attach_as(Inside, _card(gid))
        except (RackError, OSError, ValueError) as error:
            raise NoGroup(
                f"this program was started in the group that RACK_GID names ({gid}), and cannot join it: {error}."
                " Unset RACK_GID if it is to have a group of its own"
            ) from error
        joined._place = place
        current.enter(joined)
        atexit.register(joined.finish)
        return joined


def _card(gid: str) -> dict[str, Any]:
    if (card := agent_socket.card(None)) is not None:
        return card
    found = next((card for card in directories.cards() if card["gid"] == gid), None)
    if found is None:
        looked = " and ".join(map(str, directories.bases())) or "the usual directories"
        raise NoGroup(f"no group of that gid lives in {looked} (XDG_RUNTIME_DIR and TMPDIR say where groups are)")
    return found
