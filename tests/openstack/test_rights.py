"""What a group's machines may do on a real cloud, and to each other."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from cloudgroups import PIPE_SCRIPT, a_program, active, of_group

from rackactor_runtime.providers.nova import deletes
from rackactor_runtime.providers.nova.provider.resources import Resources, plan
from rackactor_runtime.providers.nova.provider.settings import NovaSettings
from rackactor_runtime.providers.nova.session import Session

pytestmark = pytest.mark.usefixtures("no_idle_connections")

#: How many numbers go through the pipe.
COUNT = 20_000


@pytest.fixture
def limited(settings: dict[str, Any]) -> Iterator[Session]:
    """Return a session with the credential that a supervisor gets."""
    mine = NovaSettings.parse(settings)
    own = Session(mine.cloud)
    said: list[str] = []
    resources = Resources(own, str(uuid.uuid4()), time.time(), None, mine, plan(own, mine))
    given = resources.credential(said.append)
    session = Session(credential=given)
    try:
        assert said == [], "without access rules"
        yield session
    finally:
        session.close()
        path = f"/users/{own.user}/application_credentials/{given['application_credential_id']}"
        deletes.credential(own, own.call("identity", "GET", path)["application_credential"])
        own.close()


def test_a_supervisor_s_credential_does_what_it_needs_and_no_more(limited: Session) -> None:
    limited.let_in_pauses = ()  # a refusal by access rules is a 401, which is not to be waited out here
    limited.call("compute", "GET", "/servers/detail")
    limited.call("network", "GET", "/ports")
    refused = [
        ("compute", "GET", "/os-keypairs"),
        ("compute", "POST", "/os-keypairs"),
        ("compute", "POST", "/os-server-groups"),
        ("network", "POST", "/networks"),
        ("network", "DELETE", f"/security-groups/{uuid.uuid4()}"),
        ("network", "POST", "/floatingips"),
    ]
    for service, method, path in refused:
        with pytest.raises(Exception, match=r"40[13]"):
            limited.call(service, method, path, **({"json": {}} if method == "POST" else {}))


def test_no_machine_carries_a_right(settings: dict[str, Any], cloud: Any, admin: Any) -> None:
    """Neither metadata nor user-data of a server, which only an administrator sees, hold what lets into the cloud."""
    with a_program(settings, "sleep 600") as program:
        program.hear("up")
        active(cloud, program.gid, program.hear("forked")["pid"])
        assert any(kind.startswith("application credential") for kind in of_group(cloud, program.gid))
        (made,) = [
            each
            for each in cloud.identity.application_credentials(cloud.current_user_id)
            if program.gid[:12] in each.name
        ]
        rows = [row for row in cloud.compute.servers() if row.metadata.get("gid") == program.gid]
        assert len(rows) == 2
        for row in rows:
            data = base64.b64decode(admin.compute.get_server(row.id).user_data).decode()
            assert "RACKACTOR_BIRTH" in data
            for text in (data, str(row.metadata)):
                assert made.id not in text
                assert "application_credential" not in text


def test_a_credential_that_was_made_beforehand(settings: dict[str, Any], cloud: Any) -> None:
    """Who logs in by an application credential may make no other: the one that is given is used, and stays."""
    name = f"trial-{uuid.uuid4().hex[:8]}"
    given = cloud.identity.create_application_credential(cloud.current_user_id, name, roles=[{"name": "member"}])
    pair = {"application_credential_id": given.id, "application_credential_secret": given.secret}
    try:
        with a_program({**settings, "credential": pair}) as program:
            program.hear("up")
            assert not any(kind.startswith("application credential") for kind in of_group(cloud, program.gid))
            assert program.hear("status")["code"] == 7
            program.hear("ended")
            assert not of_group(cloud, program.gid)
        assert cloud.identity.get_application_credential(cloud.current_user_id, given.id).name == name
    finally:
        cloud.identity.delete_application_credential(cloud.current_user_id, given)


@pytest.mark.parametrize("open_way", [True, False])
def test_a_pipe_finds_its_way(settings: dict[str, Any], cloud: Any, open_way: bool) -> None:
    """Directly, or, where a security group forbids that, through the supervisor."""
    with a_program(settings, str(COUNT), PIPE_SCRIPT) as program:
        program.hear("up")
        (group,) = [each for each in cloud.network.security_groups() if program.gid[:12] in each.name]
        if not open_way:
            for rule in cloud.network.security_group_rules(security_group_id=group.id, direction="ingress"):
                if rule.remote_group_id is not None:
                    cloud.network.delete_security_group_rule(rule)
        program.go_on()
        said = program.hear("read")
        assert said["way"] is open_way
        assert said["total"] == sum(range(COUNT))
        program.hear("ended")
        assert not of_group(cloud, program.gid)
