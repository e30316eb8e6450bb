"""What the command line may be told of a cloud, and `rack gc`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import Any

from rackactor.cli.common import Plain
from rackactor.errors import InvalidCall

#: The options that mean nothing without `--cloud`: their names here are those of the provider's settings.
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


def add_cloud_options(parser: argparse.ArgumentParser) -> None:
    """Add what a group on a cloud may be told."""
    add = parser.add_argument_group("on a cloud").add_argument
    add("--cloud", metavar="NAME", help="each process is a machine of this cloud, as clouds.yaml names it")
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
    """Return what `rack.group` is to be told of where processes come from.

    Raises:
        InvalidCall: it is said how machines are to be, and not where.
    """
    given = {name: getattr(options, name) for name in _SETTINGS if getattr(options, name) is not None}
    if options.cloud is not None:
        return {"cloud": options.cloud, "provider_settings": given}
    if given:
        words = ", ".join("--" + name.rstrip("s").replace("_", "-") for name in given)
        raise InvalidCall(f"{words}: on which cloud? Name it with --cloud")
    return {}


class Gc(Plain):
    """Remove from a cloud what groups have left there: what carries their mark, and no living group claims."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--cloud", metavar="NAME", required=True, help="which one, as clouds.yaml names it")
        parser.add_argument("--dry-run", action="store_true", help="only show what would be removed")
        parser.add_argument("gid", metavar="GID", nargs="?", help="only what is left of this group, even if it lives")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Have it done by a program that knows clouds; returns its exit code."""
        words = ["--cloud", parsed_args.cloud]
        words += ["--dry-run"] if parsed_args.dry_run else []
        words += [parsed_args.gid] if parsed_args.gid else []
        program = [sys.executable, "-P", "-m", "rackactor_runtime.providers.nova.gc"]
        return subprocess.run([*program, *words], check=False).returncode
