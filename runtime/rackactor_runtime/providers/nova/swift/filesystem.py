"""OpenStack Swift as an fsspec file system: `swift://container/path`.

(The existing implementation for fsspec takes one token, and never another.) A file appears when it is complete: an
object at the end of its upload, one of many segments with its manifest.

Directories are what objects' names say, and empty objects whose names end with a slash, as Swift's own tools make them.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO
from urllib.parse import quote

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from rackactor_runtime.providers.nova.swift.client import CHUNK, Wire, connect

#: Larger files are uploaded in segments of this many bytes; Swift takes no object of more than 5 GB.
SEGMENT = 1 << 30


class SwiftFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Files in Swift.

    Args:
        cloud: an entry of `clouds.yaml`; None: what the variables `OS_*` say.
        auth: instead of a cloud, how to sign in: `auth_url` and what goes with `auth_type`.
        auth_type: keystoneauth's name of the way to sign in ("v3applicationcredential", "password", ...).
        region: of the catalogue; None: the cloud's own.
        interface: "public", "internal" or "admin".
        segment: bytes above which a file is uploaded in several parts, and the size of each.
    """

    protocol = "swift"
    root_marker = ""
    cachable = False

    def __init__(
        self,
        cloud: str | None = None,
        auth: dict[str, Any] | None = None,
        auth_type: str | None = None,
        region: str | None = None,
        interface: str | None = None,
        segment: int = SEGMENT,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._wire = Wire(connect(cloud, auth, auth_type, region, interface))
        self._segment = segment

    # -- looking -----------------------------------------------------------------------------------------

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """List a directory, or a file by itself."""
        path = self._strip_protocol(path)
        container, key = _split(path)
        if not container:
            found = [_directory(each["name"]) for each in self._wire.listing("", {})]
        else:
            found = list(self._entries(container, key.rstrip("/")))
            if not found:
                found = self._lonely(path)
        return found if detail else [each["name"] for each in found]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Look at a file or a directory."""
        path = self._strip_protocol(path)
        container, key = _split(path)
        if not container:
            return _directory("")
        answer = self._wire.ask("HEAD", path, accept=(404,))
        if answer.status_code != 404:
            return _file(path, answer.headers) if key else _directory(container)
        if key and self._inside(container, key + "/"):
            return _directory(path)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def created(self, path: str) -> datetime:
        """Return when it was put there: objects are never changed."""
        return self.modified(path)

    def modified(self, path: str) -> datetime:
        """Return when it was put there."""
        when = self.info(path).get("mtime")
        if when is None:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return datetime.fromtimestamp(when, UTC)

    def _entries(self, container: str, key: str) -> Iterator[dict[str, Any]]:
        prefix = key + "/" if key else ""
        for each in self._wire.listing(container, {"prefix": prefix, "delimiter": "/"}):
            name = each["subdir"] if "subdir" in each else each["name"]
            if name == prefix:
                continue  # the mark of the directory itself
            if "subdir" in each:
                yield _directory(f"{container}/{name.rstrip('/')}")
            else:
                yield _listed(f"{container}/{name}", each)

    def _lonely(self, path: str) -> list[dict[str, Any]]:
        """Return what `ls` says of a path that nothing lies in."""
        found = self.info(path)
        return [found] if found["type"] == "file" else []

    def _inside(self, container: str, prefix: str) -> bool:
        return bool(self._wire.page(container, {"prefix": prefix, "limit": 1}))

    # -- reading -----------------------------------------------------------------------------------------

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Return the bytes of a file, or some of them."""
        path = self._strip_protocol(path)
        headers = {}
        if start is not None or end is not None:
            first, last = _range(start, end, lambda: int(self.info(path)["size"]))
            if first >= last:
                return b""
            headers["Range"] = f"bytes={first}-{last - 1}"
        answer = self._wire.ask("GET", path, headers=headers, accept=(404, 416))
        if answer.status_code == 416:
            return b""
        if answer.status_code == 404:
            self.info(path)  # a directory is no missing file
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        data: bytes = answer.content
        return data

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> SwiftFile:
        if mode == "xb" and self.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        return SwiftFile(
            self, path, mode, block_size or "default", autocommit=autocommit, cache_options=cache_options, **options
        )

    # -- writing -----------------------------------------------------------------------------------------

    def put_file(self, lpath: str, rpath: str, callback: Any = None, mode: str = "overwrite", **_: Any) -> None:
        """Upload a file of this host."""
        if os.path.isdir(lpath):
            self.makedirs(rpath, exist_ok=True)
            return
        with open(lpath, "rb") as file:
            self.upload(self._strip_protocol(rpath), file)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Write a file."""
        with tempfile.SpooledTemporaryFile(SEGMENT) as file:
            file.write(value)
            self.upload(self._strip_protocol(path), file, new=mode == "create")

    def upload(self, path: str, file: Any, *, new: bool = False) -> None:
        """Put a file, from its beginning, into its place; what was there is there until then.

        Raises:
            FileExistsError: it is to be a new one, and is not.
            FileNotFoundError: there is no such container.
            OSError: Swift does not take it.
        """
        size = file.seek(0, os.SEEK_END)
        old = self._segments(path)
        condition = {"If-None-Match": "*"} if new else {}
        if size > self._segment:
            self._put_segments(path, file, size, condition)
        else:
            self._wire.put(path, file, 0, size, condition)
        self._remove(old)

    def _put_segments(self, path: str, file: BinaryIO, size: int, condition: dict[str, str]) -> None:
        container, key = _split(path)
        store = f"{container}_segments"
        self._wire.ask("PUT", store)
        name = f"{store}/{key}/{secrets.token_hex(8)}"
        manifest: list[dict[str, Any]] = []
        try:
            for number, start in enumerate(range(0, size, self._segment)):
                count = min(self._segment, size - start)
                place = f"{name}/{number:08}"
                etag = self._wire.put(place, file, start, count, {})
                manifest.append({"path": f"/{place}", "etag": etag, "size_bytes": count})
            query = {"multipart-manifest": "put"}
            self._wire.ask("PUT", path, params=query, headers=condition, data=json.dumps(manifest))
        except BaseException:
            self._remove([each["path"][1:] for each in manifest])
            raise

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Copy a file within Swift."""
        path1, path2 = self._strip_protocol(path1), self._strip_protocol(path2)
        if self.info(path1)["type"] == "directory":
            self.makedirs(path2, exist_ok=True)
            return
        old = self._segments(path2)
        if self._segments(path1):  # a copy of its manifest would share its segments, and lose them with it
            with tempfile.TemporaryFile() as whole:
                with self.open(path1, "rb") as source:
                    while part := source.read(CHUNK):
                        whole.write(part)
                self.upload(path2, whole)
            return
        self._wire.ask("PUT", path2, headers={"X-Copy-From": quote(f"/{path1}"), "Content-Length": "0"})
        self._remove(old)

    def mv(self, path1: str, path2: str, recursive: bool = False, **options: Any) -> None:
        """Move, by a copy: Swift has no other way."""
        if self._strip_protocol(path1) == self._strip_protocol(path2):
            return
        self.copy(path1, path2, recursive=recursive, **options)
        self.rm(path1, recursive=recursive)

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        self._delete(self._strip_protocol(path))

    def _delete(self, path: str) -> None:
        """Remove an object, whose name may end with a slash."""
        query = {"multipart-manifest": "delete"} if self._segments(path) else {}
        if self._wire.ask("DELETE", path, params=query, accept=(404,)).status_code == 404:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    _rm = rm_file

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Remove files; with `recursive` all that is in a directory, too."""
        for each in [path] if isinstance(path, str) else path:
            each = self._strip_protocol(each)
            if self.info(each)["type"] == "file":
                self.rm_file(each)
            elif not recursive:
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), each)
            else:
                self._rm_tree(each)

    def _rm_tree(self, path: str) -> None:
        container, key = _split(path)
        for each in list(self._wire.listing(container, {"prefix": key and key + "/"})):
            try:
                self._delete(f"{container}/{each['name']}")
            except FileNotFoundError:
                pass  # somebody else removes the same
        if not key:
            self._wire.ask("DELETE", container, accept=(404,))

    # -- directories -------------------------------------------------------------------------------------

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Make a container, or the mark of a directory."""
        path = self._strip_protocol(path)
        container, key = _split(path)
        if not key:
            self._wire.ask("PUT", container)
            return
        if self.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        headers = {"Content-Length": "0", "Content-Type": "application/directory"}
        self._wire.ask("PUT", path + "/", headers=headers)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a directory; those above it need no making."""
        try:
            self.mkdir(path)
        except FileExistsError:
            if not exist_ok or not self.isdir(path):
                raise

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        path = self._strip_protocol(path)
        container, key = _split(path)
        if self.ls(path, detail=False):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        self._wire.ask("DELETE", f"{path}/" if key else container, accept=(404,))

    # -- the wire ----------------------------------------------------------------------------------------

    def _segments(self, path: str) -> list[str]:
        """Return the segments of a file that is there, or nothing."""
        answer = self._wire.ask("HEAD", path, accept=(404,))
        if answer.status_code == 404 or "X-Static-Large-Object" not in answer.headers:
            return []
        listed = self._wire.ask("GET", path, params={"multipart-manifest": "get"}).json()
        return [each["name"].lstrip("/") for each in listed]

    def _remove(self, paths: list[str]) -> None:
        for path in paths:
            self._wire.ask("DELETE", path, accept=(404,))


class SwiftFile(AbstractBufferedFile):  # type: ignore[misc]
    """A file of Swift's that is open: it is read in blocks, and written when it is complete."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        data: bytes = self.fs.cat_file(self.path, start, end)
        return data

    def _initiate_upload(self) -> None:
        self._whole = tempfile.TemporaryFile()  # noqa: SIM115 - closed by commit or discard

    def _upload_chunk(self, final: bool = False) -> bool:
        self.buffer.seek(0)
        while part := self.buffer.read(CHUNK):
            self._whole.write(part)
        if final and self.autocommit:
            self.commit()
        return True

    def commit(self) -> None:
        """Put it into its place."""
        try:
            self.fs.upload(self.path, self._whole, new=self.mode == "xb")
        finally:
            self._whole.close()

    def discard(self) -> None:
        """Forget it."""
        self._whole.close()


def _split(path: str) -> tuple[str, str]:
    container, _, key = path.strip("/").partition("/")
    return container, key


def _directory(name: str) -> dict[str, Any]:
    return {"name": name, "size": 0, "type": "directory"}


def _file(path: str, headers: Any) -> dict[str, Any]:
    if headers.get("Content-Type", "").partition(";")[0] == "application/directory":
        return _directory(path)
    return {
        "name": path,
        "size": int(headers.get("Content-Length", 0)),
        "type": "file",
        "mtime": float(headers["X-Timestamp"]) if "X-Timestamp" in headers else None,
        "etag": headers.get("ETag", "").strip('"'),
    }


def _listed(path: str, each: dict[str, Any]) -> dict[str, Any]:
    if each.get("content_type") == "application/directory":
        return _directory(path)
    when = datetime.fromisoformat(each["last_modified"]).replace(tzinfo=UTC).timestamp()
    return {"name": path, "size": each["bytes"], "type": "file", "mtime": when, "etag": each["hash"]}


def _range(start: int | None, end: int | None, size: Any) -> tuple[int, int]:
    """Return a range of bytes whose ends may be counted from the end, or be left out."""
    first = start or 0
    if first >= 0 and end is not None and end >= 0:
        return first, end
    whole = size()
    last = whole if end is None else end
    return max(0, first + whole) if first < 0 else first, last + whole if last < 0 else last
