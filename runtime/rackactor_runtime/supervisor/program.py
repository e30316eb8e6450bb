"""The supervisor as a program: `python -m rackactor_runtime.supervisor`, with its order on standard input.

It answers with one line of JSON on standard output: how the script that made the group may join it, or why
there is no group. Nothing is left behind in the second case.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
import traceback
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rackactor.errors import InvalidCall, RackError, StartError
from rackactor.kernel.transport import netaddr
from rackactor.kernel.transport.sockets import Keys
from rackactor.launch import directories, last_words
from rackactor.system import executable
from rackactor.wire.errors import pack_error
from rackactor_runtime import descriptors
from rackactor_runtime.providers.base import Capabilities, Prewarming, Provider
from rackactor_runtime.supervisor import provider_loading
from rackactor_runtime.supervisor.decisions.settings import Settings
from rackactor_runtime.supervisor.home import Home, link_log

if TYPE_CHECKING:  # what makes the supervisor is imported after the provider has forked
    from rackactor_runtime.supervisor.decisions.state import GroupState
    from rackactor_runtime.supervisor.loop import Loop
    from rackactor_runtime.supervisor.members.config import Config
    from rackactor_runtime.supervisor.members.router import Members

#: Seconds for finding out whether fsspec can use a URL: its backends are slow to import.
URL_PATIENCE = 20.0
#: The longest time that a group's start waits for what its provider makes ahead of time, seconds.
WARM_UP = 0.2


def main() -> int:
    """Run a supervisor until its group has ended."""
    executable.started()
    order = json.loads(sys.stdin.readline())
    directory: Path | None = None
    try:
        maker = provider_loading.load(order["provider"], order.get("import_path") or [])
        capabilities: Capabilities = maker.capabilities
        settings = Settings.parse({**capabilities.defaults, **order["settings"]})
        gid = order.get("gid") or str(uuid.uuid4())
        launch = capabilities.launch
        if launch is not None and not order.get("inside"):
            return launch(order, gid)  # the supervisor runs elsewhere, and this program starts it there
        order["address"] = _address(order)
        _check_files(settings.files)
        directory = _make_directory(gid)
        _run(gid, directory, order, settings, maker)
        return 0
    except (RackError, OSError) as error:
        told = {"error": pack_error(error)}
    except Exception as error:
        told = {"error": pack_error(StartError(f"the supervisor failed: {type(error).__name__}: {error}"))}
        traceback.print_exc()
    finally:
        if directory is not None:
            directories.remove(directory)
    _answer(told)  # last, since the reader may kill this process at once
    return 1


def _run(gid: str, directory: Path, order: dict[str, Any], settings: Settings, maker: Any) -> None:
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _redirect(directory)
    # The provider comes first: it may fork, and must do so before any thread or ZeroMQ context exists.
    provider = provider_loading.make(maker, order["provider"], order.get("provider_settings", {}), directory, gid)
    provider_loading.check_reach(provider, order)
    descriptors.keep_reserve()
    from rackactor_runtime.supervisor.members.config import Config
    from rackactor_runtime.supervisor.members.router import Members

    home = Home(directory)
    keys = Keys.make() if order["transport"] == "tcp" else None
    port = order.get("port") or 0
    config = Config(home, order["transport"], order["address"], secrets.token_bytes(24), keys, port)
    state = _state(gid, order, settings, provider.capabilities)
    try:
        members = Members(state, config)
        loop = _compose(state, home, members, provider, _owner_fd(order))
    except BaseException:
        provider.close(2.0)
        raise
    try:
        if provider.capabilities.prewarms:
            cast(Prewarming, provider).warm_up(WARM_UP)
        token = secrets.token_bytes(24)
        script = loop.open(token)
        _publish(state, config, members, order, {"pid": script, "incarnation": 1, "token": token.hex()})
        loop.run()
    finally:
        loop.close()
        if home.directory != directory:
            directories.remove(home.directory)


def _state(gid: str, order: dict[str, Any], settings: Settings, can: Capabilities) -> GroupState:
    from rackactor_runtime.services import SERVICES
    from rackactor_runtime.supervisor.decisions.state import GroupState

    return GroupState(
        gid,
        order.get("name") or f"group-{gid[:8]}",
        settings,
        services=SERVICES,
        machines=can.machines,
        remote=can.remote,
        nearby=order["transport"] == "ipc" and not can.machines,
        python=sys.version_info[:2],
    )


def _compose(state: GroupState, home: Home, members: Members, provider: Provider, owner_fd: int | None) -> Loop:
    """Make the parts of the supervisor, and hand them to its loop: nothing else makes any."""
    from rackactor_runtime.supervisor.actor import NullStore
    from rackactor_runtime.supervisor.clock import Clock
    from rackactor_runtime.supervisor.logs.service import LogService
    from rackactor_runtime.supervisor.loop import Loop
    from rackactor_runtime.supervisor.machine_link import MachineLink
    from rackactor_runtime.supervisor.memory.service import MemoryService
    from rackactor_runtime.supervisor.service_programs import ServicePrograms

    clock, settings, directory = Clock(), state.settings, home.directory
    return Loop(
        state,
        NullStore(),
        home=home,
        members=members,
        logs=LogService(directory, settings.log_limit, provider.grant_output, members.reply, state.lives, clock),
        memory=MemoryService(directory, settings, members, state.lives, clock),
        services=ServicePrograms(),
        machines=MachineLink(provider, members),
        provider=provider,
        clock=clock,
        entropy=os.urandom,
        owner_fd=owner_fd,
    )


def _publish(
    state: GroupState, config: Config, members: Members, order: dict[str, Any], ticket: dict[str, Any]
) -> None:
    """Publish how to reach the group: on the card for operators, in the answer, with its ticket, for the script."""
    server_key = members.keys.public.decode() if members.keys else None
    card = {
        "gid": state.gid,
        "name": state.name,
        "endpoint": members.endpoint,
        "server_key": server_key,
        "token": config.operator_token.hex(),
        "keys": [k.decode() for k in (config.operator_keys.public, config.operator_keys.secret)]
        if config.operator_keys
        else None,
        "os_pid": os.getpid(),
        "os_started": directories.start_time(os.getpid()),
        "here": not order.get("inside"),
        "created": time.time(),
        "provider": order["provider"],
    }
    config.home.open(card)
    answer = ticket | {key: card[key] for key in ("endpoint", "server_key", "gid", "name", "here")}
    if order.get("inside"):
        answer["card"] = card  # the program that started this machine writes the card for the command lines there
    _answer(answer)


def _check_files(setting: Any) -> None:
    """Refuse an unusable backend for files while the group's maker still listens.

    What fsspec imports for it must not be imported into the supervisor, so another program checks it.
    """
    if setting is None:
        return
    if isinstance(setting, str) and "://" not in setting.removeprefix("file://") and "::" not in setting:
        from rackactor_runtime.services.files.backend import open_backend

        open_backend("", setting)  # a directory of this host
        return
    words = executable.words("rackactor_runtime.services.files.check", options=("-W", "ignore"))
    try:
        done = subprocess.run(
            words, input=json.dumps(setting), stdout=subprocess.PIPE, text=True, timeout=URL_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise InvalidCall(f"the setting 'files': its backend was not ready within {URL_PATIENCE:g} s") from None
    if done.returncode != 0:
        raise InvalidCall(done.stdout.strip() or "the setting 'files' cannot be used")


def _make_directory(gid: str) -> Path:
    base = directories.base()
    directory = base / gid[:12]
    if len(str(directory)) + len("/p4294967295") > directories.MAX_SOCKET_PATH:
        raise InvalidCall(f"{base} is too long a path for sockets: set XDG_RUNTIME_DIR or TMPDIR to a shorter one")
    directories.sweep()
    directory.mkdir(mode=0o700)
    return directory


def _redirect(directory: Path) -> None:
    """Send the supervisor's own output to its log, and not to a terminal.

    The log is in memory (see `rackactor.launch.last_words`) if the parent has passed such a file; otherwise, on a
    machine of its own, it is in the group's directory.
    """
    path = directory / "supervisor.log"
    if last_words.is_log(2):
        link_log(directory)
    else:
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.dup2(log, 2)
        os.close(log)
    descriptors.lead_nowhere(0)


def _address(order: dict[str, Any]) -> str:
    """Return the address of the supervisor over tcp.

    Raises:
        InvalidCall: it cannot be reached there.
    """
    if order.get("address") is None:
        return netaddr.LOOPBACK
    if order["address"] == "auto":
        try:
            return netaddr.outward()
        except OSError as error:
            raise InvalidCall(f'address="auto" is that of the default route, and there is none: {error}') from None
    if order["transport"] != "tcp":
        raise InvalidCall(f'address={order["address"]!r} needs transport="tcp": the others have none')
    return netaddr.check(order["address"])


def _owner_fd(order: dict[str, Any]) -> int | None:
    """Return a descriptor that becomes readable when the program that made the group dies."""
    owner = order.get("owner")
    return os.pidfd_open(owner) if owner else None


def _answer(fields: dict[str, Any]) -> None:
    """Write the one line, then close the pipe, so that nobody waits for more."""
    os.write(1, json.dumps(fields).encode() + b"\n")
    descriptors.lead_nowhere(1)
