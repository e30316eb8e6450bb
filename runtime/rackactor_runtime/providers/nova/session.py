"""A connection to a cloud: one Keystone session with a bounded pool, every call bounded, nothing repeated unasked.

The SDK's own repetition of calls is off: a POST that it repeats after a 503 makes two servers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import openstack
from keystoneauth1 import exceptions as auth
from keystoneauth1.session import TCPKeepAliveAdapter
from openstack import exceptions as sdk

from rackactor._version import __version__
from rackactor.errors import InvalidCall, StartError
from rackactor_runtime.providers.nova.access import sdk as our_sdk
from rackactor_runtime.providers.nova.access.clocks import CloudClock
from rackactor_runtime.providers.nova.access.faults import status_of, words
from rackactor_runtime.providers.nova.access.logins import repeatable
from rackactor_runtime.providers.nova.marks import names as w

#: Seconds that a call may be without a byte of its answer, unless `api_timeout` of clouds.yaml says otherwise.
API_TIMEOUT = 30.0
#: Times that a supervisor's login is tried when Keystone gives no answer in that time: the cloud is there, or there
#: would be no such machine, and may be busy. Nothing is made by a login.
LOGINS = 2
#: The most connections to each service; further callers wait.
POOL = 24
#: What our calls are written for, whatever a clouds.yaml has as the default of others (`compute_default_microversion`):
#: later versions refuse or rename what these know.
MICROVERSIONS = {"compute": "2.1", "volume": "3.0"}
#: Seconds before a call is made again, with a new token, that was refused as unknown (401), though we are let in: a
#: service may not have a token yet, or may have lost those that it had. Nothing was done by such a call.
LET_IN_PAUSES = (0.3, 1.0, 2.0)
#: Items of a list in one answer: services have a bound of their own, which may be lower.
PAGE = 500


class Session:
    """The calls to a cloud's services, as plain JSON. Thread-safe.

    Args:
        cloud: a name in clouds.yaml; None: what the environment (`OS_*`) or clouds.yaml alone say.
        credential: in the place of both: `auth_url`, `application_credential_id`, `application_credential_secret`,
            and `region_name`, `interface`, `cacert`, `verify` where they matter.

    Raises:
        InvalidCall: there is no such cloud.
        StartError: the cloud refuses the login, or cannot be reached.

    Attributes:
        let_in_pauses: see `LET_IN_PAUSES`.
    """

    let_in_pauses: Sequence[float] = LET_IN_PAUSES

    def __init__(self, cloud: str | None = None, credential: Mapping[str, Any] | None = None) -> None:
        try:
            region = _region(cloud, credential)
            region.config["api_timeout"] = region.config.get("api_timeout") or API_TIMEOUT
            self.connection: Any = our_sdk.uncached(openstack.connection.Connection(config=region))
            adapter = TCPKeepAliveAdapter(pool_connections=8, pool_maxsize=POOL, pool_block=True)
            self.connection.session.session.mount("http://", adapter)
            self.connection.session.session.mount("https://", adapter)
            #: The cloud's time.
            self.clock = CloudClock()
            self.connection.session.session.hooks["response"].append(self._note_date)
            _log_in(self.connection, 1 if credential is None else LOGINS)
            # Made here, by one thread, not by several at once later.
            self._services = {name: getattr(self.connection, name) for name in ("compute", "network", "identity")}
            #: Where each service is.
            others = ("image", "block-storage", "object-store")
            self.base = {name: _endpoint(self.connection, name) for name in (*self._services, *others)}
            if self.base["block-storage"]:
                self._services["volume"] = self.connection.block_storage
        except sdk.ConfigException as error:
            raise InvalidCall(f"no such cloud: {error} (see clouds.yaml, or OS_CLIENT_CONFIG_FILE)") from error
        except (sdk.SDKException, auth.ClientException) as error:
            where = f"the cloud {cloud!r}" if cloud else "the cloud"
            raise StartError(f"{where} does not let us in: {words(error)}") from error
        for name in ("compute", "network", "image"):
            if not self.base[name]:
                raise StartError(f"the cloud has no {name} service in its catalogue")

    @property
    def project(self) -> str:
        """Return the id of the project that all this is in."""
        return str(self.connection.current_project_id)

    @property
    def region(self) -> str:
        """Return the name of the region that all this is in, "" where the cloud's catalogue names none."""
        config = self.connection.config
        named = config.get_region_name("compute")
        if named:
            return str(named)
        catalog = self.connection.session.auth.get_access(self.connection.session).service_catalog
        for each in catalog.get_endpoint_data_list("compute", interface=config.get_interface("compute")):
            if self.base["compute"].startswith(each.url.rstrip("/")):
                return str(each.region_name or "")
        return ""

    @property
    def scope(self) -> str:
        """Return what stands for the project and the region in names and descriptions."""
        return w.scope(self.project, self.region)

    @property
    def user(self) -> str:
        """Return the id of the user."""
        return str(self.connection.current_user_id)

    @property
    def roles(self) -> list[str]:
        """Return the names of the roles that we have in the project."""
        return list(self.connection.session.auth.get_access(self.connection.session).role_names)

    @property
    def kind(self) -> str:
        """Return the kind of login, in the words of clouds.yaml."""
        return str(self.connection.config.config.get("auth_type") or "password")

    @property
    def ends(self) -> float | None:
        """Return when the login ends, seconds since the epoch; None: the login can be repeated."""
        login, config = self.connection.session.auth, self.connection.config
        methods = config.get_auth_args().get("auth_methods") or ()
        if repeatable(self.kind, methods, renews=getattr(login, "reauthenticate", True)):
            return None
        expires = login.get_access(self.connection.session).expires
        return None if expires is None else float(expires.timestamp())

    def has(self, service: str) -> bool:
        """Tell whether the cloud has a service: "compute", "network", "identity" it has, "volume" it may."""
        return service in self._services

    def call(self, service: str, method: str, path: str, **more: Any) -> Any:
        """Make one call; return the JSON of its answer (None when there is none).

        It is made once, unless it was refused unread because the service did not know us.

        Raises:
            Exception: `faults.fault` says what it means.
        """
        for pause in self.let_in_pauses:
            try:
                return self._call(service, method, path, **more)
            except sdk.HttpException as error:  # not of Keystone's refusal to let us in: that is final
                if status_of(error) != 401:
                    raise
            time.sleep(pause)
            self.connection.session.invalidate()
        return self._call(service, method, path, **more)

    def _call(self, service: str, method: str, path: str, **more: Any) -> Any:
        adapter = self._services[service]
        if service in MICROVERSIONS:
            more.setdefault("microversion", MICROVERSIONS[service])
        answer = adapter.request(path, method, connect_retries=0, status_code_retries=0, **more)
        sdk.raise_from_response(answer)
        return answer.json() if answer.content else None

    def get(self, service: str, path: str, **more: Any) -> Any:
        """Read something; None when there is no such thing."""
        try:
            return self.call(service, "GET", path, **more)
        except sdk.NotFoundException:
            return None

    def delete(self, service: str, path: str) -> bool:
        """Have something deleted; tells whether it was gone already."""
        try:
            self.call(service, "DELETE", path)
        except sdk.NotFoundException:
            return True
        return False

    def list(self, service: str, path: str, *, key: str = "", **params: Any) -> list[dict[str, Any]]:
        """Read a whole list, page by page; `key`: what it is called in the answer, if not as in the path."""
        key = key or path.strip("/").split("/")[0].replace("-", "_").removeprefix("os_")
        found: list[dict[str, Any]] = []
        marker: dict[str, str] = {}
        while True:
            answer = self.call(service, "GET", path, params={**params, "limit": PAGE, **marker})
            page = answer[key]
            found += page
            if not page or f"{key}_links" not in answer:
                return found
            if not any(link["rel"] == "next" for link in answer[f"{key}_links"]):
                return found
            marker = {"marker": page[-1]["id"]}

    def _note_date(self, answer: Any, *args: Any, **more: Any) -> None:
        self.clock.note(answer.headers.get("Date"), answer.elapsed.total_seconds())

    def close(self) -> None:
        """Close the connections."""
        self.connection.session.session.close()
        self.connection.close()


def _endpoint(connection: Any, service: str) -> str:
    """Return the address of a service, "" if there is none."""
    config = connection.config
    try:
        if not config.get_endpoint(service):  # a look first: the SDK warns of what is not there
            where = {"interface": config.get_interface(service), "region_name": config.get_region_name(service)}
            connection.session.get_endpoint(service_type=service, **where)
        return str(config.get_session_endpoint(service) or "")
    except auth.EndpointNotFound:
        return ""


def _log_in(connection: Any, times: int) -> None:
    for left in reversed(range(times)):
        try:
            connection.session.get_token()
            return
        except auth.ConnectTimeout:
            if not left:
                raise


def _region(cloud: str | None, credential: Mapping[str, Any] | None) -> Any:
    app: dict[str, Any] = {"app_name": "rackactor", "app_version": __version__}
    if credential is None:
        return openstack.config.get_cloud_region(cloud=cloud, **app)
    keys = ("auth_url", "application_credential_id", "application_credential_secret")
    missing = [key for key in keys if not credential.get(key)]
    if missing:
        raise InvalidCall(f"the setting 'credential' lacks {', '.join(missing)}")
    more = {key: value for key, value in credential.items() if key not in keys}
    return openstack.config.get_cloud_region(
        load_yaml_config=False,
        load_envvars=False,
        auth_type="v3applicationcredential",
        auth={key: credential[key] for key in keys},
        **more,
        **app,
    )
