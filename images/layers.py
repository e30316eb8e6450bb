"""The root file system's three layers: Debian, RackActor's dependencies, RackActor itself."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from tools import RECIPE, SUITE, BuildError, compile_all, install, run

#: Debian packages of every image.
PACKAGES = [
    "busybox-static",  # DHCP, mounts, and all that the first file system of a virtual machine needs
    "ca-certificates",  # a supervisor's calls to the cloud
    "dropbear-bin",  # the login of the keypair's owner
    "iproute2",
    "libpython3-stdlib",
    "procps",
    "python3-minimal",
    "usr-is-merged",  # in the place of usrmerge
]
#: What comes only because a package merges /usr while Debian is unpacked: all of Perl.
PERL = ["usrmerge", "libfile-find-rule-perl", "libnumber-compare-perl", "libtext-glob-perl"]
PERL += ["perl", "libperl5.36", "perl-modules-5.36", "libgdbm-compat4", "libgdbm6"]
#: What nobody reads in a guest.
UNREAD = ["bash-completion", "doc", "i18n", "info", "lintian", "locale", "man"]
REMOVED = [
    "boot/*",
    "etc/machine-id",
    "etc/resolv.conf",
    "usr/lib/python3.11/pydoc_data",
    "usr/lib/x86_64-linux-gnu/gconv",
    "var/cache/apt/*",
    "var/cache/debconf/*-old",
    "var/lib/apt/lists/*",
    "var/log/*",
]
#: What the guest's C library can load, as wheels name it.
_PLATFORMS = ["manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux_2_12", "manylinux2010", "manylinux1"]
#: A virtual environment, so that a Python started by its path finds RackActor without any variable.
HOME = "opt/rackactor"
SITE = f"{HOME}/lib/python3.11/site-packages"
_VENV = "home = /usr/bin\ninclude-system-site-packages = true\nversion = 3.11\n"


def make_debian(tree: Path, packages: Sequence[str], mirror: str | None) -> None:
    """Make the first layer: Debian without what only people read."""
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in UNREAD]
    words = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}", *excluded, SUITE]
    run(*words, tree, *([mirror] if mirror else []))
    # refused, and rightly, where a package that was asked for needs them
    subprocess.run(["chroot", str(tree), "dpkg", "--purge", *PERL], capture_output=True)
    for pattern in REMOVED:
        for path in tree.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (tree / "etc/hostname").write_text("guest\n")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost\n")
    compile_all(tree, ["/usr/lib/python3.11"])


def make_dependencies(tree: Path, debian: Path, pins: Sequence[str], more: Sequence[str]) -> None:
    """Make the second layer: the pinned packages, compiled."""
    with tempfile.TemporaryDirectory(prefix="root-", dir=tree.parent) as place:
        root = Path(place)
        run("tar", "-C", root, "-xf", debian)
        pinned = root / "requirements.txt"
        pinned.write_text("\n".join(pins) + "\n")
        _pip(root / SITE, "--no-deps", "-r", pinned)
        if more:
            _pip(root / SITE, "--only-binary=:all:", *more)
        _strip(root / SITE)
        compile_all(root, [f"/{SITE}"])
        shutil.copytree(root / SITE, tree / SITE, symlinks=True)


def _pip(site: Path, *words: str | Path) -> None:
    """Install for the guest's Python, whichever Python runs this."""
    platforms = [f"--platform={name}_x86_64" for name in _PLATFORMS]
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--target", site]
    # pip reports on what else this Python has, which is not the guest's
    run(*command, "--no-compile", "--python-version=3.11", "--implementation=cp", *platforms, *words)


def _strip(site: Path) -> None:
    """Remove tests, headers, and programs whose first line names the wrong Python."""
    for path in [*site.glob("*/**/tests"), site / "bin", site / "include", site / "share"]:
        if path.is_dir():
            shutil.rmtree(path)


def make_wheel(source: str | None, place: Path) -> Path:
    """Return RackActor as a wheel.

    Args:
        source: a clone, a wheel, or what pip knows by that name; None: the copy that is installed here.
        place: a directory of the build's own.

    Raises:
        BuildError: there is none to be made of it.
    """
    if source is None:
        return _pack_installed(place)
    if source.endswith(".whl"):
        return Path(source)
    words = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel", "--no-deps", "-w", place]
    here = Path(source)
    if not here.is_dir():
        run(*words, source)
    elif not (here / "setup.py").exists():
        raise BuildError(f"{source} is not a clone of RackActor: it has no setup.py")
    else:
        # setuptools works beside the sources, where two builds would meet
        shutil.copytree(here, place / "clone", ignore=_not_packed)
        run(*words, place / "clone")
    return next(place.glob("rackactor-*.whl"))


def _not_packed(directory: str, names: list[str]) -> set[str]:
    """Return what a wheel is not made of."""
    top = {"build", "docs", "tests", "benchmarks"} if "setup.py" in names else set()
    return {
        name for name in names if name in top or name == "__pycache__" or name[0] == "." or name.endswith(".egg-info")
    }


def _pack_installed(place: Path) -> Path:
    """Make a wheel of the files that an installed RackActor consists of."""
    try:
        found = importlib.metadata.distribution("rackactor")
    except importlib.metadata.PackageNotFoundError:
        raise BuildError("no RackActor is installed here. Mend: --source with a clone, a wheel or a name") from None
    files = [file for file in found.files or [] if _belongs(file.parts)]
    if not any(file.parts[0] == "rackactor" for file in files):
        raise BuildError("RackActor is installed here as a link to a clone. Mend: --source with that clone")
    wheel = place / f"rackactor-{found.version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        lines = []
        for file in files:
            archive.write(str(file.locate()), str(file))
            size = "" if file.size is None else file.size
            lines.append(f"{file},{f'sha256={file.hash.value}' if file.hash else ''},{size}\n")
        record = f"rackactor-{found.version}.dist-info/RECORD"
        archive.writestr(record, "".join([*lines, f"{record},,\n"]))
    return wheel


def _belongs(parts: Sequence[str]) -> bool:
    """Is an installed file RackActor's, and not something that the installation left?"""
    written = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
    return parts[0].startswith("rackactor") and parts[-1] not in written and "__pycache__" not in parts


def lay_in(root: Path, wheel: Path) -> None:
    """Make the third layer: RackActor, its programs and the init."""
    _pip(root / SITE, "--no-deps", "--upgrade", wheel)
    _strip(root / SITE)
    next((root / SITE).glob("rackactor-*.dist-info/direct_url.json")).unlink()  # it names a directory of the build
    home = root / HOME
    (home / "pyvenv.cfg").write_text(_VENV)
    (home / "bin").mkdir(exist_ok=True)
    (home / "init").mkdir(exist_ok=True)
    (home / "bin/python3").symlink_to("/usr/bin/python3")
    for name in ("rack", "rackactor-guest", "rackactor-poweroff"):
        install(RECIPE / "guest" / name, home / "bin" / name)
    shell = root / "usr/local/bin/rack"  # who comes by ssh has the system's PATH
    shell.symlink_to(f"/{HOME}/bin/rack")
    install(RECIPE / "guest/dhcp", home / "init/dhcp")
    install(RECIPE / "guest/guest_init.py", home / "init/guest_init.py", 0o644)
    (root / "sbin/init").unlink(missing_ok=True)
    install(RECIPE / "guest/init", root / "sbin/init")
    compile_all(root, [f"/{HOME}/init", f"/{SITE}/rackactor", f"/{SITE}/rackactor_runtime"])


def contents(root: Path) -> dict[str, object]:
    """Return what is in a root file system, version by version."""
    # a package may be there twice, Debian's and ours: the one that comes first is imported, and listed
    asked = (
        "import importlib.metadata as m, json, platform\n"
        "found = {d.name: d.version for d in reversed(list(m.distributions()))}\n"
        "print(json.dumps([platform.python_version(), found]))"
    )
    python, packages = json.loads(run("chroot", root, f"/{HOME}/bin/python3", "-c", asked))
    debian = run("chroot", root, "dpkg-query", "-W", "-f", "${Package} ${Version}\\n")
    return {
        "rackactor": packages["rackactor"],
        "rackactor_sha256": own_digest(next((root / SITE).glob("rackactor-*.dist-info/RECORD")).read_text()),
        "recipe_sha256": recipe_digest(),
        "python": python,
        "packages": packages,
        "debian": dict(line.split(" ", 1) for line in debian.splitlines()),
    }


def own_digest(record: str) -> str:
    """Return a hash of RackActor's own files, by the list that an installation keeps of them."""
    lines = [line for line in record.splitlines() if line.partition("/")[0] in ("rackactor", "rackactor_runtime")]
    sources = sorted(line for line in lines if "__pycache__" not in line)
    return hashlib.sha256("\n".join(sources).encode()).hexdigest()


def recipe_digest() -> str:
    """Return a hash of the files that an image is made of."""
    files = [RECIPE / "build", *RECIPE.glob("*.py"), *(RECIPE / "guest").glob("*")]
    contents = (path.read_bytes() for path in sorted(files) if path.is_file())
    return hashlib.sha256(b"\0".join(contents)).hexdigest()
