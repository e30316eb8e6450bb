"""The backend of a group: its setting `files`, or its own directory."""

from __future__ import annotations

import fcntl
import os
import shutil
from typing import Any

from rackactor.errors import InvalidCall
from rackactor.launch import directories
from rackactor_runtime.services.files.local import LocalStore
from rackactor_runtime.services.files.store import Store


class OwnStore(LocalStore):
    """A directory that belongs to the group, and is removed with it.

    Args:
        directory: the group's.
        name: which of its trees: the group's files, or the group's own data.
    """

    def __init__(self, directory: str, name: str = "root") -> None:
        self._own = directories.make_files_dir(directory)
        # Held as long as this process lives, so that nobody takes the directory for one of a dead group.
        self._hold = os.open(self._own, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._hold, fcntl.LOCK_SH)
        root = os.path.join(self._own, name)
        os.makedirs(root, mode=0o700, exist_ok=True)
        super().__init__(root)

    def close(self) -> None:
        """Remove it, with all that the group has there; the supervisor does so too, but may be dead."""
        shutil.rmtree(self._own, ignore_errors=True)


def open_backend(directory: str, setting: Any) -> Store:
    """Return the backend of a group.

    Args:
        directory: the group's.
        setting: None, an fsspec URL, or a map of a `url` and fsspec's options for it.

    Raises:
        InvalidCall: the backend cannot be used.
    """
    if setting is None:
        return OwnStore(directory)
    url, options = split(setting)
    place = local_place(url) if not options else None
    if place is not None:
        try:
            os.makedirs(place, exist_ok=True)
        except OSError as error:
            raise InvalidCall(f"the setting 'files': no directory {place!r} can be made: {error.strerror}") from error
        if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
            raise InvalidCall(f"the setting 'files': {place!r} cannot be read and written")
        return LocalStore(place)
    from rackactor_runtime.services.files.remote import open_remote

    return open_remote(url, options)


def split(setting: Any) -> tuple[str, dict[str, Any]]:
    """Return the URL and the options of the setting `files`."""
    if isinstance(setting, str):
        return setting, {}
    options = dict(setting)
    return options.pop("url"), options


def local_place(url: str) -> str | None:
    """Return the directory of a URL, if it is one on this host.

    Raises:
        InvalidCall: it is not absolute.
    """
    for prefix in ("file://", "local://"):
        if url.startswith(prefix):
            url = url.removeprefix(prefix)
            break
    else:
        if "://" in url or "::" in url:
            return None
    if not os.path.isabs(url):
        raise InvalidCall(
            f"the setting 'files': {url!r} is not an absolute path; the group's programs agree on no other"
        )
    return os.path.normpath(url)
