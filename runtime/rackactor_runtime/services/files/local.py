"""Files in a directory of this host.

A file that is being written has no name (O_TMPFILE), so the kernel removes it with its last descriptor, however this
process ends. Once it is complete it gets a hidden name, and is renamed into place. An exclusive file gets its own name
at once, since `link` refuses an existing name where `rename` replaces it.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from typing import Any

from rackactor.ipc.files.paths import HIDDEN
from rackactor.ipc.service import Data

_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})
_COPY = 64 << 20


class LocalReading:
    """An open file."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self.size = size

    def read(self, start: int, size: int) -> Data:
        """Return some of it."""
        data = os.pread(self._descriptor, size, start)
        while len(data) < size and (more := os.pread(self._descriptor, size - len(data), start + len(data))):
            data += more
        return data

    def fileno(self) -> int | None:
        """Return its descriptor."""
        return self._descriptor

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


class LocalWriting:
    """A file without a name, which will be put into place."""

    def __init__(self, place: str, what: str) -> None:
        self._place = place
        self._what = what
        self._directory = os.path.dirname(place)
        self.start = 0
        if what == "a":
            try:
                self.start = os.stat(place).st_size
            except FileNotFoundError:
                pass
        self._descriptor, self._hidden = _open_nameless(self._directory)

    def write(self, at: int, data: memoryview) -> None:
        """Write some of it."""
        at -= self.start
        while data:
            written = os.pwrite(self._descriptor, data, at)
            at, data = at + written, data[written:]

    def truncate(self, size: int) -> None:
        """Truncate it."""
        os.ftruncate(self._descriptor, max(0, size - self.start))

    def fileno(self) -> int | None:
        """Return its descriptor; in a file for appending, the added data begins there at 0."""
        return self._descriptor

    def commit(self) -> None:
        """Make it appear."""
        try:
            if self._what == "a":
                self._put_behind()
            if self._what != "x":
                _take_mode(self._descriptor, self._place)
            self._name_it()
        finally:
            self.discard()

    def discard(self) -> None:
        """Discard it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        if self._hidden:
            _unlink(self._hidden)
            self._hidden = ""

    def _put_behind(self) -> None:
        """Append it to the present contents; other processes may append at the same time without a loss."""
        try:
            source = os.open(self._place, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        added, hidden = self._descriptor, self._hidden
        try:
            self._descriptor, self._hidden = _open_nameless(self._directory)
            copy(source, self._descriptor)
            copy(added, self._descriptor)
        finally:
            os.close(source)
            if self._descriptor != added:
                os.close(added)
            if hidden and hidden != self._hidden:
                _unlink(hidden)

    def _name_it(self) -> None:
        if self._what == "x":
            if self._hidden:
                os.link(self._hidden, self._place)
            else:
                _link(self._descriptor, self._place)
            return
        if not self._hidden:
            hidden = _hidden_name(self._directory)
            _link(self._descriptor, hidden)
            self._hidden = hidden
        os.rename(self._hidden, self._place)
        self._hidden = ""


class LocalStore:
    """A directory as a backend.

    Args:
        root: the directory, which exists.
    """

    def __init__(self, root: str) -> None:
        self._root = os.path.realpath(root)

    def place(self, path: str) -> str:
        """Return the local path of a path."""
        return self._root + path if path != "/" else self._root

    def info(self, path: str) -> dict[str, Any]:
        """Return what is known of it; links are followed."""
        return _describe(path, os.stat(self.place(path)))

    def ls(self, path: str) -> list[dict[str, Any]]:
        """List a directory."""
        found = []
        prefix = path.rstrip("/") + "/"
        with os.scandir(self.place(path)) as entries:
            for entry in entries:
                if entry.name.startswith(HIDDEN):
                    continue
                try:
                    found.append(_describe(prefix + entry.name, entry.stat()))
                except FileNotFoundError:
                    if entry.is_symlink():  # a dangling link is still an entry
                        found.append(_describe(prefix + entry.name, entry.stat(follow_symlinks=False)))
        return sorted(found, key=_name_of)

    def mkdir(self, path: str) -> None:
        """Make a directory."""
        os.mkdir(self.place(path))

    def makedirs(self, path: str) -> None:
        """Make directories."""
        os.makedirs(self.place(path), exist_ok=True)

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        os.rmdir(self.place(path))

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        os.unlink(self.place(path))

    def rm_tree(self, path: str) -> None:
        """Remove a directory with all that is in it."""
        place = self.place(path)
        if path != "/":
            shutil.rmtree(place)
            return
        for entry in os.scandir(place):  # the root itself stays
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)

    def mv(self, source: str, target: str) -> None:
        """Rename a file or a directory."""
        try:
            os.rename(self.place(source), self.place(target))
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.move(self.place(source), self.place(target))

    def cp_file(self, source: str, target: str) -> None:
        """Copy a file; the copy appears when it is complete."""
        reading = self.read(source)
        try:
            writing = LocalWriting(self.place(target), "w")
            try:
                descriptor = writing.fileno()
                assert descriptor is not None
                copy(reading.fileno(), descriptor)
                writing.commit()
            finally:
                writing.discard()
        finally:
            reading.close()

    def utime(self, path: str) -> None:
        """Set its time to now."""
        os.utime(self.place(path))

    def read(self, path: str) -> LocalReading:
        """Open a file."""
        # Do not wait for the other end of a FIFO in the directory.
        descriptor = os.open(self.place(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode):
            return LocalReading(descriptor, found.st_size)
        os.close(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        raise OSError(errno.EINVAL, "not a regular file")

    def write(self, path: str, what: str) -> LocalWriting:
        """Begin to write a file."""
        place = self.place(path)
        if os.path.isdir(place):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if what == "x" and os.path.lexists(place):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        if what != "x" and os.path.exists(place) and not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))  # rename would not check this
        return LocalWriting(os.path.realpath(place) if os.path.islink(place) and what != "x" else place, what)

    def close(self) -> None:
        """Leave the directory as it is: its owner removes it."""


def copy(source: int | None, target: int) -> None:
    """Append one file to another, in the kernel where possible."""
    assert source is not None
    at, end = 0, os.lseek(target, 0, os.SEEK_END)
    while True:
        try:
            done = os.copy_file_range(source, target, _COPY, at, end)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
                raise
            data = os.pread(source, 1 << 20, at)
            done = os.pwrite(target, data, end) if data else 0
        if not done:
            return
        at, end = at + done, end + done


def _open_nameless(directory: str) -> tuple[int, str]:
    """Return a descriptor of a new file, and its hidden name if it needs one."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666), ""
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
    hidden = _hidden_name(directory)
    return os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666), hidden


def _hidden_name(directory: str) -> str:
    return os.path.join(directory, HIDDEN + secrets.token_hex(8))


def _link(descriptor: int, place: str) -> None:
    # With a directory descriptor (which an absolute path does not need) Python follows the link in /proc, as it must.
    directory = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        os.link(f"/proc/self/fd/{descriptor}", place, src_dir_fd=directory, follow_symlinks=True)
    finally:
        os.close(directory)


def _take_mode(descriptor: int, place: str) -> None:
    """Copy the permissions of the file that will be replaced."""
    try:
        os.fchmod(descriptor, stat.S_IMODE(os.stat(place).st_mode))
    except OSError:
        pass  # there is no such file


def _unlink(place: str) -> None:
    try:
        os.unlink(place)
    except FileNotFoundError:
        pass


def _describe(path: str, found: os.stat_result) -> dict[str, Any]:
    kind = "directory" if stat.S_ISDIR(found.st_mode) else "file" if stat.S_ISREG(found.st_mode) else "other"
    return {
        "name": path,
        "size": 0 if kind == "directory" else found.st_size,
        "type": kind,
        "mtime": found.st_mtime,
        "created": found.st_ctime,
        "mode": found.st_mode,
        "ino": found.st_ino,
        "nlink": found.st_nlink,
    }


def _name_of(info: dict[str, Any]) -> str:
    return str(info["name"])
