"""The launcher: makes what a group needs on a cloud, its supervisor's machine last, and becomes the group's keeper.

It answers as a supervisor of this host does, with one line on standard output, preceded by lines of progress.
If anything stops it (a refusal, a signal, the death of the program that wanted the group), it removes what it had made
before it reports.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rackactor.errors import InvalidCall, RackError, StartError
from rackactor.kernel.transport.sockets import Keys
from rackactor.launch import directories
from rackactor.system import threads
from rackactor.system.readiness import readable
from rackactor.wire.errors import pack_error
from rackactor.wire.frames import SUPERVISOR
from rackactor_runtime.providers.machines.cloud import CloudFault, Machine
from rackactor_runtime.providers.machines.console import tail
from rackactor_runtime.providers.machines.effects import Condition, Seen, condition
from rackactor_runtime.providers.machines.judging import FAULT_PATIENCE
from rackactor_runtime.providers.machines.order_client import Sender
from rackactor_runtime.providers.machines.strays import DEBT
from rackactor_runtime.providers.machines.userdata import script
from rackactor_runtime.providers.nova.access.logins import objection
from rackactor_runtime.providers.nova.cloud import NovaCloud, Site
from rackactor_runtime.providers.nova.inventory import Inventory
from rackactor_runtime.providers.nova.marks.removal import remove
from rackactor_runtime.providers.nova.provider import late, reporting
from rackactor_runtime.providers.nova.provider.resources import Plan, Resources, plan
from rackactor_runtime.providers.nova.provider.routes import routed
from rackactor_runtime.providers.nova.provider.settings import NovaSettings, own_swift, swift_access
from rackactor_runtime.providers.nova.provider.watchdog import Keeper
from rackactor_runtime.providers.nova.session import Session

#: Seconds within which the supervisor's machine must be ACTIVE, and its supervisor must answer, by default.
BOOT_TIMEOUT = 300.0
#: Seconds between checks of the supervisor's machine while it comes up.
LOOK = 0.7
#: Seconds beyond the group's deadline after which its machines end themselves: normally their supervisor ends them.
DEADLINE_GRACE = 60.0
#: Seconds within which the cloud shows the result of a call that was interrupted.
SETTLE = 2.0
#: The message of user-data on the console of an image that cannot be used.
NO_GUEST = "this image has no rackactor-guest"
#: Exit statuses: there is no group; something of it is left.
FAILED, LEFT = 1, 3

_log = logging.getLogger(__name__)


class Launcher:
    """One launch."""

    def __init__(self, order: dict[str, Any], gid: str) -> None:
        self._order = order
        self._gid = gid
        self._made = 0.0  # by the cloud's clock
        self._deadline: float | None = None
        self._settings = NovaSettings.parse(order.get("provider_settings") or {})
        self._boot_timeout = self._settings.boot_timeout or order["settings"].get("boot_timeout") or BOOT_TIMEOUT
        self._directory: Path | None = None
        self._began = False  # something may have been made
        self._instance: str | None = None  # the supervisor's machine
        self._owner = os.pidfd_open(order["owner"]) if order.get("owner") else None
        self._launched = threading.Event()
        self._cloud: NovaCloud | None = None
        self._in_error: float | None = None  # since when the supervisor's machine is

    def run(self) -> int:
        """Make the group and keep it; returns the exit status."""
        logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, reporting.call_off)
        threads.start(threading.Thread(target=self._watch_owner, name="rackactor-owner", daemon=True))
        session: Session | None = None
        try:
            self._progress(f"asking the cloud {self._settings.cloud or ''}".rstrip())
            session = Session(self._settings.cloud)
            self._read_clock(session)
            if why := objection(session.kind, session.ends, self._end(), session.clock.now()):
                raise InvalidCall(why)
            found = plan(session, self._settings)
            keeper = self._launch(session, found)
        except BaseException as error:
            reporting.ignore_signals()
            words = self._clean(session, settle=True)
            words += self._look_out(DEBT if self._cloud is not None and self._cloud.owing else 0.0)
            known = error if isinstance(error, RackError) else StartError()
            reporting.answer({"error": pack_error(known, reporting.said(error) + words)})
            reporting.say_left(words)  # nobody may have read the answer
            return LEFT if words else FAILED
        try:
            keeper.keep()
        except BaseException:
            _log.exception("the keeper of %s", self._gid)
        reporting.ignore_signals()
        words = self._clean(session) + self._look_out(keeper.owed)
        reporting.say_left(words)
        return LEFT if words else 0

    def _read_clock(self, session: Session) -> None:
        """Read the cloud's time, which is used for all dates that others read."""
        self._made = session.clock.now()
        given = self._order["settings"].get("deadline")
        self._deadline = None if given is None else self._made + given
        if words := session.clock.warning():
            reporting.write_line({"warning": words})

    # -- making ----------------------------------------------------------------------------------------------

    def _launch(self, session: Session, found: Plan) -> Keeper:
        settings = self._settings
        self._began = True
        resources = Resources(session, self._gid, self._made, self._end(), settings, found)
        self._progress("making the group's security group" + ("" if found.network else " and network"))
        with ThreadPoolExecutor(5) as pool:
            network, group = pool.submit(resources.network), pool.submit(resources.security_group)
            keypair, apart = pool.submit(resources.keypair), pool.submit(resources.server_group)
            files = own_swift(self._order["settings"].get("files"))
            right = pool.submit(resources.credential, self._progress, files=files is not None)
            site = Site(
                gid=self._gid,
                network=network.result(),
                image=found.image,
                flavor=found.flavor,
                security_groups=[group.result(), *found.security_groups],
                keypair=keypair.result(),
                availability_zone=settings.availability_zone,
                server_group=apart.result(),
                config_drive=settings.config_drive,
                known=found.known,
            )
            return self._make_supervisor(session, found, resources, site, right)

    def _make_supervisor(
        self, session: Session, found: Plan, resources: Resources, site: Site, right: Future[dict[str, Any]]
    ) -> Keeper:
        settings = self._settings
        cloud = self._cloud = NovaCloud(session, site)
        server_keys, own_keys = Keys.make(), Keys.make()
        self._progress("making the supervisor's machine")
        self._instance = instance = cloud.create(self._machine(found, server_keys, own_keys))
        seen = self._wait(cloud, instance)
        outside = inside = seen.addresses[0]
        if self._floating(session, site.network, found, inside):
            self._progress("giving the supervisor's machine a floating IP")
            outside = resources.floating_ip(instance)
        self._progress(f"waiting for the supervisor at {outside}:{settings.port}")
        sender = Sender(_endpoint(outside, settings.port), server_keys.public, own_keys)
        try:
            sender.send(self._inner(session, asdict(site), right.result(), instance))
            answer = self._hear(sender, cloud, instance, outside)
        finally:
            sender.close()
        return self._open(session, answer, instance, outside)

    def _end(self) -> float | None:
        return None if self._deadline is None else self._deadline + DEADLINE_GRACE

    def _machine(self, found: Plan, server_keys: Keys, own_keys: Keys) -> Machine:
        birth = {
            "role": "supervisor",
            "port": self._settings.port,
            "public": server_keys.public.decode(),
            "secret": server_keys.secret.decode(),
            "client": own_keys.public.decode(),
            "deadline": self._end(),
            "patience": self._boot_timeout,
        }
        mark, text = f"{self._gid}.{SUPERVISOR}.1", script(birth, self._settings.install or "")
        place = {"flavor": found.supervisor_flavor} if found.supervisor_flavor != found.flavor else {}
        return Machine(mark, SUPERVISOR, 0, "supervisor", text, place, {}, self._end())

    def _wait(self, cloud: NovaCloud, instance: str) -> Seen:
        """Wait until the supervisor's machine runs."""
        until, status = time.monotonic() + self._boot_timeout, ""
        while time.monotonic() < until:
            seen = _look(cloud, instance)
            if seen is not None and seen.status != status:
                status = seen.status
                self._progress(f"the supervisor's machine {instance} is {status}")
            if seen is not None and seen.status == "ACTIVE" and seen.addresses:
                return seen
            self._judge(seen, instance, "")
            time.sleep(LOOK)
        raise StartError(
            f"the supervisor's machine {instance} is {status or 'not listed'} after {self._boot_timeout:g} s"
        )

    def _floating(self, session: Session, network: str, found: Plan, address: str) -> bool:
        """Tell whether the supervisor gets a floating IP."""
        wanted = self._settings.floating_ip
        if wanted is False or (wanted == "auto" and routed(address)):
            return False
        if wanted == "auto" and (found.network or {}).get("router:external"):
            return False
        if found.external is not None:
            return True
        if wanted is True:
            raise StartError(
                "floating_ip=True needs an external network, and the cloud shows none: give external_network="
            )
        return False  # it may be reachable in a way that our routes do not show; if not, an error says so

    def _inner(
        self, session: Session, site: dict[str, Any], credential: dict[str, Any], instance: str
    ) -> dict[str, Any]:
        """Return the order of the supervisor that runs on the machine."""
        settings = {**self._order["settings"]}
        if self._settings.boot_timeout is not None:
            settings.setdefault("boot_timeout", self._settings.boot_timeout)
        if self._deadline is not None:
            settings["deadline"] = max(1.0, self._deadline - session.clock.now())
        files = own_swift(settings.get("files"))
        if files is not None:
            settings["files"] = files | swift_access(credential)
        settings_of_provider = {
            "site": site,
            "credential": credential,
            "server": instance,
            "boot_concurrency": self._settings.boot_concurrency,
            "install": self._settings.install,
            "owed": DEBT if self._cloud is not None and self._cloud.owing else 0.0,
        }
        return {
            "name": self._order.get("name"),
            "gid": self._gid,
            "inside": True,
            "provider": "nova",
            "provider_settings": settings_of_provider,
            "transport": "tcp",
            "address": "auto",
            "port": self._settings.port,
            "owner": None,
            "settings": settings,
        }

    def _hear(self, sender: Sender, cloud: NovaCloud, instance: str, address: str) -> dict[str, Any]:
        """Wait for the supervisor's answer, and check its machine meanwhile."""
        until, console, accepted = time.monotonic() + self._boot_timeout, "", False
        look_at = time.monotonic() + 3.0
        while (left := until - time.monotonic()) > 0:
            said = sender.hear(min(left, LOOK))
            match said:
                case {"answer": dict(answer)}:
                    if "error" in answer:
                        raise StartError(f"the supervisor did not start: {answer['error']['message']}")
                    return answer
                case {"refused": words}:
                    raise StartError(f"the supervisor's machine refused its order: {words}")
                case {"ended": code}:
                    raise StartError(f"the supervisor ended with code {code}, without an answer")
                case {"accepted": _}:
                    accepted = True
                    self._progress("starting the supervisor")
                case {"progress": text}:
                    self._progress(str(text))
            if said is None and time.monotonic() >= look_at:
                look_at = time.monotonic() + 3.0
                console = cloud.console(instance) or console  # a machine that has ended may have no console any more
                seen = _look(cloud, instance)
                if NO_GUEST in console:  # checked before its end, of which it is the cause
                    raise StartError(f"the image {self._settings.image!r} has no guest program{tail(console)}")
                self._judge(seen, instance, console)
        if accepted or "waiting for an order" not in console:
            words = f"the supervisor's machine has not answered within {self._boot_timeout:g} s"
            raise StartError(f"{words}{tail(console)}")
        raise StartError(
            f"the supervisor's machine waits at {address}:{self._settings.port}, and this host does not reach it there."
            " Use a network that is routed to this host, or floating_ip=True with an external_network, and see that"
            f" allow_from lets this host in{tail(console)}"
        )

    def _open(self, session: Session, answer: dict[str, Any], instance: str, outside: str) -> Keeper:
        """Write the group's card, and answer the program that wanted the group."""
        card = answer.pop("card")
        answer["endpoint"] = card["endpoint"] = _endpoint(outside, self._settings.port)
        card |= {"os_pid": os.getpid(), "os_started": directories.start_time(os.getpid()), "provider": "nova"}
        card |= {"cloud": self._settings.cloud, "instance": instance}
        directories.sweep()
        self._directory = directories.group_dir(self._gid)
        self._directory.mkdir(mode=0o700)
        directories.write_card(self._directory, card)
        keeper = Keeper(card, session, instance, self._owner)
        self._launched.set()
        reporting.answer(answer)
        return keeper

    # -- ending ----------------------------------------------------------------------------------------------

    def _clean(self, session: Session | None, *, settle: bool = False) -> str:
        """Remove everything of the group; return what is left, for people, "" for nothing.

        With `settle`, a call may have been interrupted and its result may appear only now: there is one more check.
        """
        if self._directory is not None:
            directories.remove(self._directory)
        if session is None or not self._began:
            return ""
        inventory = Inventory(session, self._gid, [self._instance] if self._instance else [])
        left, words = remove(inventory.take)
        if settle and not left:
            time.sleep(SETTLE)
            left, words = remove(inventory.take)
        session.close()
        if not left and not words:
            return ""
        rows = [f"{each.kind} {each.name or each.id} ({words.get(each.id, 'not gone yet')})" for each in left]
        what = "; ".join(rows) or words.get("", "it is not known what")
        return f"\nleft in the cloud, to be removed by `rack gc`: {what}"

    def _look_out(self, seconds: float) -> str:
        """Start a process that waits for results of calls that were given up; return a message, "" for nothing."""
        if seconds <= 0:
            return ""
        pid = late.start(self._settings.cloud, self._gid, seconds)
        return (
            f"\na machine of a call that was given up may still come: process {pid} looks for it, and removes it, for"
            f" {seconds / 60:.0f} min; after that, `rack gc` does"
        )

    def _judge(self, seen: Seen | None, instance: str, console: str) -> None:
        """Raise if the machine will not come up.

        Raises:
            StartError: the reason.
        """
        means = None if seen is None else condition(seen.status)
        if seen is None or means is not Condition.FAILED:
            self._in_error = None
        else:
            now = time.monotonic()
            self._in_error = now if self._in_error is None else self._in_error
            if not seen.fault and now - self._in_error < FAULT_PATIENCE:
                return  # the cloud writes the reason down a moment later
            raise StartError(
                f"the supervisor's machine {instance} is in ERROR: {seen.fault or 'the cloud does not say why'}"
            )
        if seen is not None and means in (Condition.OFF, Condition.GONE):
            words = f"the supervisor's machine {instance} is {seen.status}: it ended by itself"
            raise StartError(f"{words}{tail(console)}")

    def _watch_owner(self) -> None:
        """Cancel the launch if the program that wanted the group is gone."""
        if self._owner is None:
            return
        while not self._launched.is_set():
            if readable([self._owner], 0.2):
                if not self._launched.is_set():
                    os.kill(os.getpid(), signal.SIGTERM)
                return

    def _progress(self, text: str) -> None:
        reporting.write_line({"progress": text})


def _look(cloud: NovaCloud, instance: str) -> Seen | None:
    """Return the cloud's record of a server; None also if the cloud cannot be asked just now."""
    try:
        return cloud.find(instance)
    except CloudFault as error:
        _log.info("no word on %s: %s", instance, error)
        return None


def _endpoint(address: str, port: int) -> str:
    return f"tcp://[{address}]:{port}" if ":" in address else f"tcp://{address}:{port}"
