"""The group's directory, which somebody may remove while the group runs, and where everybody else finds it.

systemd-logind removes the runtime directory of a user with his last session, and a detached group is there to outlive
that. What is open already serves on. What is found by a name (the socket, the card, links to files and memory) is made
again, where groups of this user are at that moment.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rackactor.launch import directories, last_words
from rackactor.system import procfs

#: Seconds between looks.
LOOK = 1.0


class Home:
    """See the module.

    Args:
        directory: the group's, as it was made.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        #: How to reach the group; empty before that is told to anybody.
        self.card: dict[str, Any] = {}
        self._files = ""
        self._next_look = 0.0

    def open(self, card: dict[str, Any]) -> None:
        """Write down how to reach the group."""
        directories.write_card(self.directory, card)
        self.card = card

    def is_lost(self, now: float) -> bool:
        """Tell whether the directory is gone; looks once in a while only."""
        if not self.card or now < self._next_look:
            return False
        self._next_look = now + LOOK
        self._files = directories.files_dir(self.directory) or self._files
        try:
            os.stat(self.directory / directories.CARD)
        except (FileNotFoundError, NotADirectoryError):
            return True
        return False

    def make_again(self, memory: str) -> None:
        """Make the directory anew, where groups are now.

        Args:
            memory: where the shared memory is; "": nowhere yet.

        Raises:
            OSError, StartError: it cannot be made at this moment.
        """
        directory = directories.base() / self.directory.name
        directories.move_in(directory, self._files, memory)
        if last_words.is_log(2):
            link_log(directory)
        self.directory = directory


def link_log(directory: Path) -> None:
    """Have this process's log found in a directory, by the name that it has always had."""
    path = directory / "supervisor.log"
    path.unlink(missing_ok=True)
    path.symlink_to(f"/proc/{procfs.number(os.getpid())}/fd/2")
