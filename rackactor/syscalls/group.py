"""Groups: `with rack.group(...)` starts a supervisor, and leaves nothing behind."""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
from types import TracebackType
from typing import Any, TypeVar, cast

from rackactor import current, units
from rackactor.errors import GroupEnded, InvalidCall, NoGroup
from rackactor.kernel.kernel import EXPECTED_TIMEOUT, Kernel
from rackactor.kernel.transport.sockets import Keys
from rackactor.launch import directories, process_context
from rackactor.launch.last_words import Life
from rackactor.launch.supervisor import KEEPER_TIMEOUT, Progress, Supervisor
from rackactor.status import ExitStatus
from rackactor.syscalls.echo import Echo
from rackactor.syscalls.lines import Lines
from rackactor.syscalls.output import OutputFollower
from rackactor.syscalls.session import Session
from rackactor.system import real_threads
from rackactor.wire.calls.group import DetachGroup, EndGroup
from rackactor.wire.calls.logs import FEED
from rackactor.wire.calls.processes import Bye

#: Seconds that the end of a group may take beyond its grace period.
END_TIMEOUT = 30.0
#: The provider when a cloud is named.
CLOUD_PROVIDER = "nova"


class Group(Session):
    """A group that this program has made, or has joined from outside.

    Attributes:
        gid: its UUID.
        name: for people.
    """

    def __init__(
        self, kernel: Kernel, name: str, supervisor: Supervisor | None, base: process_context.Base | None = None
    ) -> None:
        super().__init__(kernel, base)
        self.name = name
        self._supervisor = supervisor
        self._os_pid = os.getpid()
        self._output: OutputFollower | None = None
        #: Seconds that showing the last output may take; None: as long as the reader takes.
        self._patience: float | None = None

    def __repr__(self) -> str:
        return f"<Group {self.name!r} {self.gid}>"

    def __enter__(self) -> Group:
        current.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self._patience = 1.0  # a paused terminal must not require a second Ctrl-C
        self.end()

    def echo(self) -> None:
        """Show the output of actors and functions on this program's own standard output and error."""
        if self._output is None:
            self._output = OutputFollower(self.kernel, Echo(), Lines())
            self._output.follow(FEED)

    def detach(self) -> None:
        """Let the group live on after this program; it ends at its deadline, or with its last process."""
        self._close_pipes()
        self.kernel.call(DetachGroup())
        supervisor, self._supervisor = self._supervisor, None
        self._part()
        if supervisor is not None:
            supervisor.release()

    def leave(self) -> None:
        """Leave a group that was joined from outside; the group goes on."""
        if not self.kernel.closed:
            self._close_pipes()
        self._part()

    def _close_pipes(self) -> None:
        for lost in [] if self.kernel.pipe_table is None else self.kernel.pipe_table.leave():
            logging.getLogger("rackactor").warning("%s", lost)

    def end(self, reason: str = "") -> None:
        """End every process (TERM, a short grace period, KILL), then the supervisor. Idempotent.

        The handles still tell afterwards how each process ended.
        """
        if self.kernel.closed:
            current.leave(self)
            return
        try:
            # Held until all output has been shown: a pager may take its time.
            call = EndGroup(reason or "its block ended", hold=self._output is not None)
            far = self._supervisor is not None and self._supervisor.far
            fields, _ = self.kernel.call(call, timeout=KEEPER_TIMEOUT if far else END_TIMEOUT)
            for pid, status in fields["statuses"]:
                self.waits.learn(pid, ExitStatus.from_wire(status))
            if self._output is not None:
                self._output.finish()
                self._output.wait(self._patience)
        except GroupEnded:
            pass  # it is gone already, as intended
        finally:
            self.kernel.cast(EndGroup(reason))
            self._part()

    def _part(self) -> None:
        if self._output is not None:
            self._output.stop()
        self.kernel.cast(Bye())
        self.kernel.close()
        current.leave(self)
        atexit.unregister(self.end)
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.settle()


G = TypeVar("G", bound=Group)


def group(
    name: str | None = None,
    *,
    provider: str | None = None,
    cloud: str | None = None,
    transport: str | None = None,
    address: str | None = None,
    deadline: float | str | None = None,
    echo: bool = True,
    provider_settings: dict[str, Any] | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Group:
    """Make a group: start its supervisor (pid 1); this program becomes a process of the group too.

    Use it as `with rack.group("etl", deadline="1h") as g:`; everything ends with the block, however the block ends, and
    also when this program is killed.

    Args:
        name: for people; `group-<gid>` by default.
        provider: where processes come from: "local" (OS processes of this host), "nova" (machines of an OpenStack
            cloud), or "module:Class" for a provider of your own.
        cloud: a cloud's name in `clouds.yaml`; makes the provider "nova". The supervisor is a machine there, too, and
            nothing of the group is left there when the block has ended.
        transport: "ipc" (sockets in a private directory), or "tcp" (encrypted and authenticated by CURVE); machines are
            always reached by tcp.
        address: with tcp, the address of this host at which the processes reach their supervisor; loopback by default.
        deadline: seconds, or a string ("1h"), after which the group ends whatever runs in it.
        echo: show the output of actors and functions on this program's output.
        provider_settings: settings of the provider (local: `preload`, modules imported once for all processes; `warm`,
            how many processes it keeps ready; `namespaces`, network namespaces for the processes, used in turns; nova:
            `image`, `flavor`, `network`, `external_network` and others, see docs/reference).
        progress: called with a string for people that says what is being done on a cloud, where a start takes minutes.
        settings: see docs/reference: grace, heartbeat, lost_after, max_spawns, spawn_period, ...

    Raises:
        InvalidCall: a setting does not exist, or its value is invalid.
        StartError: the supervisor did not start; nothing of it is left.
    """
    real_threads.check()
    provider, transport, provider_settings = _place(provider, cloud, transport, provider_settings)
    settings["deadline"] = units.seconds(deadline, "deadline")
    order = {
        "name": _name(name),
        "provider": provider,
        "provider_settings": _plain("provider_settings", provider_settings),
        "transport": transport,
        "address": _plain("address", address),
        "settings": {key: _plain(key, value) for key, value in settings.items()},
        "owner": os.getpid(),
    }
    if ":" in provider:
        order["import_path"] = sys.path  # a provider of the user's: it is found as this program finds its modules
    base = process_context.note()  # the supervisor inherits this, and its processes from the supervisor
    base.warnoptions, base.faulthandler, base.unbuffered = [], False, False
    supervisor = Supervisor(order, progress)
    try:
        kernel = Kernel(_decode_birth(supervisor.birth), EXPECTED_TIMEOUT)
    except BaseException:
        supervisor.call_off()
        raise
    made = Group(kernel, supervisor.birth["name"], supervisor, base)
    directories.claim(made.gid)
    supervisor.watch(kernel)
    if echo:
        made.echo()
    atexit.register(made.end)
    return made


def attach(card: dict[str, Any]) -> Group:
    """Join a group of this host from outside, as the command line does.

    Args:
        card: how to reach it, from `rackactor.launch.directories.cards`.
    """
    return attach_as(Group, card)


def attach_as(kind: type[G], card: dict[str, Any]) -> G:
    """Join a group as a given kind of member: see `attach`."""
    keys = card.get("keys")
    birth = {**card, "pid": 0, "incarnation": 1, "keys": keys and Keys(keys[0].encode(), keys[1].encode())}
    kernel = Kernel(_decode_birth(birth))
    if (life := Life.of(card)) is not None:
        kernel.at_close.append(life.close)
        kernel.watch_supervisor(life.pidfd, life.verdict)
    return kind(kernel, card["name"], None)  # another program has made it: its context is not known


def groups() -> list[dict[str, Any]]:
    """List the groups of this host that are yours: gid, name, provider, created."""
    return [{key: card[key] for key in ("gid", "name", "provider", "created")} for card in directories.cards()]


def current_or_ephemeral() -> Session:
    """Return the group this program is in; without one, make a group that ends with the program.

    Raises:
        NoGroup: RACK_GID names a group that this program cannot join; or the program is a child by os.fork.
    """
    try:
        session: Session = current.current()  # type: ignore[assignment]
        return session
    except NoGroup:
        if current.inherited() or current.started_inside():
            raise  # a child by os.fork that knows nothing of groups would make one by accident
    with current.entering():
        found = current.find()  # another thread may have been faster
        if found is None:
            found = group()
            current.enter(found)
        return cast(Session, found)


def _place(
    provider: str | None, cloud: str | None, transport: str | None, settings: dict[str, Any] | None
) -> tuple[str, str, Any]:
    """Return provider, transport and the provider's settings; their defaults depend on each other."""
    name = provider or ("local" if cloud is None else CLOUD_PROVIDER)
    default = "tcp" if name == CLOUD_PROVIDER else "ipc"
    if transport not in ("ipc", "tcp", None):
        raise InvalidCall(f'transport is "ipc" or "tcp", not {transport!r}')
    if name == CLOUD_PROVIDER and transport == "ipc":
        raise InvalidCall('machines are reached by transport="tcp": "ipc" is for processes of this host')
    given: Any = {} if settings is None else settings
    if cloud is not None:
        if not isinstance(cloud, str) or not cloud:
            raise InvalidCall(f"cloud is the name of a cloud in clouds.yaml, not {cloud!r}")
        if name == "local":
            raise InvalidCall(f'the provider "local" makes processes of this host, and none on the cloud {cloud!r}')
        if isinstance(given, dict):
            given = {**given, "cloud": cloud}
    return name, transport or default, given


def _name(name: str | None) -> str | None:
    if name is not None and (not isinstance(name, str) or not name or not name.isprintable()):
        raise InvalidCall(f"the name of a group is a string of printable characters, not {name!r}")
    return name


def _plain(name: str, value: Any) -> Any:
    """Check that a setting can be serialized for the supervisor."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        raise InvalidCall(f"the setting {name!r} is a plain value, not {value!r}") from None
    return value


def _decode_birth(birth: dict[str, Any]) -> dict[str, Any]:
    server_key = birth.get("server_key")
    return {**birth, "token": bytes.fromhex(birth["token"]), "server_key": server_key and server_key.encode()}
