"""A guest image, whoever has built it, booted without a cloud: does it do what a process's machine has to do?

`RACK_TEST_DISK=build/images/rackactor.qcow2 pytest tests/integration/providers/test_emulated.py`, as root. Nothing but
the group is reached from the machine, so an image that fetches something at its boot does not pass.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import emulated
import pytest
import targets
from netlab import Lab, hindrance
from support import eventually

import rackactor as rack

DISK = "RACK_TEST_DISK"
#: Seconds of a boot: a whole system takes minutes on an emulated processor.
BOOT = 600.0

pytestmark = [
    pytest.mark.skipif(DISK not in os.environ, reason=f"needs {DISK}: a guest image in QEMU's format"),
    pytest.mark.timeout(2 * BOOT),
]


@pytest.fixture
def group(tmp_path: Path) -> Iterator[rack.Group]:
    missing = sorted(package for tool, package in emulated.TOOLS.items() if shutil.which(tool) is None)
    if why := hindrance() or (missing and f"apt-get install {' '.join(missing)}"):
        pytest.skip(str(why))
    image = emulated.Image(str(Path(os.environ[DISK]).resolve()))
    with Lab(1) as lab:
        yard = emulated.EmulatedYard(tmp_path / "yard", tuple(lab.names), image)
        try:
            options = emulated.options(yard, lab.address)
            with rack.group("emulated", **options, boot_timeout=BOOT, echo=False) as made:
                yield made
            assert yard.machines() == []
        finally:
            yard.clear()


def test_a_command_is_a_process_and_its_machine_ends_with_it(group: rack.Group) -> None:
    child = group.fork(["sh", "-c", "echo $RACK_PID; id -u; exit 7"])
    status = child.wait(BOOT)
    assert status.code == 7, status.evidence
    assert child.stdout.read().split() == [str(child.pid).encode(), b"0"]


def test_a_function_and_a_signal(group: rack.Group) -> None:
    added, napping = group.fork(targets.add, 1), group.fork(targets.nap)
    assert added.result(BOOT) == 1
    assert eventually(lambda: napping.info()["started"], BOOT)
    napping.kill(signal.SIGKILL)
    assert napping.wait(60).signal == signal.SIGKILL
