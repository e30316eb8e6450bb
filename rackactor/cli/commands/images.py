"""`rack image build|upload|list`: guest images that hold the agent.

A program of the runtime knows clouds; these commands start it and show its answers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from rackactor.cli.commands.clouds import add_cloud_choice, cloud_words
from rackactor.cli.common import Plain
from rackactor.cli.tables import Listed, Shown
from rackactor.errors import RackError

_PROGRAM = "rackactor_runtime.providers.nova.images"
#: The options of `build` that take an argument. The recipe's own script has the same.
_BUILD = {
    "--source": ("DIR|WHEEL|NAME", "RackActor: a clone, a wheel, or a name that pip knows (default: this copy)"),
    "--name": ("NAME", "what the files are called (default: rackactor)"),
    "--output": ("DIR", "where they go (default: build/images)"),
    "--mirror": ("URL", "where Debian comes from; a snapshot's URL makes builds repeatable"),
    "--cache": ("DIR", "what builds keep (default: ~/.cache/rackactor/images)"),
}
_MORE = {
    "--apt": ("PACKAGE", "one more Debian package; may be given again"),
    "--pip": ("REQUIREMENT", "one more Python package; may be given again"),
}
_KINDS = ("lxc", "qemu", "both")


class ImageBuild(Plain):
    """Build guest images that hold the agent: NAME.ext4 for LXC, NAME.qcow2 for QEMU. As root, on Debian."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        for option, (metavar, text) in _BUILD.items():
            parser.add_argument(option, metavar=metavar, help=text)
        for option, (metavar, text) in _MORE.items():
            parser.add_argument(option, metavar=metavar, help=text, action="append", default=[])
        parser.add_argument("--kind", choices=_KINDS, default="both", help="which images (default: %(default)s)")
        parser.add_argument(
            "--reuse-base", action="store_true", help="use what an earlier build kept: Debian, kernel, dependencies"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Build them; the build itself shows its progress."""
        if subprocess.run([*_command("build"), *build_words(parsed_args)]).returncode:
            raise RackError("no image was built")


class ImageUpload(Plain, Shown):
    """Put an image on a cloud, replacing an older one of that name; an identical one is not sent again."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        add_cloud_choice(parser)
        parser.add_argument("--name", default="rackactor", help="its name there (default: %(default)s)")
        parser.add_argument("file", metavar="FILE", help="what `rack image build` made: NAME.ext4 or NAME.qcow2")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        """Return names and values."""
        (image,) = _ask("upload", *cloud_words(parsed_args), "--name", parsed_args.name, "--", parsed_args.file)
        return tuple(image), tuple(image.values())


class ImageList(Plain, Listed):
    """List the images of a cloud that hold the agent."""

    spare = ("Contents", "Created", "Size")

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        add_cloud_choice(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return the columns and the rows."""
        shown = ("id", "name", "status", "size", "version", "contents", "created")
        rows = [tuple(image[key] for key in shown) for image in _ask("list", *cloud_words(parsed_args))]
        return ("ID", "Name", "Status", "Size", "Version", "Contents", "Created"), rows


def build_words(options: argparse.Namespace) -> list[str]:
    """Return the arguments of the build's own command line."""
    words = [f"--kind={options.kind}", *(["--reuse-base"] if options.reuse_base else [])]
    for option in (*_BUILD, *_MORE):
        given = getattr(options, option[2:])
        values = given if isinstance(given, list) else [given]
        words += [f"{option}={value}" for value in values if value is not None]
    return words


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", _PROGRAM, *words]


def _ask(*words: str) -> list[dict[str, Any]]:
    """Run the program and return the images in its answer.

    Raises:
        RackError: the program failed; the message is its own.
    """
    done = subprocess.run(_command(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"{_PROGRAM} ended with code {done.returncode}"]
        raise RackError(lines[-1])
    images: list[dict[str, Any]] = json.loads(done.stdout)
    return images
