"""Processes with an address each: no shared disk, memory or loopback; and networks that are cut."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import targets
from netlab import Lab, hindrance
from support import ROOT, eventually

import rackactor as rack
from rackactor import current
from rackactor.kernel.direct import path_monitor

ENOUGH = 30.0
SO_ACCEPTCONN = 30  # a listening socket; Python has no word for it


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A network of this test's own, to be cut."""
    reason = hindrance()
    if reason:
        pytest.skip(reason)
    with Lab(2) as made:
        yield made


class Keeper(rack.Actor):
    """Keep numbers in the order they come, and when there was the longest wait for one."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[int] = []
        self.last = 0.0
        self.longest = 0.0

    def receiveMsg_int(self, number: int, sender: Any) -> None:
        now = time.monotonic()
        if self.kept:
            self.longest = max(self.longest, now - self.last)
        self.last = now
        self.kept.append(number)

    def receiveMsg_str(self, message: str, sender: Any) -> None:
        self.send(sender, (self.kept, self.longest))


def is_direct(pid: int) -> bool:
    peer = current.current().kernel.peers.known(pid)
    return peer is not None and peer.path is not None


def stream(
    pid: int,
    count: int,
    seconds: float,
    retry: float = path_monitor.FIRST_RETRY,
    told: rack.PipeWriter | None = None,
    turns: int = 0,
) -> tuple[list[bool], list[int], float]:
    """Send numbers to a keeper for so long at least; return the paths taken, what it has kept, its longest wait.

    Tell each path as it is taken, and go on until the direct one has been taken so many times.
    """
    path_monitor.FIRST_RETRY = retry
    keeper, began = rack.process(pid), time.monotonic()
    seen: list[bool] = []
    number = 0
    while number < count or time.monotonic() - began < seconds or seen.count(True) < turns:
        keeper.tell(number, timeout=ENOUGH)
        number += 1
        if number % 100 == 0:
            time.sleep(seconds * 100 / count)
            if not seen or is_direct(pid) is not seen[-1]:
                seen.append(is_direct(pid))
                if told is not None:
                    told.send(seen[-1], timeout=ENOUGH)
    kept, longest = keeper.ask("what?", timeout=ENOUGH)
    assert kept == list(range(number)), "nothing lost, doubled or out of order"
    return seen, kept[-1:], longest


def pour(writer: rack.PipeWriter, count: int, size: int) -> None:
    for number in range(count):
        writer.send((number, bytes(size)), timeout=ENOUGH)


def drink(reader: rack.PipeReader, told: rack.PipeWriter, step: int) -> list[int]:
    """Take numbers; tell at each step how far it is, and whether they come directly from the process forked before."""
    taken: list[int] = []
    for number, _ in reader:
        taken.append(number)
        if number % step == 0:
            told.send((number, is_direct(rack.getpid() - 1)))
    return taken


def describe() -> dict[str, Any]:
    return {
        "network": os.readlink("/proc/self/ns/net"),
        "places": {place: os.listdir(place) for place in ("/dev/shm", "/var/tmp") if os.path.isdir(place)},
        "runtime": os.path.exists(os.environ["XDG_RUNTIME_DIR"] + "/rackactor"),
        "links": sorted(os.listdir("/proc/sys/net/ipv4/conf")),
    }


# -- apart ------------------------------------------------------------------------------------------------


def test_processes_share_nothing_but_a_network(lab: Lab) -> None:
    mark = Path("/dev/shm") / f"rack-{os.getpid()}"
    mark.touch()
    try:
        with rack.group(**lab.options) as group:
            found = [process.result(ENOUGH) for process in group.fork(describe, n=3)]
    finally:
        mark.unlink()
    assert found[0]["network"] == found[2]["network"], "in turns"
    assert len({each["network"] for each in found} | {os.readlink("/proc/self/ns/net")}) == 3
    for each in found:
        assert "e0" in each["links"]
        assert not each["runtime"]
        assert not any(each["places"].values())


def test_everything_a_process_does_works_across_networks(lab: Lab) -> None:
    with rack.group(**lab.options, grace=2.0) as group:
        one, two = group.fork(targets.Collector, n=2)
        one.tell(1)
        two.kill("a free string")
        assert one.ask("all", timeout=ENOUGH) == [1]
        assert eventually(lambda: two.ask("all", timeout=ENOUGH) == ["a free string"])
        command = group.fork(["sh", "-c", "read line; echo got $line; exit 3"], stdin=True)
        command.stdin.write(b"words\n")
        command.stdin.close()
        assert command.stdout.read() == b"got words\n"
        assert command.wait(ENOUGH).code == 3
        sleeper = group.fork(targets.nap)
        sleeper.kill(signal.SIGKILL)
        assert sleeper.wait(ENOUGH).signal == signal.SIGKILL
        one.kill(signal.SIGTERM)
        assert one.wait(ENOUGH).signal == signal.SIGTERM
        assert group.fork(grandchild).result(ENOUGH) == "from another network"


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_pipe_whose_direct_path_is_cut(lab: Lab, when: str) -> None:
    count, step = 1500, 100
    with rack.group(**lab.options, end_grace=0.5) as group:
        reader, writer = group.pipe()
        progress, told = group.pipe()
        if when == "before":
            lab.cut_between()
        pouring = group.fork(pour, writer, count, 20_000)
        drinking = group.fork(drink, reader, told, step)
        for end in (reader, writer, told):
            end.close()
        seen = []
        for number, direct in progress:
            seen.append(direct)
            if number == 5 * step and when == "during":
                lab.cut_between()
        assert drinking.result(ENOUGH) == list(range(count)), "nothing lost, doubled or out of order"
        assert pouring.wait(ENOUGH).ok
        assert not seen[-1], "in the end the supervisor carries it"
        assert any(seen) == (when == "during")


def grandchild() -> Any:
    return rack.fork(lambda: "from another network").result(ENOUGH)


def test_ipv6() -> None:
    reason = hindrance() or ("" if Path("/proc/net/if_inet6").exists() else "this machine has no IPv6")
    if reason:
        pytest.skip(reason)
    with Lab(2, ipv6=True) as lab, rack.group(**lab.options) as group:
        keeper = group.fork(Keeper)
        seen, last, _ = group.fork(stream, keeper.pid, 2000, 0.5).result(ENOUGH)
        assert seen[-1] is True
        assert last == [1999]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"transport": "tcp", "address": "192.0.2.254"}, "not an address of this host"),
        ({"address": "127.0.0.1"}, 'needs transport="tcp"'),
        ({"transport": "tcp", "provider_settings": {"namespaces": ["/proc/self/ns/net"]}}, "by tcp only|needs root"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(rack.InvalidCall, match=words):
        rack.group(**options)


@pytest.mark.parametrize("address", ["127.0.0.2", "::1"])
def test_loopback_addresses(address: str) -> None:
    if address == "::1" and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    with rack.group(transport="tcp", address=address) as group:
        assert group.fork(targets.add, 1, 2).result(ENOUGH) == 3


def test_the_page_keeps_its_word() -> None:
    reason = hindrance()
    if reason:
        pytest.skip(reason)
    page = (ROOT / "docs/networks.md").read_text("utf-8")
    own = {"try": f"t{os.getpid()}", "to-": f"r{os.getpid()}-", "10.77.0.": f"10.{os.getpid() % 50 + 150}.77."}
    for word, instead in own.items():
        page = page.replace(word, instead)
    before, after = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (text,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    try:
        subprocess.run(["sh", "-eu", "-c", before], check=True)
        done = subprocess.run([sys.executable, "-c", text], check=True, text=True, capture_output=True, timeout=120)
    finally:
        subprocess.run(["sh", "-u", "-c", after], check=False, capture_output=True)
    net = own["10.77.0."]
    assert done.stdout.split() == [f"{net}2", f"{net}3"]


# -- cut --------------------------------------------------------------------------------------------------


def test_a_network_that_was_cut_before_anybody_met(lab: Lab) -> None:
    lab.cut_between()
    with rack.group(**lab.options) as group:
        keeper = group.fork(Keeper)
        seen, last, longest = group.fork(stream, keeper.pid, 5000, 1.5).result(ENOUGH)
    assert seen == [False]
    assert last == [4999]
    assert longest < 1.0, "nobody waits for a handshake that does not come"


def test_a_path_that_is_cut_and_mended_while_messages_flow(lab: Lab) -> None:
    """The direct path is cut twice in the middle: all numbers come, once, in order, and without a long wait."""
    chance = random.Random(os.environ.get("RACK_SEED", "7"))
    with rack.group(**lab.options) as group:
        keeper = group.fork(Keeper)
        paths, told = group.pipe()
        sender = group.fork(stream, keeper.pid, 20_000, 5.0, 0.5, told, 3)
        told.close()
        for _ in range(2):
            while not paths.recv(ENOUGH):
                pass  # not yet, or not yet again
            time.sleep(chance.uniform(0.0, 0.5))
            lab.cut_between()
            assert not paths.recv(ENOUGH)
            time.sleep(chance.uniform(0.0, 1.5))
            lab.mend_between()
        seen, last, longest = sender.result(ENOUGH)
    assert last[0] >= 19_999
    assert seen.count(True) >= 3, f"the direct path was taken again: {seen}"
    assert longest < 4.0


def test_who_is_cut_off_for_less_than_the_lease_goes_on(lab: Lab) -> None:
    with rack.group(**lab.options, heartbeat=0.4, lease=20.0) as group:
        keeper = group.fork(Keeper)
        sender = group.fork(stream, keeper.pid, 5_000, 4.5)
        asks = group.fork(ask_the_supervisor, 4.5)
        time.sleep(1.0)
        lab.cut(0)  # keeper and asks
        time.sleep(2.5)
        lab.mend(0)
        assert sender.result(ENOUGH)[1][0] >= 4_999
        first, rest = asks.result(ENOUGH)
        assert rest == list(range(first, first + len(rest))), "each call once, in order"


def ask_the_supervisor(seconds: float) -> tuple[int, list[int]]:
    """Fork one process after the other; a call that is lost or doubled leaves a gap in their pids."""
    began, pids = time.monotonic(), []
    while time.monotonic() - began < seconds:
        pids.append(rack.fork(["true"]).pid)
        time.sleep(0.05)
    return pids[0], pids


def test_a_connection_that_breaks_loses_and_doubles_nothing(lab: Lab) -> None:
    """Every TCP connection of a process is cut off by itself, again and again, amid calls, replies and messages."""
    with rack.group(**lab.options) as group:
        keeper = group.fork(Keeper)
        first, pids = group.fork(break_and_ask, keeper.pid).result(ENOUGH)
        assert pids == list(range(first, first + len(pids)))
        kept, _ = keeper.ask("what?", timeout=ENOUGH)
        assert kept == list(range(len(kept)))
        assert len(kept) >= 1000


def break_and_ask(keeper_pid: int) -> tuple[int, list[int]]:
    keeper, stop = rack.process(keeper_pid), threading.Event()

    def break_connections() -> None:
        while not stop.wait(0.4):
            for name in os.listdir("/proc/self/fd"):
                try:
                    if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                        continue
                    with socket.socket(fileno=os.dup(int(name))) as found:
                        if found.family == socket.AF_INET and not found.getsockopt(socket.SOL_SOCKET, SO_ACCEPTCONN):
                            found.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # closed meanwhile

    breaker = threading.Thread(target=break_connections)
    breaker.start()
    began, pids, number = time.monotonic(), [], 0
    while time.monotonic() - began < 2.0:
        pids.append(rack.fork(["true"]).pid)
        for _ in range(50):
            keeper.tell(number)
            number += 1
        time.sleep(0.01)
    stop.set()
    breaker.join()
    return pids[0], pids


def test_who_is_cut_off_for_longer_is_lost(lab: Lab) -> None:
    with rack.group(**lab.options, heartbeat=0.3, lost_after=1.0, lease=2.0, end_grace=0.5) as group:
        cut, other = group.fork(targets.Echo, n=2)
        assert (cut.ask(1), other.ask(2)) == (1, 2)
        lab.cut(0)
        status = cut.wait(ENOUGH)
        assert status.cause == rack.Cause.LOST
        assert "lease" in status.evidence
        assert other.ask(3, timeout=ENOUGH) == 3
        with pytest.raises(rack.NoSuchProcess):
            cut.ask(4, timeout=ENOUGH)
        lab.mend(0)
        third = group.fork(targets.Echo, n=2)[0]
        assert third.ask(5, timeout=ENOUGH) == 5, "in the network that was cut"
