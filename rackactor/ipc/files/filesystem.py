"""The files of a group as an fsspec file system: `rack.fs`, and `rack://` for libraries that use fsspec."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import fsspec
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.spec import AbstractFileSystem
from fsspec.utils import isfilelike, stringify_path

from rackactor import current
from rackactor.ipc.files.client import Files
from rackactor.ipc.files.opening import Packer, open_binary, wrap
from rackactor.ipc.files.paths import PROTOCOL, normalize, parent, parse_mode

#: Files up to this size are sent in one request or one answer, bytes.
SMALL = 1 << 20
_BLOCK = 4 << 20


class RackFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """The files of the group that this program is in.

    A file system object belongs to no group by itself, so it can be sent to other processes; `Group.fs` belongs to its
    group. Nothing is cached: listings are always current.

    Args:
        auto_mkdir: True: opening a file for writing makes missing directories, as on object stores (the default, so
            that a program runs on each backend). False: a missing directory is a FileNotFoundError.
    """

    protocol = PROTOCOL
    root_marker = "/"
    cachable = False

    def __init__(self, auto_mkdir: bool = True, **options: Any) -> None:
        super().__init__(**{**options, "use_listings_cache": False})
        self.auto_mkdir = auto_mkdir
        self._bound: Files | None = None

    @classmethod
    def of(cls, files: Files) -> RackFileSystem:
        """Return the file system of this group, whichever group the program is in."""
        made = cls()
        made._bound = files
        return made

    @property
    def _files(self) -> Files:
        return current.current().files if self._bound is None else self._bound

    @property
    def fsid(self) -> str:
        """The group that these files belong to."""
        return f"{PROTOCOL}:{self._files.service.kernel.gid}"

    @property
    def _fs_token(self) -> str:
        token: str = fsspec.utils.tokenize(type(self), self.fsid, self.auto_mkdir)
        return token

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        return normalize(stringify_path(path))

    @classmethod
    def _parent(cls, path: Any) -> str:
        return parent(cls._strip_protocol(path))

    def _change(self, op: str, path: Any, data: Any = b"", **fields: Any) -> None:
        self._files.change(op, path, data, parents=self.auto_mkdir, **fields)

    # -- looking -------------------------------------------------------------------------------------------

    def info(self, path: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the properties of a file or directory: name, size, type, mtime, created, ..."""
        found: dict[str, Any] = self._files.look("info", path)[0]["info"]
        return found

    def ls(self, path: Any, detail: bool = True, **kwargs: Any) -> list[Any]:
        """List a directory; a file's list is the file itself."""
        infos = self._files.look("ls", path)[0]["infos"]
        return infos if detail else [info["name"] for info in infos]

    def exists(self, path: Any, **kwargs: Any) -> bool:
        """Tell whether a file or directory of that name exists."""
        return self._type(path) is not None

    def isdir(self, path: Any) -> bool:
        """Tell whether it is a directory."""
        return self._type(path) == "directory"

    def isfile(self, path: Any) -> bool:
        """Tell whether it is a file."""
        return self._type(path) == "file"

    def _type(self, path: Any) -> str | None:
        try:
            return str(self.info(path)["type"])
        except (FileNotFoundError, NotADirectoryError):
            return None

    def created(self, path: Any) -> datetime | None:
        """Return when it was made, if its backend knows."""
        return _time(self.info(path)["created"])

    def modified(self, path: Any) -> datetime | None:
        """Return when it was last written, if its backend knows."""
        return _time(self.info(path)["mtime"])

    # -- names ---------------------------------------------------------------------------------------------

    def mkdir(self, path: Any, create_parents: bool = True, **kwargs: Any) -> None:
        """Make a directory.

        Raises:
            FileExistsError: the name exists.
            FileNotFoundError: its parent is missing, and is not to be made.
        """
        self._files.change("mkdir", path, parents=create_parents)

    def makedirs(self, path: Any, exist_ok: bool = False) -> None:
        """Make a directory and its parents."""
        self._files.change("makedirs", path, exist_ok=exist_ok)

    def rmdir(self, path: Any) -> None:
        """Remove an empty directory."""
        self._files.change("rmdir", path)

    def rm_file(self, path: Any) -> None:
        """Remove a file."""
        self._files.change("rm", path)

    _rm = rm_file

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Remove files; with `recursive` also directories with their contents."""
        if maxdepth is not None:
            super().rm(path, recursive=recursive, maxdepth=maxdepth)
            return
        for each in path if isinstance(path, list) else [path]:
            stripped = self._strip_protocol(each)
            matches = [stripped]
            if fsspec.core.has_magic(stripped):
                matches = self.expand_path(stripped, recursive=False)
            for match in matches:
                self._files.change("rm", match, recursive=recursive)

    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any) -> None:
        """Rename a file or a directory, as `mv` does: into `path2`, if that is a directory."""
        if isinstance(path1, list) or fsspec.core.has_magic(str(stringify_path(path1))) or maxdepth is not None:
            super().mv(path1, path2, recursive=recursive, maxdepth=maxdepth, **kwargs)
            return
        source, target = self._strip_protocol(path1), self._strip_protocol(path2)
        if target != source and (str(stringify_path(path2)).endswith("/") or self.isdir(target)):
            target = f"{target.rstrip('/')}/{source.rpartition('/')[2]}"
        self._change("mv", source, target=target)

    def cp_file(self, path1: Any, path2: Any, **kwargs: Any) -> None:
        """Copy a file; for a directory, make one."""
        self._change("cp", path1, target=self._strip_protocol(path2))

    def touch(self, path: Any, truncate: bool = True, **kwargs: Any) -> None:
        """Make an empty file; an existing one is emptied (`truncate`), or gets the present time."""
        self._change("touch", path, truncate=truncate)

    # -- contents ------------------------------------------------------------------------------------------

    def _open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: Any = None,
        **kwargs: Any,
    ) -> Any:
        what = parse_mode(mode).what
        return open_binary(self._files, path, what, parents=self.auto_mkdir, autocommit=autocommit)

    def open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: Any = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Open a file; see `rack.open` for the meaning of its modes."""
        if "b" in mode:
            if compression is None or not parse_mode(mode).writes:
                return super().open(path, mode, block_size, cache_options, compression, **kwargs)
            file = super().open(path, mode, block_size, cache_options, **kwargs)
            name = fsspec.core.get_compression(self._strip_protocol(path), compression)
            return file if name is None else Packer(fsspec.compression.compr[name](file, mode="w"), file)
        words = {key: kwargs.pop(key) for key in ("encoding", "errors", "newline") if key in kwargs}
        parse_mode(mode)
        binary = self.open(path, mode.replace("t", "") + "b", block_size, cache_options, compression, **kwargs)
        return wrap(binary, mode, **words)

    def cat_file(self, path: Any, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """Return a file's bytes, or a range of them; negative numbers count from the end."""
        fields, data = self._files.look("cat", path, start=start, end=end)
        if not fields.get("more"):
            return bytes(data)
        with self.open(path, "rb") as file:
            first, last, _ = slice(start, end).indices(file.size)
            file.seek(first)
            whole: bytes = file.read(max(0, last - first))
            return whole

    def pipe_file(self, path: Any, value: Any, mode: str = "overwrite", **kwargs: Any) -> None:
        """Write a file; with `mode="create"` the file must not exist yet."""
        what = "x" if mode == "create" else "w"
        if memoryview(value).nbytes <= SMALL and not self._intrans:
            self._change("pipe", path, value, what=what)
            return
        with self.open(path, what + "b") as file:
            file.write(value)

    def get_file(
        self, rpath: Any, lpath: Any, callback: Any = DEFAULT_CALLBACK, outfile: Any = None, **kwargs: Any
    ) -> None:
        """Copy a file of the group to the local disk, or into an open file."""
        if not isfilelike(lpath) and outfile is None and self.isdir(rpath):
            fsspec.implementations.local.LocalFileSystem().makedirs(lpath, exist_ok=True)
            return
        with self.open(rpath, "rb") as source:
            callback.set_size(source.size)
            if outfile is not None or isfilelike(lpath):
                _copy(source, lpath if outfile is None else outfile, callback)
                return
            fsspec.implementations.local.LocalFileSystem(auto_mkdir=True).makedirs(
                fsspec.implementations.local.LocalFileSystem._parent(lpath), exist_ok=True
            )
            with open(lpath, "wb") as target:
                _copy(source, target, callback)

    def put_file(
        self, lpath: Any, rpath: Any, callback: Any = DEFAULT_CALLBACK, mode: str = "overwrite", **kwargs: Any
    ) -> None:
        """Copy a file of the local disk to the group."""
        local = fsspec.implementations.local.LocalFileSystem()
        if local.isdir(lpath):
            self.makedirs(rpath, exist_ok=True)
            return
        with open(lpath, "rb") as source, self.open(rpath, "xb" if mode == "create" else "wb") as target:
            callback.set_size(local.size(lpath))
            _copy(source, target, callback)

    def __reduce__(self) -> Any:
        return _remake, (type(self), self.storage_args, self.storage_options)


def _copy(source: Any, target: Any, callback: Any) -> None:
    for block in _blocks(source):
        target.write(block)
        callback.relative_update(len(block))


def _blocks(source: Any) -> Iterator[bytes]:
    while block := source.read(_BLOCK):
        yield block


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _remake(cls: type[RackFileSystem], args: Any, options: Any) -> RackFileSystem:
    return cls(*args, **options)


fsspec.register_implementation(PROTOCOL, RackFileSystem, clobber=True)
