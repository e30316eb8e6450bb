"""The files that clouds take: a root file system in ext4, and a disk that boots, with a kernel of Debian's."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from tools import MBR, RECIPE, SUITE, install, run

KERNEL = "linux-image-cloud-amd64"
#: Drivers that the disk, the network and the config drive need, and those that are tried when no disk shows up.
FIRST = ["virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "af_packet", "ata_piix", "sr_mod", "isofs", "ext4"]
MORE = ["virtio_scsi", "sd_mod", "ahci", "nvme"]
_KERNEL_LINE = "console=tty0 console=ttyS0 quiet panic=1 no_timer_check mitigations=off random.trust_cpu=on"
#: MiB that are free on the root file system as it is built; it grows to the flavor's disk at the boot.
_FREE = 32
#: MiB of the boot partition: the kernel, its first file system, the loader.
_BOOT = 24


def file_system(root: Path, image: Path) -> None:
    """Make an ext4 file system of a tree."""
    size = int(run("du", "-sm", root).split()[0])
    with image.open("wb") as file:
        file.truncate((size + size // 16 + _FREE) << 20)
    # No journal: a machine that is switched off in the middle is thrown away.
    options = ["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-L", "rackactor", "-N", "40000"]
    run("mke2fs", *options, "-d", root, image)


def make_kernel(tree: Path, mirror: str | None) -> None:
    """Make the kernel's layer: vmlinuz, and the drivers with the order in which they are loaded."""
    with tempfile.TemporaryDirectory(prefix="kernel-", dir=tree.parent) as place:
        where = Path(place, "root")
        # Only unpacked, never installed: its installation would make a first file system of its own.
        words = ["mmdebstrap", "--quiet", "--variant=extract", f"--include={KERNEL}", SUITE]
        run(*words, where, *([mirror] if mirror else []))
        version = next((where / "lib/modules").iterdir()).name
        run("depmod", "-b", where, version)
        shutil.copyfile(where / f"boot/vmlinuz-{version}", tree / "vmlinuz")
        (tree / "version").write_text(version)
        _take_drivers(where / "lib/modules" / version, tree / "modules")


def _take_drivers(modules: Path, target: Path) -> None:
    target.mkdir()
    below = dependencies((modules / "modules.dep").read_text())
    taken: set[str] = set()
    for name, drivers in (("first", FIRST), ("more", MORE)):
        order = [path for path in load_order(drivers, below) if path not in taken]
        taken.update(order)
        for path in order:
            shutil.copyfile(modules / path, target / Path(path).name)
        (target / name).write_text("".join(f"{Path(path).name}\n" for path in order))


def dependencies(listed: str) -> dict[str, list[str]]:
    """Read depmod's list: for each driver its own file, then those that it needs, the deepest last."""
    found = {}
    for line in listed.splitlines():
        path, _, needed = line.partition(":")
        found[Path(path).name.partition(".")[0].replace("-", "_")] = [path, *needed.split()]
    return found


def load_order(drivers: list[str], below: dict[str, list[str]]) -> list[str]:
    """Return the files of drivers, each after what it needs. One that is not listed is part of the kernel."""
    order = [path for name in drivers for path in reversed(below.get(name, []))]
    return list(dict.fromkeys(order))


def bootable(root_image: Path, root: Path, kernel: Path, image: Path) -> None:
    """Make a disk that a BIOS boots: a partition with SYSLINUX and the kernel, then the root file system.

    SYSLINUX, because it installs itself into a file; other loaders want the disk mounted.
    """
    with tempfile.TemporaryDirectory(prefix="disk-", dir=root.parent) as place:
        work = Path(place)
        boot = _boot_partition(work, _first_file_system(work, root, kernel), kernel / "vmlinuz")
        raw = work / "disk"
        with raw.open("wb") as file:
            file.truncate((1 + _BOOT << 20) + root_image.stat().st_size)
        table = f"start=1MiB, size={_BOOT}MiB, type=c, bootable\nstart={1 + _BOOT}MiB, type=83\n"
        run("sfdisk", "--quiet", raw, said=f"label: dos\n{table}")
        run("dd", f"if={MBR}", f"of={raw}", "bs=440", "count=1", "conv=notrunc")
        for path, offset in ((boot, 1), (root_image, 1 + _BOOT)):
            run("dd", f"if={path}", f"of={raw}", "bs=1M", f"seek={offset}", "conv=notrunc,sparse")
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image)


def _boot_partition(work: Path, initrd: Path, vmlinuz: Path) -> Path:
    boot, config = work / "boot", work / "syslinux.cfg"
    with boot.open("wb") as file:
        file.truncate(_BOOT << 20)
    run("mkfs.vfat", "-n", "RACKBOOT", boot)
    entry = f"label rackactor\n  kernel /vmlinuz\n  append initrd=/initrd {_KERNEL_LINE}\n"
    config.write_text(f"default rackactor\nprompt 0\n{entry}")
    for path, name in ((vmlinuz, "vmlinuz"), (initrd, "initrd"), (config, "syslinux.cfg")):
        run("mcopy", "-i", boot, path, f"::{name}")
    run("syslinux", "--install", boot)
    return boot


def _first_file_system(work: Path, root: Path, kernel: Path) -> Path:
    """Make the kernel's first file system: busybox, the drivers, one script."""
    tree = work / "initramfs"
    (tree / "bin").mkdir(parents=True)
    install(root / "bin/busybox", tree / "bin/busybox")
    install(RECIPE / "guest/initramfs", tree / "init")
    shutil.copytree(kernel / "modules", tree / "modules")
    names = "".join(f"{path.relative_to(tree)}\n" for path in sorted(tree.rglob("*")))
    archive = work / "initrd"
    with archive.open("wb") as file:
        words = ["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"]
        subprocess.run(words, cwd=tree, input=names.encode(), stdout=file, check=True)
    run("gzip", "-n", "-1", archive)
    return archive.with_suffix(".gz")
