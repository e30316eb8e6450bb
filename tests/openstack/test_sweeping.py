"""`rack gc` and the end of groups on a real cloud, beside what is not theirs, and what no list shows by its name."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloudgroups import BEGIN, a_program, active, eventually, of_group
from cloudrack import BIN

from rackactor_runtime.providers.nova import gc
from rackactor_runtime.providers.nova.lookup import Finder
from rackactor_runtime.providers.nova.provider.resources import Plan, Resources
from rackactor_runtime.providers.nova.provider.settings import NovaSettings
from rackactor_runtime.providers.nova.session import Session

pytestmark = pytest.mark.usefixtures("no_idle_connections")

#: Seconds that a sweep may take: two looks, and the removal.
SWEEP = 60.0 + 240.0
#: Seconds in which a supervisor lists its machines twice, if nothing happens.
LISTS = 25.0

#: A process that answers, and another that is forked when everything else has happened.
ANSWERING = """
import time

def answer():
    while True:
        rack.receive(None).reply("here")

with rack.group("trial", cloud=settings.pop("cloud"), deadline="20m", provider_settings=settings) as group:
    say("up", gid=group.gid, keeper=group._supervisor.pid)
    child = group.fork(answer)
    say("heard", pid=child.pid, text=child.ask("are you there?", timeout=150))
    for line in sys.stdin:
        if line.strip():
            break
        say("heard", pid=child.pid, text=child.ask("are you there?", timeout=30))
    again = group.fork(["sh", "-c", "exit 7"])
    say("again", code=again.wait(timeout=150).code)
say("ended")
"""

#: A process that is heard all the time; its program tells what it hears last.
CHATTING = """
import time

def chat():
    parent = rack.process(rack.getppid())
    while True:
        parent.tell("here")
        time.sleep(0.1)

with rack.group("trial", cloud=settings.pop("cloud"), deadline="20m", provider_settings=settings) as group:
    say("up", gid=group.gid, keeper=group._supervisor.pid)
    child = group.fork(chat)
    say("heard", pid=child.pid, text=rack.receive(timeout=150).value)
    last = time.monotonic()
    while child.is_alive():
        try:
            rack.receive(timeout=0.2)
            last = time.monotonic()
        except rack.RackTimeout:
            pass
    status = child.wait(timeout=30)
    say("status", cause=str(status.cause), evidence=status.evidence, silent=time.monotonic() - last)
say("ended")
"""


@pytest.fixture
def second(admin: Any, cloud: Any, cloud_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the name of a cloud that is another project of the same user."""
    yaml = pytest.importorskip("yaml")
    from openstack.config import OpenStackConfig

    name = f"trial-{uuid.uuid4().hex[:8]}"
    project = admin.identity.create_project(name=name, domain_id="default")
    user = admin.identity.get_user(cloud.current_user_id)
    for role in admin.identity.roles():
        if role.name in ("member", "reader"):
            admin.identity.assign_project_role_to_user(project, user, role)
    clouds = yaml.safe_load(Path(OpenStackConfig().config_filename).read_text())
    mine = clouds["clouds"][cloud_name]
    auth = {key: value for key, value in mine["auth"].items() if key not in ("project_name", "project_id")}
    clouds["clouds"][name] = {**mine, "auth": {**auth, "project_id": project.id}}
    clouds["clouds"][name]["auth"].pop("project_domain_name", None)
    written = tmp_path / "clouds.yaml"
    written.write_text(yaml.safe_dump(clouds))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(written))
    yield name
    for group in admin.network.security_groups(project_id=project.id):
        admin.network.delete_security_group(group)  # the default one, which Neutron has made
    admin.identity.delete_project(project)


@pytest.fixture
def own_key(cloud: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a home directory with a public key in it, so that a group makes a key pair."""
    made = cloud.compute.create_keypair(name=f"trial-{uuid.uuid4().hex[:8]}")
    cloud.compute.delete_keypair(made)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/id_rsa.pub").write_text(made.public_key)
    monkeypatch.setenv("HOME", str(tmp_path))


def sweep(cloud_name: str, *words: str) -> str:
    """Run `rack gc`, and return what it printed."""
    command = [str(BIN / "rack"), "gc", "--cloud", cloud_name, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SWEEP, env={**os.environ}, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def leave_something(cloud_name: str, network: str) -> str:
    """Have what a launch leaves that was killed some time ago; return its gid."""
    gid, session = str(uuid.uuid4()), Session(cloud_name)
    try:
        settings = NovaSettings.parse({"cloud": cloud_name, "network": network, "anti_affinity": True})
        found = Plan("", "", "", Finder(session).record("network", network), None, (), {})
        made = session.clock.now() - gc.MAKING - 300.0
        resources = Resources(session, gid, made, None, settings, found)
        resources.security_group()
        resources.server_group()
        resources.keypair()
        resources.credential(lambda text: None)
    finally:
        session.close()
    return gid


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("own_key")
def test_a_sweep_of_one_project_beside_a_living_group_of_another(
    second: str, settings: dict[str, Any], cloud: Any
) -> None:
    """Key pairs and application credentials of both are listed in both."""
    over = leave_something(second, settings["network"])
    with a_program(settings, text=ANSWERING) as program:
        program.hear("heard")
        before = of_group(cloud, program.gid)
        assert {kind.split(" rack-")[0] for kind in before} >= {"keypair", "application credential", "server"}
        listed = of_group(cloud, over)
        assert {kind.split(" rack-")[0] for kind in listed} == {"keypair", "application credential"}
        told = sweep(second)
        assert over[:12] in told
        assert program.gid[:12] not in told
        assert not of_group(cloud, over)
        assert of_group(cloud, program.gid) == before
        program.go_on("go on")
        assert program.hear("again")["code"] == 7, "its key pair and its supervisor's right are needed for that"
        program.hear("ended")
        assert not of_group(cloud, program.gid)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("own_key")
def test_a_sweep_of_the_living_group_s_project_takes_what_is_over_there(
    second: str, settings: dict[str, Any], cloud: Any, cloud_name: str
) -> None:
    elsewhere, here = leave_something(second, settings["network"]), leave_something(cloud_name, settings["network"])
    with a_program(settings, text=ANSWERING) as program:
        program.hear("heard")
        before, others = of_group(cloud, program.gid), of_group(cloud, elsewhere)
        assert here[:12] in sweep(cloud_name)
        assert not of_group(cloud, here)
        assert (of_group(cloud, program.gid), of_group(cloud, elsewhere)) == (before, others)
    sweep(second, elsewhere)
    assert not of_group(cloud, elsewhere)


def servers_of(cloud: Any, gid: str) -> list[Any]:
    """Return a group's servers, whatever they are called."""
    return [row for row in cloud.compute.servers() if row.metadata.get("gid") == gid]


@pytest.mark.timeout(600)
def test_servers_that_were_renamed(settings: dict[str, Any], cloud: Any, cloud_name: str) -> None:
    """They live on, a sweep spares their group, and its end finds them."""
    with a_program(settings, text=ANSWERING) as program:
        pid = program.hear("heard")["pid"]
        active(cloud, program.gid, pid)
        for number, row in enumerate(servers_of(cloud, program.gid)):
            cloud.compute.update_server(row, name=f"precious-{number}")
        until = time.monotonic() + LISTS
        while time.monotonic() < until:
            program.go_on()
            assert program.hear("heard")["text"] == "here"
            time.sleep(1.0)
        assert program.gid[:12] not in sweep(cloud_name)
        assert len(servers_of(cloud, program.gid)) == 2
        program.go_on("go on")
        assert program.hear("again")["code"] == 7
        program.hear("ended")
        assert program.process.wait(60) == 0
        assert not servers_of(cloud, program.gid)
        assert not of_group(cloud, program.gid)


@pytest.mark.timeout(600)
def test_a_server_that_is_deleted_by_hand_while_its_agent_is_heard(settings: dict[str, Any], cloud: Any) -> None:
    with a_program(settings, text=CHATTING) as program:
        pid = program.hear("heard")["pid"]
        cloud.compute.delete_server(active(cloud, program.gid, pid))
        told = program.hear("status")
        assert told["cause"] == "deleted-outside", told
        assert told["silent"] < 60.0, told
        program.hear("ended")
        assert not servers_of(cloud, program.gid)
        assert not of_group(cloud, program.gid)


@pytest.mark.timeout(600)
def test_what_others_have_under_the_group_s_security_group(settings: dict[str, Any], cloud: Any) -> None:
    """A port that somebody has made for a server of his own stays, without our security group."""
    network = cloud.network.find_network(settings["network"])
    port = None
    try:
        with a_program(settings) as program:
            program.hear("up")
            (group,) = [each for each in cloud.network.security_groups() if program.gid[:12] in each.name]
            port = cloud.network.create_port(network_id=network.id, name="precious", security_groups=[group.id])
            assert program.hear("status")["code"] == 7
            program.hear("ended")
        assert eventually(lambda: not of_group(cloud, program.gid), 10)
        (default,) = cloud.network.security_groups(name="default", project_id=cloud.current_project_id)
        assert cloud.network.get_port(port.id).security_group_ids == [default.id]
    finally:
        if port is not None:
            cloud.network.delete_port(port)


@pytest.mark.timeout(300)
def test_the_cloud_says_what_time_it_is(cloud_name: str, cloud: Any, settings: dict[str, Any]) -> None:
    session = Session(cloud_name)
    try:
        assert abs(session.clock.skew) < 5.0
        assert session.scope
        with a_program(settings, "sleep 600") as program:
            program.hear("up")
            (row,) = [each for each in servers_of(cloud, program.gid) if each.metadata["pid"] == "1"]
            left = float(row.metadata["rack_deadline"]) - session.clock.now()
            assert 0.0 < left <= 1200.0 + BEGIN
    finally:
        session.close()
