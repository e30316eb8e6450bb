"""The birth data of a machine, checked: authors of images meet these errors first."""

from __future__ import annotations

import json
import math
from typing import Any

from rackactor.records import dataclass


class BirthError(ValueError):
    """These are no birth data; the message says why."""


@dataclass(frozen=True)
class MachineBirth:
    """The birth of a machine for one process."""

    endpoint: str
    server_key: bytes
    pid: int
    incarnation: int
    token: bytes
    #: Deadline at which it ends itself, seconds since the epoch.
    deadline: float | None
    #: Seconds without its supervisor after which it ends itself, and within which it must have reached it.
    lease: float
    boot_timeout: float
    #: Whether the machine powers itself off at the end.
    poweroff: bool


@dataclass(frozen=True)
class SupervisorBirth:
    """The birth of the machine of a group's supervisor."""

    port: int
    #: Its key pair for one order, and the public key of the only client that may send it (z85).
    public: bytes
    secret: bytes
    client: bytes
    deadline: float | None
    #: Seconds within which the order must come.
    patience: float
    poweroff: bool


Birth = MachineBirth | SupervisorBirth


def parse(text: str) -> Birth:
    """Parse birth data.

    Raises:
        BirthError: these are no birth data.
    """
    if not text.strip():
        raise BirthError("no birth data on standard input: this program is started by a machine's user-data")
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise BirthError(f"the birth data are no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise BirthError("the birth data are a JSON object")
    return _Reader(fields).read()


class _Reader:
    """Reads fields by name and type."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def read(self) -> Birth:
        """Return the birth data of the role."""
        role = self._fields.get("role")
        if role == "machine":
            return MachineBirth(
                self._endpoint(),
                self._key("server_key"),
                self._whole("pid", 1 << 32),
                self._whole("incarnation", 1 << 32),
                self._token(),
                self._deadline(),
                self._seconds("lease", 30.0),
                self._seconds("boot_timeout", 300.0),
                self._poweroff(),
            )
        if role == "supervisor":
            return SupervisorBirth(
                self._whole("port", 65535),
                self._key("public"),
                self._key("secret"),
                self._key("client"),
                self._deadline(),
                self._seconds("patience", 300.0),
                self._poweroff(),
            )
        raise BirthError(f'the birth data have a role, "machine" or "supervisor", not {role!r}')

    def _text(self, name: str) -> str:
        value = self._fields.get(name)
        if not isinstance(value, str):
            raise BirthError(f"the birth data's {name!r} is a string, not {value!r}")
        return value

    def _endpoint(self) -> str:
        value = self._text("endpoint")
        if not value.startswith("tcp://") or not value.rpartition(":")[2].isdecimal():
            raise BirthError(f"the birth data's 'endpoint' is tcp://address:port, not {value!r}")
        return value

    def _key(self, name: str) -> bytes:
        value = self._text(name)
        if len(value) != 40 or not value.isascii():
            raise BirthError(f"the birth data's {name!r} is a CURVE key, 40 characters of z85")  # not shown: a secret
        return value.encode()

    def _token(self) -> bytes:
        try:
            return bytes.fromhex(self._text("token"))
        except ValueError:
            raise BirthError("the birth data's 'token' is hexadecimal") from None

    def _whole(self, name: str, high: int) -> int:
        value = self._fields.get(name)
        if type(value) is not int or not 1 <= value <= high:
            raise BirthError(f"the birth data's {name!r} is an integer from 1 to {high}, not {value!r}")
        return value

    def _seconds(self, name: str, default: float) -> float:
        value = self._fields.get(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise BirthError(f"the birth data's {name!r} is a positive number of seconds, not {value!r}")
        return float(value)

    def _deadline(self) -> float | None:
        return None if self._fields.get("deadline") is None else self._seconds("deadline", math.inf)

    def _poweroff(self) -> bool:
        value = self._fields.get("poweroff", True)
        if not isinstance(value, bool):
            raise BirthError(f"the birth data's 'poweroff' is true or false, not {value!r}")
        return value
