"""What a machine is told at its birth, and the script that tells it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rackactor.kernel.transport.sockets import Keys
from rackactor_runtime.guest import power
from rackactor_runtime.guest.birth import BirthError, MachineBirth, SupervisorBirth, parse
from rackactor_runtime.providers.machines.userdata import script

KEYS = Keys.make()
MACHINE: dict[str, Any] = {
    "role": "machine",
    "endpoint": "tcp://10.0.0.1:7710",
    "server_key": KEYS.public.decode(),
    "pid": 4,
    "incarnation": 1,
    "token": "00ff",
    "deadline": None,
    "lease": 30,
    "boot_timeout": 300.0,
}
SUPERVISOR: dict[str, Any] = {
    "role": "supervisor",
    "port": 7710,
    "public": KEYS.public.decode(),
    "secret": KEYS.secret.decode(),
    "client": KEYS.public.decode(),
    "deadline": 2e9,
    "patience": 300,
}


def test_good_ones() -> None:
    machine = parse(json.dumps(MACHINE))
    assert isinstance(machine, MachineBirth)
    assert (machine.token, machine.lease, machine.poweroff, machine.deadline) == (b"\0\xff", 30.0, True, None)
    supervisor = parse(json.dumps({**SUPERVISOR, "poweroff": False}))
    assert isinstance(supervisor, SupervisorBirth)
    assert (supervisor.port, supervisor.secret, supervisor.deadline) == (7710, KEYS.secret, 2e9)
    assert not supervisor.poweroff


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "started by a machine's user-data"),
        ("{", "no JSON"),
        ("[]", "a JSON object"),
        ("{}", "have a role"),
        ('{"role": "king"}', "not 'king'"),
    ],
)
def test_no_birth_at_all(text: str, words: str) -> None:
    with pytest.raises(BirthError, match=words):
        parse(text)


@pytest.mark.parametrize(
    "birth, name, values",
    [
        (MACHINE, "endpoint", [None, 5, "ipc:///tmp/x", "tcp://host"]),
        (MACHINE, "server_key", [None, "short", "ä" * 40]),
        (MACHINE, "pid", [0, "4", True, 1 << 40]),
        (MACHINE, "token", [None, "xyz"]),
        (MACHINE, "lease", [0, "30", float("inf"), True]),
        (MACHINE, "deadline", ["soon", -1]),
        (MACHINE, "poweroff", [0, "no"]),
        (SUPERVISOR, "port", [0, 70000, "7710"]),
        (SUPERVISOR, "client", [None]),
        (SUPERVISOR, "patience", [-5]),
    ],
)
def test_what_is_wrong_is_named(birth: dict[str, Any], name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(BirthError, match=name):
            parse(json.dumps({**birth, name: value}))


def test_a_secret_that_is_no_key_is_not_shown() -> None:
    with pytest.raises(BirthError) as caught:
        parse(json.dumps({**SUPERVISOR, "secret": "too short, but secret"}))
    assert "too short" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_a_machine_without_a_network_says_so() -> None:
    birth = json.dumps({**MACHINE, "endpoint": "tcp://192.0.2.1:7710", "boot_timeout": 0.5, "poweroff": False})
    words = ["unshare", "--net", sys.executable, "-m", "rackactor_runtime.guest"]
    done = subprocess.run(words, input=birth, capture_output=True, text=True, timeout=120)
    assert "not joined yet: this machine has no way to tcp://192.0.2.1:7710 (Network is unreachable)" in done.stderr
    assert done.returncode == power.OVERDUE


# -- the script ------------------------------------------------------------------------------------------


def run(text: str, place: Path, **programs: str) -> str:
    """Run a script with nothing but these programs, and the shell's own; return what it said."""
    place.mkdir(exist_ok=True)
    for name, body in {"cat": '#!/bin/sh\nexec /bin/cat "$@"', "sleep": "#!/bin/sh\n", **programs}.items():
        (place / name.replace("_", "-")).write_text(body)
        (place / name.replace("_", "-")).chmod(0o755)
    text = text.replace(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "")
    done = subprocess.run(
        ["/bin/sh", "-c", text], env={"PATH": str(place)}, capture_output=True, text=True, timeout=120
    )
    return done.stdout + done.stderr


def test_it_starts_the_guest_program_and_powers_off(tmp_path: Path) -> None:
    birth = {**MACHINE, "strange": 'it\'s $HOME `date` \\ "quoted"\nRACKACTOR_BIRTH\nä'}
    said = run(
        script(birth),
        tmp_path / "bin",
        rackactor_guest=f"#!/bin/sh\n/bin/cat > {tmp_path}/birth\nexit 7",
        rackactor_poweroff="#!/bin/sh\necho off",
    )
    assert json.loads((tmp_path / "birth").read_text()) == birth
    assert said.splitlines() == ["rackactor: the guest program ended with code 7", "off"]


def test_it_says_what_an_image_lacks(tmp_path: Path) -> None:
    said = run(script(MACHINE), tmp_path / "bin", poweroff="#!/bin/sh\necho off")
    assert "this image has no rackactor-guest" in said
    assert said.splitlines()[-1] == "off"
    assert "nothing here can power this machine off" in run(script(MACHINE), tmp_path / "empty")
    assert "off" not in run(script({**MACHINE, "poweroff": False}), tmp_path / "bin").splitlines()


def test_it_installs_what_an_image_lacks(tmp_path: Path) -> None:
    place = tmp_path / "bin"
    programs = {"timeout": '#!/bin/sh\nshift 3\nexec "$@"', "sh": '#!/bin/sh\nexec /bin/sh "$@"'}
    make = f"it='s'; echo \"installing $it\"; printf '#!/bin/sh\\necho lives' >{place}/rackactor-guest"
    said = run(script(MACHINE, f"{make}; /bin/chmod +x {place}/rackactor-guest"), place, **programs)
    assert said.splitlines()[:4] == [
        "rackactor: installing what this image lacks",
        "installing s",
        "lives",
        "rackactor: the guest program ended with code 0",
    ]
    assert "installing" not in run(script(MACHINE, "echo installing"), place)  # it has one now


def test_an_installation_that_fails_or_hangs_is_told_and_the_machine_ends(tmp_path: Path) -> None:
    programs = {"timeout": '#!/bin/sh\nexec /usr/bin/timeout "$@"', "sh": '#!/bin/sh\nexec /bin/sh "$@"'}
    programs |= {"poweroff": "#!/bin/sh\necho off"}
    said = run(script(MACHINE, "echo no network >&2; exit 4"), tmp_path / "bin", **programs).splitlines()
    assert "rackactor: the installation ended with code 4" in said
    assert any("this image has no rackactor-guest" in line for line in said)
    assert "off" in said
    said = run(script({**MACHINE, "boot_timeout": 0.9}, "/bin/sleep 60"), tmp_path / "bin", **programs).splitlines()
    assert "rackactor: the installation ended with code 137" in said
    assert "off" in said


def test_it_is_small_enough_for_every_cloud() -> None:
    assert script(MACHINE).startswith("#!/bin/sh\n")
    assert len(script(SUPERVISOR)) < 4096  # user-data may have 64 KiB in Nova, 16 KiB elsewhere
    with pytest.raises(ValueError, match="plain JSON"):
        script({"token": b"bytes"})
