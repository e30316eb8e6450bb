"""The group's directory, in which others find the group, and which may be removed while the group runs.

systemd-logind removes a user's runtime directory with the user's last session, and a detached group outlives that.
Everything that is open goes on working. Everything that is found by name (the socket, the card, links to files and
memory) is made again, in the present directory of this user's groups.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rackactor.launch import directories, last_words
from rackactor.system import procfs

#: Seconds between checks.
LOOK = 1.0


class Home:
    """See the module.

    Args:
        directory: the group's, as it was made.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        #: The group's card; empty until the group can be reached.
        self.card: dict[str, Any] = {}
        self._files = ""
        self._next_look = 0.0

    def open(self, card: dict[str, Any]) -> None:
        """Write the group's card."""
        directories.write_card(self.directory, card)
        self.card = card

    def is_lost(self, now: float) -> bool:
        """Tell whether the directory is gone; checks only once in a while."""
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
        """Make the directory again, in the present directory of groups.

        Args:
            memory: where the shared memory is; "": there is none yet.

        Raises:
            OSError, StartError: it cannot be made now.
        """
        directory = directories.base() / self.directory.name
        directories.move_in(directory, self._files, memory)
        if last_words.is_log(2):
            link_log(directory)
        self.directory = directory


def link_log(directory: Path) -> None:
    """Link this process's log into a directory, under its usual name."""
    path = directory / "supervisor.log"
    path.unlink(missing_ok=True)
    path.symlink_to(f"/proc/{procfs.number(os.getpid())}/fd/2")
