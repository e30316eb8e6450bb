"""The door: who a connection speaks for, and who may not speak at all."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from rackactor.errors import AuthenticationError, ProtocolError
from rackactor.wire.frames import PROTOCOL, Header, Kind
from rackactor_runtime.supervisor.decisions.state import StateView

#: Keys of members that have gone and are refused by name, at the most; an older one is as good as a stranger's.
REVOKED = 1000


@dataclass
class Speaker:
    """A member behind a connection."""

    pid: int
    incarnation: int
    #: The CURVE key that its messages come under; None where there is no CURVE.
    key: bytes | None = None
    #: Number of the last message it sent; one that is not greater is a duplicate.
    seq: int = 0
    #: What it has joined with.
    token: bytes = b""


class Door:
    """Bind connections (and CURVE keys) to members; refuse everything else by name.

    A token is used up when whoever has shown it is entered as a member (`Joined`), which is its caller's to see to.

    Args:
        view: of the group's state.
        enter: enters a command line; returns its pid.
        operator_token: which all command lines have.
        operator_key: the CURVE key which all of them have.
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
        """Tell whether a CURVE key may connect: it is known, or somebody is expected whose key is not."""
        if key in self._revoked:
            return False
        return key in self._keys or key == self._operator_key or bool(self._view.tokens)

    def join(self, connection: bytes, token: object, protocol: object, key: bytes | None) -> Speaker:
        """Let a token's bearer in, once; again if the answer may have been lost: it has not said a word since.

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
        """Return who has used this token under this key, and has said nothing since."""
        speaker = None if key is None else self._keys.get(key)
        if speaker is None or speaker.seq or not hmac.compare_digest(token, speaker.token):
            return None
        return speaker

    def _bind(self, connection: bytes, speaker: Speaker) -> None:
        """Have a connection be a member's only one."""
        self._speakers.pop(self._connections.get(speaker.pid, b""), None)
        self._speakers[connection] = speaker
        self._connections[speaker.pid] = connection

    def resume(self, connection: bytes, header: Header, key: bytes | None) -> Speaker | None:
        """Take a member's new connection for its only one; None: it has made another since.

        Raises:
            AuthenticationError: this is no member's key, or another's.
            ProtocolError: the message is of another life of the supervisor.
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
        """Return who speaks, if the header says the same; None: a member on a connection that is not its own (yet).

        Raises:
            AuthenticationError: the connection has not joined, or claims to be somebody else.
            ProtocolError: the message is of another life of the supervisor.
        """
        speaker = self._speakers.get(connection)
        if speaker is None and (owner := self._owner(key, header)) is not None:
            self._check(owner, header)
            return None  # an old connection's last words, or a new one's first: it says RESUME before it is heard
        if speaker is None:
            raise AuthenticationError("this connection has not joined: present a token first")
        if speaker.key != key:  # ZeroMQ lets whoever connects choose the name of its connection
            raise AuthenticationError("this connection has the name of another's, and not its key")
        self._check(speaker, header)
        return speaker

    def known(self, connection: bytes, key: bytes | None) -> Speaker | None:
        """Return the member behind a connection, if it is certain."""
        speaker = self._speakers.get(connection)
        return speaker if speaker is not None and speaker.key == key else None

    def _owner(self, key: bytes | None, header: Header) -> Speaker | None:
        """Return whose key this is; of the operators, which all have one, the one who speaks."""
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
        """Forget a member; its key is revoked."""
        connection = self._connections.pop(pid, None)
        self._operators.pop(pid, None)
        speaker = None if connection is None else self._speakers.pop(connection, None)
        if speaker is not None and speaker.key is not None and self._keys.get(speaker.key) is speaker:
            del self._keys[speaker.key]
            self._revoked[speaker.key] = None
        while len(self._revoked) > REVOKED:
            del self._revoked[next(iter(self._revoked))]
