"""What the build's parts share: running programs, saying how far it is, errors that a person can mend."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

#: The recipe: this directory, in a clone or inside an installed package.
RECIPE = Path(__file__).resolve().parent
#: Debian's release in the guest.
SUITE = "bookworm"

#: Which Debian package has which tool.
_TOOLS = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "tar": "tar", "chroot": "coreutils"}
_DISK_TOOLS = {
    "cpio": "cpio",
    "depmod": "kmod",
    "mcopy": "mtools",
    "mkfs.vfat": "dosfstools",
    "qemu-img": "qemu-utils",
    "sfdisk": "fdisk",
    "syslinux": "syslinux",
}
#: The first 440 bytes of a disk: the program that finds the boot partition.
MBR = Path("/usr/lib/syslinux/mbr/mbr.bin")
#: Where Debian keeps what only root runs; it is not in everybody's PATH.
_SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"

_BEGAN = time.monotonic()


class BuildError(Exception):
    """What a person can mend; shown as one line."""


def say(text: str) -> None:
    """Say what was reached, with the seconds since the start."""
    sys.stdout.write(f"[{time.monotonic() - _BEGAN:5.1f} s] {text}\n")
    sys.stdout.flush()


def run(*words: str | Path, said: str | None = None) -> str:
    """Run a program and return what it printed.

    Args:
        words: the program and its arguments.
        said: what it reads on its standard input.

    Raises:
        BuildError: it failed; its last line says how.
    """
    done = subprocess.run([str(word) for word in words], input=said, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["it said nothing"]
        raise BuildError(f"{' '.join(str(word) for word in words[:4])} ... failed ({done.returncode}): {last[0]}")
    return done.stdout


def install(source: Path, target: Path, mode: int = 0o755) -> None:
    """Copy a file, with a mode."""
    shutil.copyfile(source, target)
    target.chmod(mode)


def check(disk: bool) -> None:
    """Find what is missing before anything is begun.

    Raises:
        BuildError: it names the packages that have it.
    """
    if os.geteuid() != 0:
        raise BuildError("must be run as root: the files of an image belong to root")
    os.environ["PATH"] = f"{os.environ.get('PATH', '/usr/bin:/bin')}:{_SYSTEM}"
    missing = _missing({**_TOOLS, **(_DISK_TOOLS if disk else {})})
    if disk and not MBR.exists():
        missing.add("syslinux-common")
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        missing.add("python3-pip")
    if missing:
        raise BuildError(f"missing tools. Mend: apt-get install {' '.join(sorted(missing))}")


def _missing(wanted: dict[str, str]) -> set[str]:
    return {package for tool, package in wanted.items() if shutil.which(tool) is None}


def compile_all(root: Path, places: Sequence[str]) -> None:
    """Compile Python modules with the guest's own Python: an emulated processor would take seconds for it at a boot."""
    words = ["chroot", str(root), "/usr/bin/python3", "-m", "compileall", "-q", "-j", "2", *places]
    subprocess.run(words, capture_output=True)  # a file that is broken on purpose makes it fail
