"""Authentication: which member a connection belongs to, and which connections are refused."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from rackactor.errors import AuthenticationError, ProtocolError
from rackactor.records import dataclass
from rackactor.wire.frames import PROTOCOL, Header, Kind
from rackactor_runtime.supervisor.decisions.state import StateView

#: The most keys of former members that are refused by name; older ones count as unknown.
REVOKED = 1000


@dataclass
class Speaker:
    """The member behind a connection."""

    pid: int
    incarnation: int
    #: The CURVE key of its messages; None without CURVE.
    key: bytes | None = None
    #: Number of the last message it sent; one that is not greater is a duplicate.
    seq: int = 0
    #: The token with which it has joined.
    token: bytes = b""


class Door:
    """Binds connections (and CURVE keys) to members; refuses everything else by name.

    A token is used up when its bearer becomes a member (`Joined`), for which the caller is responsible.

    Args:
        view: of the group's state.
        enter: adds a command line; returns its pid.
        operator_token: the token of all command lines.
        operator_key: the CURVE key of all command lines.
    """

    def __init__(
        self, view: StateView, enter: Callable[[], int], operator_token: bytes, operator_key: bytes | None
    ) -> None:
        self._view = view
        self._enter = enter
        self._operator_token = operator_token
        self._operator_key = operator_key
        self._speakers: dict[bytes, Speaker] = {}
        self._connections: dict[int, bytes] = {}
        self._keys: dict[bytes, Speaker] = {}
        #: All operators have the same key, and the same rights.
        self._operators: dict[int, Speaker] = {}
        self._revoked: dict[bytes, None] = {}

    def admit(self, key: bytes) -> bool:
        """Tell whether a CURVE key may connect: it is known, or a member with an unknown key is expected."""
        if key in self._revoked:
            return False
        return key in self._keys or key == self._operator_key or bool(self._view.tokens)

    def join(self, connection: bytes, token: object, protocol: object, key: bytes | None) -> Speaker:
        """Accept a token once; and again if its answer may be lost, because nothing has come from the bearer since.

        Raises:
            AuthenticationError: the token is unknown, or was used before.
            ProtocolError: it speaks another version of the wire.
        """
        if protocol != PROTOCOL:
            raise ProtocolError(f"this supervisor speaks version {PROTOCOL} of the wire, the agent {protocol!r}")
        if connection in self._speakers:
            raise AuthenticationError("this connection has joined already")
        if not isinstance(token, bytes):
            raise AuthenticationError("a join token is bytes")
        if hmac.compare_digest(token, self._operator_token):
            speaker = Speaker(self._enter(), 1, key)
            if key is not None:
                self._operators[speaker.pid] = speaker
        else:
            pid = self._view.tokens.get(token)
            member = None if pid is None else self._view.table.get(pid)
            if member is None and (known := self._unanswered(token, key)) is not None:
                self._bind(connection, known)
                return known
            if member is None:
                raise AuthenticationError("this join token is unknown, or has been used before")
            if key is not None and (key in self._keys or key in self._revoked or key == self._operator_key):
                raise AuthenticationError("this key is somebody's already: a member makes a key of its own")
            speaker = Speaker(member.pid, member.incarnation, key, token=token)
            if key is not None:
                self._keys[key] = speaker
        self._bind(connection, speaker)
        return speaker

    def _unanswered(self, token: bytes, key: bytes | None) -> Speaker | None:
        """Return the member that has used this token under this key and has sent nothing since."""
        speaker = None if key is None else self._keys.get(key)
        if speaker is None or speaker.seq or not hmac.compare_digest(token, speaker.token):
            return None
        return speaker

    def _bind(self, connection: bytes, speaker: Speaker) -> None:
        """Make a connection a member's only one."""
        self._speakers.pop(self._connections.get(speaker.pid, b""), None)
        self._speakers[connection] = speaker
        self._connections[speaker.pid] = connection

    def resume(self, connection: bytes, header: Header, key: bytes | None) -> Speaker | None:
        """Make a member's new connection its only one; None: there is a newer one.

        Raises:
            AuthenticationError: the key is no member's, or another member's.
            ProtocolError: the message belongs to another life of the supervisor.
        """
        speaker = self._owner(key, header)
        if speaker is None:
            raise AuthenticationError("this connection broke, and its key is not one to come back with")
        if self._speakers.get(connection, speaker) is not speaker:
            raise AuthenticationError("this connection has the name of another's, and not its key")
        self._check(speaker, header)
        if header.seq <= speaker.seq:
            return None
        speaker.seq = header.seq
        self._bind(connection, speaker)
        return speaker

    def speaker(self, connection: bytes, header: Header, key: bytes | None) -> Speaker | None:
        """Return the sender, if the header agrees; None: a member on a connection that is not, or not yet, its own.

        Raises:
            AuthenticationError: the connection has not joined, or claims to be another member's.
            ProtocolError: the message belongs to another life of the supervisor.
        """
        speaker = self._speakers.get(connection)
        if speaker is None and (owner := self._owner(key, header)) is not None:
            self._check(owner, header)
            return None  # the last message of an old connection, or one that came on a new connection before RESUME
        if speaker is None:
            raise AuthenticationError("this connection has not joined: present a token first")
        if speaker.key != key:  # with ZeroMQ, the connecting side chooses the name of its connection
            raise AuthenticationError("this connection has the name of another's, and not its key")
        self._check(speaker, header)
        return speaker

    def known(self, connection: bytes, key: bytes | None) -> Speaker | None:
        """Return the member behind a connection, if it is certain."""
        speaker = self._speakers.get(connection)
        return speaker if speaker is not None and speaker.key == key else None

    def _owner(self, key: bytes | None, header: Header) -> Speaker | None:
        """Return the owner of this key; of the operators, which share one key, the one that sends."""
        if key is None:
            return None
        known = self._operators.get(header.pid)
        return self._keys.get(key) or (known if known is not None and known.key == key else None)

    def _check(self, speaker: Speaker, header: Header) -> None:
        if header.pid != speaker.pid or header.incarnation != speaker.incarnation:
            raise AuthenticationError(f"process {speaker.pid} may not speak as process {header.pid}")
        if header.kind is not Kind.JOIN and header.epoch != self._view.epoch:
            raise ProtocolError(f"a message of epoch {header.epoch}; this is epoch {self._view.epoch}")

    def connection(self, pid: int) -> bytes | None:
        """Return the connection of a member."""
        return self._connections.get(pid)

    def dismiss(self, pid: int) -> None:
        """Forget a member, and revoke its key."""
        connection = self._connections.pop(pid, None)
        self._operators.pop(pid, None)
        speaker = None if connection is None else self._speakers.pop(connection, None)
        if speaker is not None and speaker.key is not None and self._keys.get(speaker.key) is speaker:
            del self._keys[speaker.key]
            self._revoked[speaker.key] = None
        while len(self._revoked) > REVOKED:
            del self._revoked[next(iter(self._revoked))]
