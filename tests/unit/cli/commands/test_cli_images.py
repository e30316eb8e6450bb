"""What is pure of images: which file is which, what is said of it to Glance, how drivers are ordered, init's words."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import ROOT

from rackactor.cli.commands.images import ImageBuild, build_words
from rackactor_runtime.providers.nova import images

IMAGES = ROOT / "images"


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let the build's own modules be imported, as the build script does it."""
    monkeypatch.syspath_prepend(str(IMAGES))
    yield IMAGES
    for name in ("disk", "layers", "tools"):
        sys.modules.pop(name, None)


@pytest.fixture
def guest_init() -> ModuleType:
    """Return the guest's PID 1 as a module; only `main` makes it one."""
    spec = importlib.util.spec_from_file_location("guest_init", IMAGES / "guest/guest_init.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ext4() -> bytes:
    return bytes(1080) + b"\x53\xef" + bytes(966)


def test_a_file_is_known_by_its_first_bytes() -> None:
    assert images.kind_of(ext4()) == "lxc"
    assert images.kind_of(b"QFI\xfb" + bytes(2044)) == "qemu"
    for head in (b"", b"no image", bytes(2048)):
        with pytest.raises(images.ImageError, match="neither"):
            images.kind_of(head)


def test_properties_carry_our_mark() -> None:
    listed = json.dumps({"rackactor": "1.2.3"}).encode()
    found = images.properties("lxc", listed)
    assert found[images.VERSION] == "1.2.3"
    assert found[images.CONTENTS] == hashlib.sha256(listed).hexdigest()
    assert found["hypervisor_type"] == "lxc"
    assert "hypervisor_type" not in images.properties("qemu", listed)


def test_an_image_of_somebody_else_is_of_an_unknown_version() -> None:
    assert images.properties("qemu", None)[images.VERSION] == "unknown"


@pytest.mark.parametrize("listed", [b"{", b"{}", b"[]"])
def test_a_broken_list_of_contents_is_refused(listed: bytes) -> None:
    with pytest.raises(images.ImageError, match="list of contents"):
        images.properties("lxc", listed)


class FakeImage:
    """One of Glance's records, as openstacksdk gives it."""

    def __init__(self, name: str, *, checksum: str = "", status: str = "active", **properties: str) -> None:
        self.id, self.name, self.checksum, self.status, self.properties = (
            f"id-{name}",
            name,
            checksum,
            status,
            properties,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as openstacksdk does."""
        return {"id": self.id, "name": self.name, "status": self.status, "size": 5, "properties": self.properties}


class FakeGlance:
    """The part of a connection that uploads use."""

    def __init__(self, *there: FakeImage) -> None:
        self.there = list(there)
        self.image = self

    def images(self, name: str | None = None) -> list[FakeImage]:
        """List them."""
        return [image for image in self.there if name in (None, image.name)]

    def create_image(self, name: str, **given: Any) -> FakeImage:
        """Take one in."""
        new = FakeImage(name, **{key: value for key, value in given.items() if key.startswith("rackactor")})
        new.id = "new"
        self.there.append(new)
        return new

    def get_image(self, identity: str) -> FakeImage:
        """Find one."""
        return next(image for image in self.there if image.id == identity)

    def delete_image(self, image: FakeImage) -> None:
        """Drop one."""
        self.there.remove(image)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rackactor.ext4"
    path.write_bytes(ext4())
    return path


def test_the_same_file_is_not_sent_again(file: Path) -> None:
    glance = FakeGlance(FakeImage("rackactor", checksum=images.checksum(file), rackactor_version="1"))
    assert not images.upload(glance, file, "rackactor").uploaded
    assert len(glance.there) == 1


def test_an_older_image_of_ours_goes_when_the_new_one_is_there(file: Path) -> None:
    others = FakeImage("rackactor", checksum="x")
    others.id = "theirs"
    glance = FakeGlance(others, FakeImage("rackactor", checksum="old", rackactor_version="1"))
    assert images.upload(glance, file, "rackactor").uploaded
    assert [image.id for image in glance.there] == ["theirs", "new"], "what has no mark of ours stays"


def test_an_image_that_the_cloud_refuses_leaves_the_older_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    glance = FakeGlance(FakeImage("rackactor", checksum="old", rackactor_version="1"))
    refused = FakeImage("rackactor", status="killed")
    monkeypatch.setattr(glance, "get_image", lambda identity: refused)
    with pytest.raises(images.ImageError, match="killed"):
        images.upload(glance, file, "rackactor")
    assert "id-rackactor" in {image.id for image in glance.there}


def test_no_cloud_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)
    assert images.main(["list"]) == 1
    assert capsys.readouterr().err.startswith("which cloud?")


def test_the_words_of_a_build_are_handed_on() -> None:
    parser = ImageBuild(argparse.Namespace(), None).get_parser("rack image build")
    given = ["--kind", "lxc", "--apt", "a", "--apt", "b", "--source", "/x y", "--reuse-base"]
    words = build_words(parser.parse_args(given))
    assert words == ["--kind=lxc", "--reuse-base", "--source=/x y", "--apt=a", "--apt=b"]


def test_the_build_knows_each_option_that_is_handed_on(recipe: Path) -> None:
    parser = ImageBuild(argparse.Namespace(), None).get_parser("rack image build")
    wanted = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
    script = (recipe / "build").read_text()
    assert all(f'"{option}"' in script for option in wanted - {"--help"})


def test_drivers_come_after_what_they_need(recipe: Path) -> None:
    import disk

    below = disk.dependencies("a/virtio_blk.ko: a/virtio.ko a/ring.ko\na/virtio-net.ko.xz: a/ring.ko\na/ring.ko:\n")
    assert disk.load_order(["virtio_blk", "virtio_net", "built_in"], below) == [
        "a/ring.ko",
        "a/virtio.ko",
        "a/virtio_blk.ko",
        "a/virtio-net.ko.xz",
    ]


def test_every_dependency_is_pinned() -> None:
    lines = [line for line in (IMAGES / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(line.count("==") == 1 for line in lines)
    setup = (IMAGES.parent / "setup.py").read_text()
    needed = setup.partition("INSTALL = [")[2].partition("]")[0] + setup.partition("OPENSTACK = [")[2].partition("]")[0]
    names = {
        line.strip().strip('",').partition("=")[0].partition(">")[0] for line in needed.replace("[", "\n").split("\n")
    }
    wanted = {name for name in names if name and not name.startswith("#")}
    assert wanted <= {line.partition("==")[0] for line in lines}


def test_the_same_sources_have_the_same_hash(recipe: Path) -> None:
    import layers

    record = "rackactor/a.py,sha256=1,2\nrackactor_runtime/b.py,sha256=3,4\n"
    compiled = "rackactor/__pycache__/a.pyc,,\nrackactor-0.1.dist-info/RECORD,,\n"
    assert layers.own_digest(record) == layers.own_digest(compiled + record)
    assert layers.own_digest(record) != layers.own_digest(record.replace("3", "5"))


@pytest.mark.parametrize(
    "answer, body",
    [
        (b"HTTP/1.0 200 OK\r\nContent-Type: x\r\n\r\n{}", b"{}"),
        (b"HTTP/1.1 404 Not Found\r\n\r\nnothing", None),
        (b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 200_000, b"x" * 200_000),
    ],
)
def test_init_reads_the_metadata_service(guest_init: ModuleType, answer: bytes, body: bytes | None) -> None:
    with served(answer) as guest_init.SERVICE:
        assert guest_init.get("user_data", 5.0) == body


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0 500 Oops\r\n\r\n", b"garbage"])
def test_init_does_not_take_an_error_for_an_answer(guest_init: ModuleType, answer: bytes) -> None:
    with served(answer) as guest_init.SERVICE, pytest.raises(OSError):
        guest_init.get("user_data", 5.0)


class served:
    """A service that gives one answer to one request."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._serve)

    def __enter__(self) -> tuple[str, int]:
        self.thread.start()
        host, port = self.listener.getsockname()
        return host, port

    def _serve(self) -> None:
        line, _ = self.listener.accept()
        with line:
            line.recv(65536)
            line.sendall(self.answer)

    def __exit__(self, *_: object) -> None:
        self.thread.join(5)
        self.listener.close()


def test_a_build_that_is_ended_leaves_no_half_made_layer(tmp_path: Path) -> None:
    program = f"""
import importlib.machinery, importlib.util, os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {str(IMAGES)!r})
loader = importlib.machinery.SourceFileLoader("build", {str(IMAGES / "build")!r})
build = importlib.util.module_from_spec(importlib.util.spec_from_loader("build", loader))
loader.exec_module(build)

def interrupted(tree):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)

build.parse = lambda: None
build.build = lambda _: build.Cache(Path({str(tmp_path)!r}), False).get("base", [], interrupted)
sys.exit(build.main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert list(tmp_path.iterdir()) == []
