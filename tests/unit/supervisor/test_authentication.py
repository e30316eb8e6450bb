"""The door: who a connection speaks for, and who may not speak at all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq
from driving import House
from zmq.utils import z85

from rackactor.errors import AuthenticationError, ProtocolError
from rackactor.kernel.transport.zap import Authenticator
from rackactor.wire.frames import PROTOCOL, Header, Kind
from rackactor_runtime.supervisor.decisions import messages as m
from rackactor_runtime.supervisor.members.authentication import Door, Speaker

OPERATOR, OPERATOR_KEY = b"operator's token", b"operator's key"


class Entrance:
    """A house with a door."""

    def __init__(self) -> None:
        self.house = House()
        self.script = self.house.script()
        self.door = Door(self.house.state, self.house.arrive, OPERATOR, OPERATOR_KEY)

    def join(self, connection: bytes, token: object, protocol: object, key: bytes | None) -> Speaker:
        """Show a token at the door, and be entered."""
        return self.house.join(self.door, connection, token, protocol, key)

    def expect(self) -> tuple[int, bytes]:
        """Have a process forked; return its pid and token."""
        (pid,) = self.house.fork(self.script)
        (create,) = [e for e in self.house.effects if isinstance(e, m.Create) and e.order.key.pid == pid]
        token: bytes = create.order.birth["token"]
        return pid, token

    def says(self, connection: bytes, key: bytes | None, pid: int, *, incarnation: int = 1, epoch: int = 1) -> int:
        """Let a connection speak; return for whom the door takes it (0: it is not listened to)."""
        speaker = self.door.speaker(connection, Header(Kind.BEAT, epoch, pid, incarnation, 1), key)
        return 0 if speaker is None else speaker.pid

    def resumes(self, connection: bytes, key: bytes | None, pid: int, seq: int, *, epoch: int = 1) -> int:
        """Let a member come back on a new connection; return for whom the door takes it (0: it is too late)."""
        speaker = self.door.resume(connection, Header(Kind.RESUME, epoch, pid, 1, seq, (0,)), key)
        return 0 if speaker is None else speaker.pid


@pytest.fixture
def at() -> Entrance:
    return Entrance()


@pytest.mark.parametrize("key", [None, b"k1"])
def test_a_token_lets_one_in_once(at: Entrance, key: bytes | None) -> None:
    pid, token = at.expect()
    speaker = at.join(b"c1", token, PROTOCOL, key)
    assert (speaker.pid, speaker.incarnation) == (pid, 1)
    assert at.door.connection(pid) == b"c1"
    assert at.says(b"c1", key, pid) == pid
    with pytest.raises(AuthenticationError, match="used before"):
        at.join(b"c2", token, PROTOCOL, None if key is None else b"k2")
    with pytest.raises(AuthenticationError, match="joined already"):
        at.join(b"c1", token, PROTOCOL, key)
    assert at.says(b"c1", key, pid) == pid


def test_whoever_may_not_have_heard_the_answer_joins_again_under_its_key(at: Entrance) -> None:
    pid, token = at.expect()
    _, other = at.expect()
    at.join(b"c1", token, PROTOCOL, b"k1")
    for wrong in ((other, b"k1"), (token, b"k2"), (token, None)):
        with pytest.raises(AuthenticationError):
            at.join(b"c2", wrong[0], PROTOCOL, wrong[1])
    again = at.join(b"c3", token, PROTOCOL, b"k1")
    assert (again.pid, at.door.connection(pid)) == (pid, b"c3")
    assert at.says(b"c3", b"k1", pid) == pid
    assert at.says(b"c1", b"k1", pid) == 0, "the old connection is nobody's any more"
    again.seq = 1  # it has said something: it has heard the answer
    with pytest.raises(AuthenticationError, match="used before"):
        at.join(b"c4", token, PROTOCOL, b"k1")


@pytest.mark.parametrize("token", [None, "text", 5, b"", b"wrong", [b"x"], {}, OPERATOR + b"x"], ids=repr)
def test_a_bad_token(at: Entrance, token: object) -> None:
    at.expect()
    with pytest.raises(AuthenticationError):
        at.join(b"c1", token, PROTOCOL, b"k1")


@pytest.mark.parametrize("protocol", [0, PROTOCOL + 1, None, "1", [1]], ids=repr)
def test_another_version_of_the_wire(at: Entrance, protocol: object) -> None:
    pid, token = at.expect()
    with pytest.raises(ProtocolError, match=f"speaks version {PROTOCOL} of the wire"):
        at.join(b"c1", token, protocol, b"k1")
    assert at.join(b"c1", token, PROTOCOL, b"k1").pid == pid  # the token is still good


def test_who_has_not_joined_does_not_speak(at: Entrance) -> None:
    with pytest.raises(AuthenticationError, match="has not joined"):
        at.says(b"c1", None, at.script)
    with pytest.raises(AuthenticationError, match="has not joined"):
        at.says(b"c1", b"k1", at.script)


def test_nobody_speaks_as_another(at: Entrance) -> None:
    (first, token), (second, _) = at.expect(), at.expect()
    at.join(b"c1", token, PROTOCOL, b"k1")
    for pid, incarnation in ((second, 1), (1, 1), (0, 1), (first, 2), (first, 0)):
        with pytest.raises(AuthenticationError, match=f"process {first} may not speak as process {pid}"):
            at.says(b"c1", b"k1", pid, incarnation=incarnation)


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_message_of_another_epoch(at: Entrance, epoch: int) -> None:
    pid, token = at.expect()
    at.join(b"c1", token, PROTOCOL, None)
    with pytest.raises(ProtocolError, match=f"a message of epoch {epoch}; this is epoch 1"):
        at.says(b"c1", None, pid, epoch=epoch)


def test_a_member_comes_back_on_a_new_connection(at: Entrance) -> None:
    pid, token = at.expect()
    at.join(b"c1", token, PROTOCOL, b"k1")
    assert at.says(b"c2", b"k1", pid) == 0, "first it says how far it is"
    assert at.door.connection(pid) == b"c1"
    assert at.resumes(b"c2", b"k1", pid, 5) == pid
    assert at.says(b"c2", b"k1", pid) == pid
    assert at.door.connection(pid) == b"c2"
    assert at.says(b"c1", b"k1", pid) == 0, "what was still under way on the old one comes again on the new one"
    assert at.resumes(b"c3", b"k1", pid, 7) == pid
    assert at.resumes(b"c4", b"k1", pid, 6) == 0, "an earlier attempt that arrives late"
    assert at.door.connection(pid) == b"c3"


def test_who_may_not_come_back(at: Entrance) -> None:
    (first, one), (second, two), (third, three) = at.expect(), at.expect(), at.expect()
    at.join(b"c1", one, PROTOCOL, b"k1")
    at.join(b"c2", two, PROTOCOL, b"k2")
    at.join(b"c3", three, PROTOCOL, None)
    at.join(b"c4", OPERATOR, PROTOCOL, OPERATOR_KEY)
    for key, pid in ((b"k9", first), (b"k2", first), (b"k1", second), (None, third), (OPERATOR_KEY, first)):
        with pytest.raises(AuthenticationError):
            at.resumes(b"c9", key, pid, 9)
    with pytest.raises(AuthenticationError, match="name of another's"):
        at.resumes(b"c2", b"k1", first, 9)
    with pytest.raises(ProtocolError, match="epoch"):
        at.resumes(b"c9", b"k1", first, 9, epoch=2)
    assert [at.door.connection(pid) for pid in (first, second)] == [b"c1", b"c2"]
    with pytest.raises(AuthenticationError):
        at.says(b"c9", b"k9", first)


def test_the_name_of_a_connection_is_no_credential(at: Entrance) -> None:
    (first, one), (second, two) = at.expect(), at.expect()
    at.join(b"c1", one, PROTOCOL, b"k1")
    at.join(b"c2", two, PROTOCOL, b"k2")
    with pytest.raises(AuthenticationError, match="not its key"):
        at.says(b"c1", b"k2", first)
    with pytest.raises(AuthenticationError, match="not its key"):
        at.says(b"c1", b"k2", second)
    assert at.says(b"c1", b"k1", first) == first


def test_a_member_cannot_be_two(at: Entrance) -> None:
    (_, one), (second, two) = at.expect(), at.expect()
    at.join(b"c1", one, PROTOCOL, b"k1")
    with pytest.raises(AuthenticationError, match="somebody's already"):
        at.join(b"c2", two, PROTOCOL, b"k1")
    with pytest.raises(AuthenticationError, match="somebody's already"):
        at.join(b"c2", two, PROTOCOL, OPERATOR_KEY)
    assert at.join(b"c2", two, PROTOCOL, b"k2").pid == second  # its token has not been used up


@pytest.mark.parametrize("key", [None, b"k1"])
def test_who_has_ended_does_not_speak(at: Entrance, key: bytes | None) -> None:
    pid, token = at.expect()
    at.join(b"c1", token, PROTOCOL, key)
    if key is not None:
        at.resumes(b"c2", key, pid, 2)
    at.door.dismiss(pid)
    assert at.door.connection(pid) is None
    for connection in (b"c1", b"c2", b"c3"):
        with pytest.raises(AuthenticationError):
            at.says(connection, key, pid)
    at.door.dismiss(pid)


def test_a_revoked_key_comes_in_no_more(at: Entrance) -> None:
    (pid, one), (other, two) = at.expect(), at.expect()
    at.join(b"c1", one, PROTOCOL, b"k1")
    assert at.door.admit(b"k1")
    at.door.dismiss(pid)
    assert not at.door.admit(b"k1")
    with pytest.raises(AuthenticationError, match="somebody's already"):
        at.join(b"c1", two, PROTOCOL, b"k1")  # its connection is still there, and it has another's token
    assert at.join(b"c2", two, PROTOCOL, b"k2").pid == other


def test_the_token_of_what_has_ended_is_worth_nothing(at: Entrance) -> None:
    pid, token = at.expect()
    at.house.die(pid, fault="no room")
    with pytest.raises(AuthenticationError, match="unknown"):
        at.join(b"c1", token, PROTOCOL, b"k1")


def test_unknown_keys_come_in_only_while_somebody_is_expected(at: Entrance) -> None:
    assert not at.door.admit(b"k1")
    assert at.door.admit(OPERATOR_KEY)
    _, token = at.expect()
    assert at.door.admit(b"k1")
    at.join(b"c1", token, PROTOCOL, b"k1")
    assert at.door.admit(b"k1")
    assert not at.door.admit(b"k2")


def test_every_command_line_is_a_member_of_its_own(at: Entrance) -> None:
    first = at.join(b"c1", OPERATOR, PROTOCOL, OPERATOR_KEY)
    second = at.join(b"c2", OPERATOR, PROTOCOL, OPERATOR_KEY)
    assert first.pid != second.pid
    assert at.says(b"c1", OPERATOR_KEY, first.pid) == first.pid
    at.door.dismiss(first.pid)
    assert at.door.admit(OPERATOR_KEY)
    assert at.says(b"c2", OPERATOR_KEY, second.pid) == second.pid


# -- ZAP -----------------------------------------------------------------------------------------------------


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as made:
        yield made


def ask(context: zmq.Context[zmq.Socket[bytes]], zap: Authenticator, frames: list[bytes]) -> list[bytes]:
    with context.socket(zmq.REQ) as client:
        client.linger = 0
        client.connect("inproc://zeromq.zap.01")
        client.send_multipart(frames)
        assert zap.socket.poll(5000)
        zap.answer()
        assert client.poll(5000)
        return client.recv_multipart()


def test_the_authenticator_asks_about_the_key(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    raw = bytes(range(32))
    zap = Authenticator(context, lambda key: key == z85.encode(raw))
    request = [b"1.0", b"7", b"", b"127.0.0.1", b"", b"CURVE"]
    assert ask(context, zap, [*request, raw]) == [b"1.0", b"7", b"200", b"", z85.encode(raw), b""]
    for rest in ([bytes(32)], [b"short"], []):
        assert ask(context, zap, [*request, *rest])[2] == b"400"
    assert ask(context, zap, [*request[:5], b"NULL"])[2] == b"400"
    assert ask(context, zap, [*request[:5], b"PLAIN", b"user", b"password"])[2] == b"400"
    zap.answer()  # nothing waits
    zap.socket.close()
