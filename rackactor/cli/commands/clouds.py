"""The command line's options for clouds, and `rack gc`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from typing import Any

from rackactor.cli.common import Plain
from rackactor.errors import InvalidCall

#: The options that need `--cloud`; they have the names of the provider's settings.
_SETTINGS = (
    "image",
    "flavor",
    "network",
    "external_network",
    "floating_ip",
    "allow_from",
    "availability_zone",
    "keypair",
    "security_groups",
    "anti_affinity",
)


def add_cloud_choice(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses a cloud; `cloud_words` reads it."""
    parser.add_argument(
        "--cloud",
        "--os-cloud",
        dest="cloud",
        metavar="NAME",
        help="a cloud of clouds.yaml (default: OS_CLOUD, or the other OS_* variables)",
    )


def cloud_words(options: argparse.Namespace) -> list[str]:
    """Return the arguments that name the chosen cloud, for a program that knows clouds.

    Raises:
        InvalidCall: no cloud is named.
    """
    name = options.cloud or default_cloud()
    if name:
        return ["--cloud", name]
    if os.environ.get("OS_AUTH_URL"):
        return []
    raise InvalidCall("which cloud? Name one of clouds.yaml with --cloud or OS_CLOUD, or set the OS_* variables")


def default_cloud() -> str | None:
    """Return the cloud that the environment names, as for every OpenStack tool."""
    return os.environ.get("OS_CLOUD") or None


def add_cloud_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a group on a cloud."""
    add = parser.add_argument_group(
        "on a cloud", "Without any of these, processes are those of this host, whatever OS_CLOUD says."
    ).add_argument
    add(
        "--cloud",
        "--os-cloud",
        dest="cloud",
        metavar="NAME",
        help="each process is a machine of this cloud, as clouds.yaml names it"
        " (default, if another of these options is given: OS_CLOUD)",
    )
    add("--image", metavar="IMAGE", help="of the machines, by name or id (default: rackactor)")
    add("--flavor", metavar="FLAVOR", help="of the machines (default: the smallest that the image fits into)")
    add("--network", metavar="NET", help="that they are in (default: one that is made for the group)")
    add("--external-network", metavar="NET", help="that the group's own network has a router to")
    add(
        "--floating-ip",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether the supervisor gets a floating address (default: if it cannot be reached otherwise)",
    )
    add("--allow-from", metavar="CIDR", help="from where the supervisor's port can be reached")
    add("--availability-zone", metavar="ZONE", help="of the machines")
    add(
        "--keypair",
        metavar="NAME",
        help="for ssh to the machines (default: made of your key in ~/.ssh, if there is one)",
    )
    add("--security-group", dest="security_groups", action="append", metavar="NAME", help="one more; may be repeated")
    add("--anti-affinity", action="store_true", default=None, help="each machine on a host of its own")


def place(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `rack.group` that say where processes come from; none: from this host.

    OS_CLOUD alone makes no machines: they take minutes and cost money, and it is often set for other tools.

    Raises:
        InvalidCall: there are options for machines, but no cloud.
    """
    given = {name: getattr(options, name) for name in _SETTINGS if getattr(options, name) is not None}
    cloud = options.cloud if options.cloud is not None or not given else default_cloud()
    if cloud is not None:
        return {"cloud": cloud, "provider_settings": given}
    if given:
        words = ", ".join("--" + name.rstrip("s").replace("_", "-") for name in given)
        raise InvalidCall(f"{words}: on which cloud? Name it with --cloud or OS_CLOUD")
    return {}


class Gc(Plain):
    """Remove from a cloud what groups have left there: everything with their mark that no living group claims."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        add_cloud_choice(parser)
        parser.add_argument("--dry-run", action="store_true", help="only show what would be removed")
        parser.add_argument("-f", "--format", choices=("table", "json"), default="table", help="(default: table)")
        parser.add_argument("gid", metavar="GID", nargs="?", help="only what is left of this group, even if it lives")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Run a program that knows clouds; return its exit code."""
        words = cloud_words(parsed_args)
        words += ["--dry-run"] if parsed_args.dry_run else []
        words += ["--format", "json"] if parsed_args.format == "json" else []
        words += [parsed_args.gid] if parsed_args.gid else []
        program = [sys.executable, "-P", "-m", "rackactor_runtime.providers.nova.gc"]
        return subprocess.run([*program, *words], check=False).returncode
