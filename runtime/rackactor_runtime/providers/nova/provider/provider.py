"""The provider `nova`: on the client's host it launches a group, on the supervisor's machine it makes the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rackactor.errors import InvalidCall
from rackactor.kernel.transport import netaddr
from rackactor_runtime.providers.machines.provider import MachineProvider
from rackactor_runtime.providers.machines.strays import DEBT
from rackactor_runtime.providers.nova.access import sdk

#: Seconds between the supervisor's attempts to delete its own machine, as its very last action.
_LAST_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 60.0, 60.0)

_log = logging.getLogger(__name__)


def launch(order: dict[str, Any], gid: str) -> int:
    """Make a group on a cloud, and run as its keeper until nothing of it is left; return the exit status."""
    sdk.check()
    from rackactor_runtime.providers.nova.provider.launcher import Launcher

    return Launcher(order, gid).run()


class NovaProvider(MachineProvider):
    """Machines are Nova's servers.

    Args:
        settings: what the launcher has resolved (`site`, `credential`, `boot_concurrency`, `install`, as `server` the
            supervisor's own machine, and as `owed` the seconds for which a duplicate of it may still appear), and
            the `gid`.
        state_dir: the group's directory.

    Raises:
        InvalidCall: these are not a launcher's settings, or openstacksdk is missing.
    """

    name = "nova"
    capabilities = replace(MachineProvider.capabilities, launch=launch)

    def __init__(self, settings: Mapping[str, Any], state_dir: str) -> None:
        sdk.check()
        from rackactor_runtime.providers.nova.cloud import NovaCloud, Site
        from rackactor_runtime.providers.nova.session import Session

        if "site" not in settings or "credential" not in settings:
            raise InvalidCall("a supervisor of the provider 'nova' is started by its launcher only")
        self._session = Session(credential=settings["credential"])
        self._server = settings.get("server")
        self.install = str(settings.get("install") or "")
        site = replace(Site(**settings["site"]), proxy_ip=netaddr.outward())
        own = {name: settings[name] for name in ("gid", "boot_concurrency") if name in settings}
        cloud = NovaCloud(self._session, site, own=self._server)
        super().__init__(own, state_dir, cloud, self._server, float(settings.get("owed", DEBT)))

    def last_act(self, kept: bool) -> None:
        """Delete the supervisor's own machine, if nothing outside is there to do so."""
        if kept or not self._server:
            return
        for pause in _LAST_PAUSES:
            try:
                # The machine ends any moment now. If not, the request is repeated: the cloud may have forgotten it.
                self._session.delete("compute", f"/servers/{self._server}")
            except Exception as error:
                _log.warning("this machine could not be deleted: %s", error)
            time.sleep(pause)
