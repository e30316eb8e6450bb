"""The pure parts of the provider nova: names and metadata, faults, settings, rights, removal, and what gc may take."""

from __future__ import annotations

import itertools
import re
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("openstack")

from openstack import exceptions as sdk

from rackactor.errors import InvalidCall
from rackactor_runtime.providers.machines.provider import CloudFault
from rackactor_runtime.providers.nova import gc
from rackactor_runtime.providers.nova.access.faults import fault
from rackactor_runtime.providers.nova.lookup import choose
from rackactor_runtime.providers.nova.marks import names as w
from rackactor_runtime.providers.nova.marks import removal
from rackactor_runtime.providers.nova.marks.found import KINDS, Found
from rackactor_runtime.providers.nova.provider.resources import fits
from rackactor_runtime.providers.nova.provider.routes import routed
from rackactor_runtime.providers.nova.provider.rules import access_rules
from rackactor_runtime.providers.nova.provider.settings import NovaSettings

gids = st.uuids(version=4).map(str)
GID = "01234567-89ab-4cde-8f01-23456789abcd"
NOW = 1_800_000_000.0


# -- names and metadata ------------------------------------------------------------------------------------


@given(gids, st.sampled_from(["net", "subnet", "router", "sg", "key", "apart", "cred"]), st.integers(0, 2**32 - 1))
def test_a_name_says_whose_it_is_and_since_when(gid: str, kind: str, made: int) -> None:
    assert w.claim(w.resource(gid, kind, made)) == w.Claim(gid[:12], made)


@given(gids, st.integers(0, 2**40), st.none() | st.integers(0, 2**40))
def test_so_does_a_description(gid: str, made: int, deadline: int | None) -> None:
    assert w.claim("", w.description(gid, made, deadline)) == w.Claim(gid[:12], made, deadline)


@given(gids, st.integers(1, 2**32), st.text())
def test_a_server_s_name_is_a_host_name_that_says_whose_it_is(gid: str, pid: int, name: str) -> None:
    made = w.server(gid, pid, name)
    assert len(made) <= w.MAX_NAME
    assert all(each.isascii() and (each.isalnum() or each == "-") for each in made)
    assert w.claim(made) == w.Claim(gid[:12])
    assert made.startswith(f"{w.prefix(gid)}-{pid}")


@given(st.text(), st.text())
def test_what_is_not_ours_is_nobody_s(name: str, text: str) -> None:
    assert w.claim(name, text) is None or name.startswith("rack-") or text.startswith("rackactor gid=")


@given(
    gids, st.integers(2, 2**32), st.integers(0, 2**32), st.dictionaries(st.text(), st.text(max_size=400), max_size=200)
)
def test_metadata_are_what_nova_takes(gid: str, pid: int, ppid: int, args: dict[str, str]) -> None:
    made = w.metadata(gid, pid, ppid, f"{gid}.{pid}.1", args=args, proxy_ip="10.0.0.1", deadline=NOW)
    assert len(made) <= w.MAX_ITEMS
    for name, value in made.items():
        assert 0 < len(name) <= 255
        assert len(value.encode()) <= w.MAX_VALUE
        assert name in ("gid", "pid", "ppid", "proxy_ip") or name.startswith("rack_") or args[name] == value
    assert (made["gid"], made["pid"], made["rack_key"]) == (gid, str(pid), f"{gid}.{pid}.1")
    assert w.deadline_of(made) == NOW


def test_arguments_neither_replace_what_is_ours_nor_are_cut() -> None:
    args = {"gid": "other", "rack_key": "other", "long": "x" * 256, "wide": "é" * 128, "odd!": "v", "good": "é" * 127}
    made = w.metadata(GID, 5, 2, "key", args=args)
    assert made == {"gid": GID, "pid": "5", "ppid": "2", "rack_mark": w.MARK, "rack_key": "key", "good": "é" * 127}


# -- faults ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status, details, kind",
    [
        (403, "Quota exceeded for cores: Requested 1, but already used 20 of 20 cores", "quota"),
        (400, "Can not find requested image", "image"),
        (400, "Flavor nope could not be found.", "flavor"),
        (400, "Invalid key_name provided.", "keypair"),
        (400, "The requested availability zone is not available", "availability-zone"),
        (409, "Something is the matter", "refused"),
        (413, "too large", "quota"),
        (429, "slow down", "busy"),
        (401, "who are you", "credential"),
        (500, "oops", "unclear"),
        (503, "later", "unclear"),
    ],
)
def test_a_fault_has_a_kind_and_the_provider_s_words(status: int, details: str, kind: str) -> None:
    error = sdk.HttpException("x", details=details, http_status=status)
    assert fault(error).kind == kind
    assert str(fault(error)) == details


def test_words_are_found_in_a_body_of_json() -> None:
    error = sdk.HttpException("x", details='{"NeutronError": {"message": "Network in use"}}', http_status=409)
    assert str(fault(error)) == "Network in use"


def test_what_nobody_answered_is_unclear() -> None:
    assert fault(ConnectionResetError("reset by peer")).kind == "unclear"
    assert fault(KeyError("server")).kind == "unclear"
    own = CloudFault("image", "none")
    assert fault(own) is own


# -- settings ---------------------------------------------------------------------------------------------


def test_settings_that_are_good() -> None:
    made = NovaSettings.parse(
        {
            "cloud": "mine",
            "security_groups": "web, db",
            "allow_from": "192.0.2.7",
            "keypair": True,
            "floating_ip": False,
        }
    )
    assert made.security_groups == ("web", "db")
    assert made.allow_from == ("192.0.2.7/32",)
    assert made.keypair is None
    assert NovaSettings.parse({}).image == "rackactor"


@pytest.mark.parametrize(
    "name, value",
    [
        ("colour", "blue"),
        ("image", ""),
        ("image", 5),
        ("flavor", []),
        ("floating_ip", "yes"),
        ("floating_ip", 1),
        ("allow_from", "everybody"),
        ("cidr", "10.0.0.0/30"),
        ("cidr", ["10.0.0.0/24", "10.0.1.0/24"]),
        ("port", 0),
        ("port", True),
        ("boot_concurrency", 0),
        ("boot_timeout", -1),
        ("anti_affinity", "yes"),
        ("security_groups", [1]),
        ("credential", {"application_credential_id": "x"}),
    ],
)
def test_a_setting_that_cannot_be_is_named(name: str, value: Any) -> None:
    with pytest.raises(InvalidCall, match=name):
        NovaSettings.parse({name: value})


def test_a_secret_is_not_shown() -> None:
    with pytest.raises(InvalidCall) as caught:
        NovaSettings.parse({"credential": {"application_credential_secret": "hidden"}})
    assert "hidden" not in str(caught.value)


def test_a_choice_says_what_there_is() -> None:
    there = [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}, {"id": "3", "name": "b"}]
    assert choose("image", "a", there)["id"] == "1"
    assert choose("image", "3", there)["id"] == "3"
    with pytest.raises(CloudFault, match="several") as caught:
        choose("image", "b", there)
    assert caught.value.kind == "image"
    with pytest.raises(CloudFault, match=r"no security group 'c'; it has: a, b") as caught:
        choose("security group", "c", there)
    assert caught.value.kind == "security-group"


def test_an_image_fits_into_a_flavor_or_not() -> None:
    image = {"min_ram": 256, "min_disk": 0, "size": (2 << 30) + 1}
    assert fits({"ram": 256, "disk": 3}, image)
    assert fits({"ram": 256, "disk": 0}, image)
    assert not fits({"ram": 256, "disk": 2}, image)
    assert not fits({"ram": 128, "disk": 9}, image)


# -- rights, reach ------------------------------------------------------------------------------------------


def test_rules_are_for_the_paths_that_services_see() -> None:
    bases = {"compute": "https://cloud.example/compute/v2.1", "network": "http://10.0.0.1:9696", "image": "http://i/"}
    rules = access_rules(bases, {"network": "/v2.0", "image": "/v2"})
    paths = {(rule["service"], rule["method"], rule["path"]) for rule in rules}
    assert {("compute", "POST", "/v2.1/servers"), ("compute", "POST", "/compute/v2.1/servers")} <= paths
    assert {("network", "DELETE", "/v2.0/ports/*"), ("image", "GET", "/v2/**")} <= paths
    assert not any(rule["service"] == "identity" for rule in rules)
    assert not any(
        rule["method"] == "DELETE" and "ports" not in rule["path"] and "servers" not in rule["path"] for rule in rules
    )


def test_a_route_that_leads_just_there() -> None:
    table = (
        "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
        "eth0 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0\n"
        "eth1 004D0A0A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
    )
    assert routed("10.10.77.9", table)
    assert not routed("10.10.78.9", table)
    assert not routed("8.8.8.8", table)


# -- removal --------------------------------------------------------------------------------------------------


class Cloud:
    """What there is, what holds what, and how many times each must be asked."""

    def __init__(self, kinds: list[str], stubborn: int = 1) -> None:
        self.there = dict.fromkeys(kinds, stubborn)
        self.now = 0.0
        self.order: list[str] = []

    def take(self) -> list[Found]:
        made = [Found(kind, kind, kind, w.Claim("x"), remove=lambda k=kind: self.delete(k)) for kind in self.there]  # type: ignore[misc]
        return sorted(made, key=lambda each: KINDS.index(each.kind))

    def delete(self, kind: str) -> None:
        holders = {"network": ("server", "port", "router", "subnet"), "security group": ("server", "port")}
        holders |= {"subnet": ("router", "port", "server"), "router": ("floating IP",)}
        if any(each in self.there for each in holders.get(kind, ())):
            raise sdk.ConflictException("x", details=f"{kind} in use", http_status=409)
        self.there[kind] -= 1
        if not self.there[kind]:
            del self.there[kind]
            self.order.append(kind)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@given(st.lists(st.sampled_from(KINDS), unique=True), st.integers(1, 4))
def test_everything_goes_whatever_there_is(kinds: list[str], stubborn: int) -> None:
    cloud = Cloud(kinds, stubborn)
    assert removal.remove(cloud.take, 100, cloud.sleep, lambda: cloud.now) == ([], {})
    assert sorted(cloud.order) == sorted(kinds)


def test_what_does_not_go_is_told_with_the_provider_s_words() -> None:
    cloud = Cloud(["port", "network"], 10_000)
    left, words = removal.remove(cloud.take, 5, cloud.sleep, lambda: cloud.now)
    assert [each.kind for each in left] == ["port", "network"]
    assert words == {"network": "network in use"}


def test_without_lists_nothing_is_said_to_be_gone() -> None:
    cloud = Cloud(["port"])
    answers = itertools.chain([cloud.take()], itertools.repeat(None))

    def take() -> list[Found]:
        found = next(answers)
        if found is None:
            raise sdk.HttpException("x", details="down", http_status=503)
        return found

    left, words = removal.remove(take, 5, cloud.sleep, lambda: cloud.now)
    assert [each.kind for each in left] == ["port"]
    assert "down" in words[""]


# -- gc -----------------------------------------------------------------------------------------------------

G1, G2 = "11111111-111", "22222222-222"


def found(kind: str, gid12: str = G1, made: float | None = NOW - 5000, **more: Any) -> Found:
    deadline = more.pop("deadline", None)
    return Found(kind, f"{kind}-{gid12}", kind, w.Claim(gid12, made, deadline), **more)


def swept(*things: Found, gids: tuple[str, ...] = ()) -> list[str]:
    return [each.id for each, _ in gc.unclaimed(things, NOW, gids)]


@pytest.mark.parametrize("status", ["ACTIVE", "BUILD", "REBOOT", "PAUSED", "UNKNOWN"])
def test_a_group_with_a_supervisor_claims_what_is_its_own(status: str) -> None:
    assert (
        swept(found("server", supervisor=True, status=status), found("network"), found("server", status="ERROR")) == []
    )


@pytest.mark.parametrize("status", ["SHUTOFF", "ERROR"])
def test_a_group_whose_supervisor_does_not_run_claims_nothing(status: str) -> None:
    things = [found("server", supervisor=True, status=status), found("network"), found("network", G2, NOW - 10)]
    assert swept(*things) == [f"server-{G1}", f"network-{G1}"]


def test_a_group_in_the_making_is_left_alone() -> None:
    assert swept(found("network", made=NOW - 300), found("key pair", made=NOW - 300)) == []
    assert swept(found("network", made=NOW - 3000), found("key pair", made=None)) == [f"network-{G1}", f"key pair-{G1}"]


def test_a_deadline_ends_every_claim_with_some_margin() -> None:
    living = {"supervisor": True, "status": "ACTIVE"}
    assert swept(found("server", deadline=NOW - 60, **living)) == []
    assert swept(found("server", deadline=NOW - 700, **living)) == [f"server-{G1}"]
    # That of a process is not the group's.
    assert swept(found("server", **living), found("server", deadline=NOW - 9000, status="ACTIVE")) == []


def test_who_names_a_group_means_that_one_only() -> None:
    living = found("server", supervisor=True, status="ACTIVE")
    dead = found("network", G2)
    assert swept(living, dead, gids=(G1 + "-and-more",)) == [f"server-{G1}"]


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from([G1, G2]), st.booleans(), st.floats(0, 1e6))))
def test_a_living_supervisor_s_group_is_never_swept(rows: list[tuple[str, str, bool, float]]) -> None:
    things = [found(kind, gid12, NOW - age, supervisor=first, status="ACTIVE") for kind, gid12, first, age in rows]
    living = {each.claim.gid12 for each in things if each.supervisor}
    assert not any(each.claim.gid12 in living for each, _ in gc.unclaimed(things, NOW))


def test_gc_refuses_what_is_no_gid(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gc.main(["--cloud", "x", "1234"])
    assert "no gid" in capsys.readouterr().err
    assert gc.main(["--cloud", f"none-{uuid.uuid4()}", "--dry-run"]) == 1
    told = capsys.readouterr().err
    assert re.fullmatch("rack: no such cloud: .*\n", told), told
