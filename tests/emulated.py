"""A cloud whose machines are QEMU's, emulated, each booted from a guest image with the config drive that Nova gives it.

Neither an OpenStack nor the internet is needed: a machine's only network is QEMU's own, and QEMU sees no more of the
world than the network namespace (`netlab.Lab`) that it runs in. What an image makes of its user-data and metadata is
thereby seen by itself. `machines.Yard` is what everything else of this cloud is.
"""

from __future__ import annotations

import itertools
import json
import secrets
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from machines import Yard

from rackactor_runtime.providers.machines.provider import Machine, MachineProvider
from rackactor_runtime.providers.nova.marks import names

#: What the supervisor of a group is told to find this module.
NAME = "emulated:Provider"
#: Programs that a machine is made of, with their Debian packages.
TOOLS = {"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils", "genisoimage": "genisoimage"}
#: As libvirt makes a machine for Nova on a host without KVM.
_MACHINE = "-machine pc,accel=tcg -cpu max -smp 1 -display none -no-reboot -monitor none -device virtio-rng-pci"
_NETWORK = "-netdev user,id=net -device virtio-net-pci,netdev=net,mac="
_DISK = "-drive if=virtio,format=qcow2,cache=unsafe,file="
_DRIVE = "-drive media=cdrom,format=raw,readonly=on,file="


@dataclass(frozen=True)
class Image:
    """A guest image.

    Attributes:
        disk: a disk in QEMU's format.
        kernel: of a disk that holds none, with its `initrd` and command line (`append`).
        memory: MiB of a machine.
        config_drive: False: the machine gets its metadata nowhere.
    """

    disk: str
    kernel: str = ""
    initrd: str = ""
    append: str = ""
    memory: int = 512
    config_drive: bool = True


class EmulatedYard(Yard):
    """A yard whose machines are QEMU's."""

    def __init__(self, path: Path, namespaces: tuple[str, ...], image: Image) -> None:
        super().__init__(path, namespaces)
        self.image = image

    def _boot(self, path: Path, machine: Machine) -> None:
        address = f"fa:16:3e:{':'.join(secrets.token_hex(1) for _ in range(3))}"
        overlay = path / "disk"
        # larger than the image, as a flavor's disk is
        create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", self.image.disk, str(overlay), "4G"]
        subprocess.run(create, check=True)
        command = ["qemu-system-x86_64", *_MACHINE.split(), "-m", str(self.image.memory)]
        command += [*f"{_NETWORK}{address} {_DISK}{overlay}".split(), "-serial", f"file:{path / 'console'}"]
        if self.image.config_drive:
            config_drive(path, machine, address)
            command += f"{_DRIVE}{path / 'config.iso'}".split()
        if self.image.kernel:
            kernel = {"-kernel": self.image.kernel, "-initrd": self.image.initrd, "-append": self.image.append}
            command += itertools.chain.from_iterable(kernel.items())
        if self.namespaces:
            command = ["ip", "netns", "exec", self.namespaces[next(self._numbers) % len(self.namespaces)], *command]
        (path / "console").touch()
        self._start(path, command, path / "qemu")


def config_drive(path: Path, machine: Machine, address: str) -> None:
    """Write the disk by which Nova tells a server what it is."""
    gid = machine.mark.split(".")[0]
    metadata = names.metadata(
        gid, machine.pid, machine.ppid, machine.mark, args=machine.args, deadline=machine.deadline
    )
    name = names.server(gid, machine.pid, machine.name)
    told = {
        "uuid": str(uuid.uuid4()),
        "name": name,
        "hostname": name.lower(),
        "launch_index": 0,
        "availability_zone": "nova",
        "meta": metadata,
        "devices": [],
    }
    link = {"id": "tap0", "vif_id": str(uuid.uuid4()), "type": "bridge", "mtu": 1500, "ethernet_mac_address": address}
    network = {"id": "network0", "type": "ipv4_dhcp", "link": "tap0", "network_id": str(uuid.uuid4())}
    tree = path / "config/openstack"
    for version in ("2012-08-10", "2013-10-17", "2018-08-27", "latest"):
        place = tree / version
        place.mkdir(parents=True)
        (place / "meta_data.json").write_text(json.dumps(told))
        (place / "network_data.json").write_text(json.dumps({"links": [link], "networks": [network], "services": []}))
        (place / "user_data").write_text(machine.user_data)
    make = ["genisoimage", "-quiet", "-J", "-r", "-ldots", "-allow-lowercase", "-allow-multidot", "-l"]
    subprocess.run([*make, "-V", "config-2", "-o", path / "config.iso", path / "config"], check=True)


def options(yard: EmulatedYard, address: str, install: str = "") -> dict[str, Any]:
    """Return the arguments of a group whose processes are machines of a yard."""
    settings = {"yard": str(yard.path), "namespaces": yard.namespaces, "image": asdict(yard.image), "install": install}
    return {"provider": NAME, "transport": "tcp", "address": address, "provider_settings": settings}


class Provider(MachineProvider):
    """Machines of an emulated yard; its settings are what `options` makes."""

    capabilities = replace(MachineProvider.capabilities, closing=10.0)

    def __init__(self, settings: Mapping[str, Any], state_dir: str) -> None:
        rest = dict(settings)
        place, namespaces = Path(rest.pop("yard")), tuple(rest.pop("namespaces", ()))
        self.install = rest.pop("install", "")
        super().__init__(rest, state_dir, EmulatedYard(place, namespaces, Image(**rest.pop("image"))))
