"""The supervisor as a program: `python -m rackactor_runtime.supervisor`, with its order on standard input.

It answers with one line of JSON on standard output: how the script that made the group may join it, or why
there is no group. Nothing is left behind in the second case.
"""

from __future__ import annotations

import importlib
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
from typing import Any, cast

from rackactor.errors import InvalidCall, RackError, StartError
from rackactor.kernel.transport import netaddr
from rackactor.kernel.transport.sockets import Keys
from rackactor.launch import directories, last_words
from rackactor.system import executable
from rackactor.wire.errors import pack_error
from rackactor_runtime import descriptors
from rackactor_runtime.providers.base import Capabilities, Prewarming, Provider
from rackactor_runtime.supervisor.decisions.settings import Settings
from rackactor_runtime.supervisor.home import Home, link_log

#: Seconds for finding out whether fsspec can use a URL: its backends are slow to import.
URL_PATIENCE = 20.0
#: Our own entry points by module: a search through all installed packages would take much of a group's start.
OWN = {"local": "rackactor_runtime.providers.local:LocalProvider"}
#: The longest time that a group's start waits for what its provider makes ahead of time, seconds.
WARM_UP = 0.2


def main() -> int:
    """Run a supervisor until its group has ended."""
    executable.started()
    order = json.loads(sys.stdin.readline())
    directory: Path | None = None
    try:
        maker = _load(order["provider"], order.get("import_path") or [])
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
    provider = _provider(maker, order["provider"], order.get("provider_settings", {}), directory, gid)
    _check_reach(provider, order)
    descriptors.keep_reserve()
    from rackactor_runtime.services import SERVICES
    from rackactor_runtime.supervisor.actor import NullStore
    from rackactor_runtime.supervisor.decisions.state import GroupState
    from rackactor_runtime.supervisor.loop import Loop
    from rackactor_runtime.supervisor.members.router import Config

    can = provider.capabilities
    state = GroupState(
        gid,
        order.get("name") or f"group-{gid[:8]}",
        settings,
        services=SERVICES,
        machines=can.machines,
        remote=can.remote,
        nearby=order["transport"] == "ipc" and not can.machines,
        python=sys.version_info[:2],
    )
    operator_token = secrets.token_bytes(24)
    operator_keys = Keys.make() if order["transport"] == "tcp" else None
    owner = _owner_fd(order)
    port = order.get("port") or 0
    config = Config(Home(directory), order["transport"], order["address"], operator_token, operator_keys, owner, port)
    try:
        shell = Loop(state, NullStore(), config, provider)
    except BaseException:
        provider.close(2.0)
        raise
    try:
        if can.prewarms:
            cast(Prewarming, provider).warm_up(WARM_UP)
        _open_door(shell, state, config, order)
        shell.run()
    finally:
        shell.close()
        if config.directory != directory:
            directories.remove(config.directory)


def _open_door(shell: Any, state: Any, config: Any, order: dict[str, Any]) -> None:
    """Publish how to reach the group: on the card for operators, in the answer for the script."""
    token = secrets.token_bytes(24)
    script = shell.open(token)
    server_key = shell.keys.public.decode() if shell.keys else None
    card = {
        "gid": state.gid,
        "name": state.name,
        "endpoint": shell.endpoint,
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
    answer = {"pid": script, "incarnation": 1, "token": token.hex(), "endpoint": shell.endpoint}
    answer |= {"server_key": server_key, "gid": state.gid, "name": state.name, "here": card["here"]}
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
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _load(name: str, path: list[str]) -> Any:
    """Return the class of a provider, by the name of its entry point or by "module:Class".

    Args:
        name: see above.
        path: where such a module is searched for, too.

    Raises:
        InvalidCall: there is no such provider.
    """
    maker = _find(name, path)
    if not isinstance(getattr(maker, "capabilities", None), Capabilities):
        raise InvalidCall(
            f"the provider {name!r} does not say what it can: give its class an attribute `capabilities`, a"
            f" {Capabilities.__module__}.Capabilities"
        )
    return maker


def _find(name: str, path: list[str]) -> Any:
    """Import the class of a provider: see `_load`."""
    if ":" in (place := OWN.get(name, name)):
        module, _, attribute = place.partition(":")
        sys.path += [entry for entry in path if entry not in sys.path]
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise InvalidCall(f"there is no provider {name!r}: {error}") from error
    from importlib.metadata import entry_points

    known = {point.name: point for point in entry_points(group="rackactor.providers")}
    point = known.get(name)
    if point is None:
        raise InvalidCall(f"there is no provider {name!r}; installed: {', '.join(sorted(known)) or 'none'}")
    try:
        return point.load()
    except ImportError as error:
        raise InvalidCall(f"the provider {name!r} cannot be imported: {error}") from error


def _provider(maker: Any, name: str, settings: dict[str, Any], directory: Path, gid: str) -> Provider:
    if not isinstance(settings, dict):
        raise InvalidCall(f"provider_settings is a dict of what the provider {name!r} may be told, not {settings!r}")
    if maker.capabilities.machines:
        settings = {**settings, "gid": gid}
    try:
        provider: Provider = maker(settings, str(directory))
    except (TypeError, ValueError) as error:
        raise InvalidCall(f"the provider {name!r} cannot use its settings {settings!r}: {error}") from error
    return provider


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


def _check_reach(provider: Provider, order: dict[str, Any]) -> None:
    """Refuse a group whose processes could never join it."""
    if provider.capabilities.remote and (order["transport"] != "tcp" or netaddr.is_loopback(order["address"])):
        provider.close(2.0)
        raise InvalidCall(
            "processes that are elsewhere (a network namespace, another machine) reach their supervisor by tcp only:"
            ' transport="tcp", and address= an address of this host that they have a way to'
        )


def _owner_fd(order: dict[str, Any]) -> int | None:
    """Return a descriptor that becomes readable when the program that made the group dies."""
    owner = order.get("owner")
    return os.pidfd_open(owner) if owner else None


def _answer(fields: dict[str, Any]) -> None:
    """Write the one line, then close the pipe, so that nobody waits for more."""
    os.write(1, json.dumps(fields).encode() + b"\n")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
