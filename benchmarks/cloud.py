"""`python -m benchmarks.cloud --cloud NAME`: how long a group takes to bring n machines up, beside plain openstacksdk.

Both make servers of the same image, flavor and network, as many at a time, on the same cloud, in turn. Plain calls are
measured until the last server is ACTIVE; RackActor until the last process *runs*: its agent has joined, which takes a
guest that has booted. Then all of them are deleted, and the clock stops when the cloud's lists have none any more.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rackactor as rack

#: Seconds that servers may take to come up, and to go.
PATIENCE = 600.0
#: Seconds between two looks at a server.
LOOK = 0.25
#: What may be added to the time of plain calls.
TARGET = 1.15


class Plain:
    """Servers by plain calls of openstacksdk.

    Args:
        cloud: an entry of `clouds.yaml`.
        image, flavor, network: names.
        concurrency: creates at a time.
    """

    def __init__(self, cloud: str, image: str, flavor: str, network: str, concurrency: int) -> None:
        import openstack

        self._connection: Any = openstack.connect(cloud=cloud)
        compute = self._connection.compute
        self._body = {
            "image_id": self._connection.image.find_image(image, ignore_missing=False).id,
            "flavor_id": compute.find_flavor(flavor, ignore_missing=False).id,
            "networks": [{"uuid": self._connection.network.find_network(network, ignore_missing=False).id}],
        }
        self._concurrency = concurrency

    def measure(self, count: int) -> tuple[float, float]:
        """Return the seconds until all of them are ACTIVE, and until all are gone."""
        compute, run = self._connection.compute, f"bench-{secrets.token_hex(4)}"
        made: list[Any] = []

        def bring_up(number: int) -> None:
            server = compute.create_server(name=f"{run}-{number}", **self._body)
            made.append(server)
            compute.wait_for_server(server, interval=LOOK, wait=PATIENCE)

        try:
            began = time.perf_counter()
            with ThreadPoolExecutor(self._concurrency) as pool:
                list(pool.map(bring_up, range(count)))
            up = time.perf_counter() - began
        finally:
            began = time.perf_counter()
            with ThreadPoolExecutor(self._concurrency) as pool:
                list(pool.map(lambda server: compute.delete_server(server, ignore_missing=True), made))
            until = time.monotonic() + PATIENCE
            while list(compute.servers(name=f"^{run}-")) and time.monotonic() < until:
                time.sleep(LOOK)
        return up, time.perf_counter() - began

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Grouped:
    """Servers as the processes of a group."""

    def __init__(self, group: rack.Group) -> None:
        self._group = group

    def measure(self, count: int) -> tuple[float, float]:
        """Return the seconds until all of them run, and until all are gone."""
        began = time.perf_counter()
        processes = self._group.fork(["sleep", "3600"], n=count, min_ok=count, timeout=PATIENCE)
        up = time.perf_counter() - began
        began = time.perf_counter()
        for process in processes:
            process.kill("KILL")
        for process in processes:
            process.wait(timeout=PATIENCE)
        return up, time.perf_counter() - began


@contextmanager
def grouped(options: argparse.Namespace) -> Iterator[Grouped]:
    """Make a group on the cloud."""
    settings = {name: getattr(options, name) for name in ("image", "flavor", "network")}
    settings["boot_concurrency"] = options.concurrency
    with rack.group("bench", cloud=options.cloud, deadline="1h", provider_settings=settings) as group:
        yield Grouped(group)


def measure(options: argparse.Namespace) -> dict[int, dict[str, list[tuple[float, float]]]]:
    """Measure both in turn, as often as asked, for each count."""
    plain = Plain(options.cloud, options.image, options.flavor, options.network, options.concurrency)
    found: dict[int, dict[str, list[tuple[float, float]]]] = {}
    try:
        with grouped(options) as group:
            ways: dict[str, Callable[[int], tuple[float, float]]] = {"plain": plain.measure, "rack": group.measure}
            for way in ways.values():  # the first servers of an image are slower: the cloud fetches it
                way(1)
            for count in options.counts:
                found[count] = {name: [] for name in ways}
                for number in range(options.rounds):
                    for name in list(ways) if number % 2 == 0 else list(ways)[::-1]:
                        found[count][name].append(ways[name](count))
                        print(f"{count} by {name}: {found[count][name][-1]}", file=sys.stderr, flush=True)
    finally:
        plain.close()
    return found


def table(found: dict[int, dict[str, list[tuple[float, float]]]]) -> str:
    """Return the medians, and how many times longer RackActor takes."""
    lines = [
        "| n | plain: all ACTIVE, s | RackActor: all run, s | ratio | plain: all gone, s | RackActor: all gone, s |"
    ]
    lines.append("|---|---|---|---|---|---|")
    for count, ways in found.items():
        (plain_up, plain_gone), (rack_up, rack_gone) = (_medians(ways[name]) for name in ("plain", "rack"))
        ratio = rack_up / plain_up
        verdict = "" if ratio <= TARGET else " **(asked: 1.15)**"
        cells = (f"{plain_up:.1f}", f"{rack_up:.1f}", f"{ratio:.2f}{verdict}", f"{plain_gone:.1f}", f"{rack_gone:.1f}")
        lines.append(f"| {count} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _medians(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    ups, ends = zip(*pairs, strict=True)
    return statistics.median(ups), statistics.median(ends)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cloud", description=__doc__)
    named = os.environ.get("OS_CLOUD")
    parser.add_argument(
        "--cloud", "--os-cloud", default=named, required=not named, help="an entry of clouds.yaml (default: OS_CLOUD)"
    )
    parser.add_argument("--image", default="rackactor", help="the guest image (default: rackactor)")
    parser.add_argument("--flavor", required=True)
    parser.add_argument("--network", required=True, help="an existing network, on which servers reach the cloud")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 5, 10], help="servers (default: 1 5 10)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=10, help="creates at a time (default: 10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw figures there, too")
    options = parser.parse_args()
    found = measure(options)
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
