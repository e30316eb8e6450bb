"""Guest images on a cloud: `python -m rackactor_runtime.providers.nova.images build|upload|list`.

It is a separate program because the `rack` command imports neither the runtime nor openstacksdk: `rack` starts it with
its own arguments, and reads one JSON document. An error is one line on standard error, and the exit code 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rackactor.records import dataclass
from rackactor_runtime.providers.nova.access import sdk

#: Our mark: an image with this property contains an agent of this version.
VERSION = "rackactor_version"
#: A hash of everything in the image, version by version.
CONTENTS = "rackactor_contents"
#: Seconds that a cloud has to import an image.
PATIENCE = 600.0

#: What Nova must know of a machine that is booted from each kind of file.
_PROPERTIES = {
    # A container shares the host's kernel: Nova offers such an image to no other hypervisor.
    "lxc": {"disk_format": "raw", "hypervisor_type": "lxc", "vm_mode": "exe"},
    "qemu": {"disk_format": "qcow2", "hw_disk_bus": "virtio", "hw_vif_model": "virtio", "hw_rng_model": "virtio"},
}
_COMMON = {"os_type": "linux", "os_distro": "debian", "os_version": "12", "architecture": "x86_64"}


class ImageError(Exception):
    """An error that the user can fix; shown as one line."""


@dataclass(frozen=True)
class Image:
    """An image that is on a cloud."""

    name: str
    id: str
    status: str
    #: Bytes, as they were uploaded.
    size: int
    #: Of the agent inside.
    version: str
    #: The first letters of the hash of its contents.
    contents: str
    created: str
    #: False: it was there already, and nothing was uploaded.
    uploaded: bool = False


def kind_of(head: bytes) -> str:
    """Return what a file is, `lxc` or `qemu`, by its first 2 KiB.

    Raises:
        ImageError: it is not an image of ours.
    """
    if head[:4] == b"QFI\xfb":
        return "qemu"
    if head[1080:1082] == b"\x53\xef":  # the magic of ext4's superblock
        return "lxc"
    raise ImageError("neither a root file system (ext4) nor a disk (qcow2); `rack image build` makes both")


def properties(kind: str, listed: bytes | None) -> dict[str, str]:
    """Return an image's properties.

    Args:
        kind: `lxc` or `qemu`.
        listed: its contents.json; None: it was built by somebody else, and what is in it is not known.
    """
    mark = {VERSION: "unknown", CONTENTS: ""}
    if listed is not None:
        try:
            mark = {VERSION: str(json.loads(listed)["rackactor"]), CONTENTS: hashlib.sha256(listed).hexdigest()}
        except (ValueError, KeyError, TypeError) as error:
            raise ImageError(f"the list of contents beside it cannot be read: {error!r}") from error
    return {**_PROPERTIES[kind], **_COMMON, **mark}


def checksum(path: Path) -> str:
    """Return the hash by which Glance knows a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def shown(image: Mapping[str, Any], uploaded: bool = False) -> Image:
    """Return what is shown of Glance's record of an image."""
    more = {**image, **(image.get("properties") or {})}
    return Image(
        name=str(image["name"]),
        id=str(image["id"]),
        status=str(image["status"]),
        size=int(image.get("size") or 0),
        version=str(more.get(VERSION, "")),
        contents=str(more.get(CONTENTS, ""))[:12],
        created=str(image.get("created_at") or ""),
        uploaded=uploaded,
    )


def marked(images: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the images with our mark."""
    return (image for image in images if VERSION in {**image, **(image.get("properties") or {})})


def listing(cloud: Any) -> list[Image]:
    """Return the images of a cloud that hold an agent."""
    return sorted((shown(image.to_dict()) for image in cloud.image.images() if _has_mark(image)), key=_order)


def _order(image: Image) -> tuple[str, str]:
    return image.name, image.created


def _has_mark(image: Any) -> bool:
    return any(True for _ in marked(iter([image.to_dict()])))


def upload(cloud: Any, path: Path, name: str) -> Image:
    """Put a file on a cloud unless the same one is there; an older one with this name and our mark is removed.

    Running servers keep their copies, which Nova has made. The old image is removed when the new one is complete.

    Raises:
        ImageError: the file is not an image, or the cloud did not accept it.
    """
    try:
        with path.open("rb") as file:
            kind = kind_of(file.read(2048))
        beside = Path(f"{path}.json")
        wanted = properties(kind, beside.read_bytes() if beside.exists() else None)
        known = checksum(path)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error
    old = [image for image in cloud.image.images(name=name) if _has_mark(image)]
    for image in old:
        if image.checksum == known and image.status == "active":
            return shown(image.to_dict())
    disk_format = wanted.pop("disk_format")
    new = cloud.image.create_image(
        name, filename=str(path), disk_format=disk_format, container_format="bare", wait=False, **wanted
    )
    new = _wait(cloud, new.id)
    for image in old:
        cloud.image.delete_image(image)
    return shown(new.to_dict(), uploaded=True)


def _wait(cloud: Any, identity: str) -> Any:
    end = time.monotonic() + PATIENCE
    while True:
        image = cloud.image.get_image(identity)
        if image.status == "active":
            return image
        if image.status not in ("queued", "saving", "uploading", "importing") or time.monotonic() > end:
            raise ImageError(f"the cloud did not take the image: it is {image.status}")
        time.sleep(0.2)


def recipe() -> Path:
    """Return the build script: beside the sources in a clone, inside the package elsewhere.

    Raises:
        ImageError: this copy has none.
    """
    runtime = Path(__file__).resolve().parents[2]
    for found in (runtime.parents[1] / "images/build", runtime / "recipe/build"):
        if found.exists():
            return found
    raise ImageError("this copy of RackActor has no recipe for images; take a clone of it")


def connect(name: str | None) -> Any:
    """Return a connection to a cloud of clouds.yaml, or to the one of the OS_* variables.

    Raises:
        ImageError: no cloud is named.
        InvalidCall: openstacksdk is missing, or cannot be used.
    """
    sdk.check()
    import openstack

    if name is None and not {"OS_CLOUD", "OS_AUTH_URL"} & os.environ.keys():
        raise ImageError("which cloud? Name one of clouds.yaml with --cloud or OS_CLOUD, or set the OS_* variables")
    cloud = sdk.uncached(openstack.connect(cloud=name))
    cloud.authorize()
    return cloud


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("build", help="build images")
    make.add_argument("words", nargs=argparse.REMAINDER)
    for name in ("upload", "list"):
        command = commands.add_parser(name)
        command.add_argument("--cloud", "--os-cloud")
        if name == "upload":
            command.add_argument("--name", default="rackactor")
            command.add_argument("file", type=Path)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its result is JSON on standard output."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words[:1] == ["build"]:  # its options are the script's own
            os.execv(sys.executable, [sys.executable, str(recipe()), *words[1:]])
        options = parse(words)
        cloud = connect(options.cloud)
        found = listing(cloud) if options.command == "list" else [upload(cloud, options.file, options.name)]
        sys.stdout.write(json.dumps([asdict(image) for image in found]) + "\n")
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        # openstacksdk's errors, and those of what lies below it, have no common root
        said = " ".join(str(error).split()) or type(error).__name__
        sys.stderr.write(f"{said}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
