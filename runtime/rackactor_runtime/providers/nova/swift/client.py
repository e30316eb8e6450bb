"""The wire of Swift: questions that are asked again where that is right, listings page by page, uploads.

It asks with a session of keystoneauth, which renews its tokens: a group lives longer than a token does.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Iterator
from typing import Any, BinaryIO
from urllib.parse import quote

from rackactor_runtime.providers.nova.access import sdk

#: Tries of one question, and seconds before the second; each later pause is twice as long.
TRIES, PAUSE = 4, 0.5
#: Seconds that Swift may be silent.
TIMEOUT = 60.0
#: Bytes read from a file at once while it is uploaded.
CHUNK = 1 << 20
#: Answers after which the same question may be asked again.
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_ERRORS = {401: errno.EACCES, 403: errno.EACCES, 412: errno.EEXIST, 413: errno.EFBIG, 507: errno.ENOSPC}


class Wire:
    """Ask a Swift.

    Args:
        adapter: keystoneauth's.
    """

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter

    def ask(self, method: str, path: str, *, accept: tuple[int, ...] = (), **options: Any) -> Any:
        """Ask Swift; what is repeatable is asked again when it does not answer.

        Raises:
            OSError: it refuses, in its own words.
        """
        from keystoneauth1 import exceptions

        again = 0 if options.get("data") is not None else TRIES - 1
        try:
            answer = self._adapter.request(
                "/" + quote(path),
                method,
                raise_exc=False,
                connect_retries=TRIES - 1,
                status_code_retries=again,
                retriable_status_codes=sorted(_AGAIN) if again else None,
                **options,
            )
        except exceptions.ClientException as error:
            raise OSError(errno.EIO, f"Swift cannot be asked: {error}", path) from error
        if answer.status_code < 300 or answer.status_code in accept:
            return answer
        number = _ERRORS.get(answer.status_code, errno.EIO)
        words = answer.text.strip().partition("\n")[0][:200] if method != "HEAD" else ""
        raise OSError(number, f"Swift answers {answer.status_code} {answer.reason}: {words}", path)

    def listing(self, container: str, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield a listing, page by page."""
        marker: dict[str, str] = {}
        while page := self.page(container, {**query, **marker}):
            yield from page
            last = page[-1]
            marker = {"marker": last["subdir"] if "subdir" in last else last["name"]}

    def page(self, container: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        answer = self.ask("GET", container, params={"format": "json", **query}, accept=(404,))
        if answer.status_code == 404:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), container)
        found: list[dict[str, Any]] = answer.json() if answer.content else []
        return found

    def put(self, path: str, file: BinaryIO, start: int, count: int, condition: dict[str, str]) -> str:
        """Upload a part of a file, as often as it may take; return the digest of what Swift has.

        Args:
            path: where it goes.
            file: the file.
            start: of the part, bytes.
            count: of bytes.
            condition: headers that make it depend on what is there.

        Raises:
            FileExistsError: the condition does not hold.
            FileNotFoundError: there is no such container.
            OSError: Swift does not take it.
        """
        ours = ""
        for attempt in range(TRIES):
            source = Part(file, start, count)
            headers = {"Content-Length": str(count), **condition}
            answer = self.ask("PUT", path, headers=headers, data=source if count else b"", accept=(404, 412, *_AGAIN))
            if answer.status_code == 404:
                raise FileNotFoundError(errno.ENOENT, "there is no such container", path)
            if answer.status_code == 412:
                if ours and self.ask("HEAD", path, accept=(404,)).headers.get("ETag", "").strip('"') == ours:
                    return ours  # the try before this one had come through, and its answer not
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            ours = source.digest()
            if answer.status_code < 300 and answer.headers.get("ETag", "").strip('"') == ours:
                return ours
            if attempt < TRIES - 1:
                time.sleep(PAUSE * 2**attempt)
        raise OSError(errno.EIO, f"Swift has not taken it in {TRIES} tries (the last: {answer.status_code})", path)


class Part:
    """A part of a file on its way, which knows the digest of what has gone."""

    def __init__(self, file: BinaryIO, start: int, count: int) -> None:
        self._file, self._start, self._count = file, start, count
        self._sum = hashlib.md5(usedforsecurity=False)

    def __iter__(self) -> Iterator[bytes]:
        self._sum = hashlib.md5(usedforsecurity=False)  # a new beginning, if there is one
        self._file.seek(self._start)
        left = self._count
        while left and (data := self._file.read(min(CHUNK, left))):
            left -= len(data)
            self._sum.update(data)
            yield data

    def __len__(self) -> int:
        return self._count

    def digest(self) -> str:
        """Return the digest of what has gone."""
        return self._sum.hexdigest()


def connect(
    cloud: str | None, auth: dict[str, Any] | None, auth_type: str | None, region: str | None, interface: str | None
) -> Any:
    """Return keystoneauth's way to Swift.

    Raises:
        ValueError: there is no such cloud, it has no Swift, or openstacksdk cannot be used.
    """
    sdk.check()
    from keystoneauth1 import exceptions
    from keystoneauth1.adapter import Adapter
    from openstack.config import OpenStackConfig
    from openstack.exceptions import ConfigException

    given = {"auth": auth, "auth_type": auth_type, "region_name": region, "interface": interface}
    kept: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    try:
        config = OpenStackConfig(load_yaml_config=auth is None, load_envvars=auth is None).get_one(cloud, **kept)
        session = config.get_session()
        session.timeout = TIMEOUT
        adapter = Adapter(
            session, service_type="object-store", region_name=config.get_region_name(), interface=config.get_interface()
        )
        endpoint = adapter.get_endpoint()
    except (ConfigException, exceptions.ClientException) as error:
        raise ValueError(f"Swift cannot be reached: {error}") from error
    if endpoint is None:
        raise ValueError("this cloud has no Swift (no object-store in its catalogue)")
    return adapter
