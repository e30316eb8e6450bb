"""The end of a membership while it is in use: whoever waits or reads in another thread hears of it, in clear words."""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest

import rackactor as rack
from rackactor.launch import directories

PATIENCE = 10.0


def serve() -> None:
    while True:
        rack.receive(timeout=None).reply(1)


def stay() -> None:
    while True:
        rack.receive(timeout=None)


class Users:
    """Threads that do something again and again, until it is refused."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._begun: list[threading.Event] = []
        #: What each was told at last.
        self.told: dict[str, BaseException] = {}

    def add(self, name: str, act: Callable[[], Any]) -> None:
        begun = threading.Event()

        def use() -> None:
            try:
                while True:
                    begun.set()
                    act()
            except BaseException as error:
                self.told[name] = error

        self._begun.append(begun)
        self._threads.append(threading.Thread(target=use, name=name, daemon=True))
        self._threads[-1].start()

    def wait_begun(self) -> None:
        for begun in self._begun:
            assert begun.wait(PATIENCE)

    def finish(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not [thread.name for thread in self._threads if thread.is_alive()]
        for name, error in self.told.items():
            assert isinstance(error, rack.RackError), (name, "".join(traceback.format_exception(error)))


def use_in_every_way(group: rack.Group, users: Users, served: rack.Process, idle: rack.Process) -> None:
    def wait() -> None:
        idle.wait()
        raise rack.ProcessDied("it ended")

    def pipe() -> None:
        reader, writer = group.pipe()
        writer.send(b"abc")
        reader.recv()

    def watch() -> None:
        with group.shm.watch("a") as changes:
            next(changes)

    users.add("wait", wait)
    users.add("ask", lambda: served.ask(b"x"))
    users.add("tell", lambda: idle.tell(b"y" * 1000))
    users.add("ps", group.ps)
    users.add("receive", lambda: group.receive(timeout=None))
    users.add("pipe", pipe)
    users.add("read", lambda: group.shm["a"])
    users.add("write", lambda: group.shm.put("a", 1))
    users.add("watch", watch)


@pytest.mark.netns
def test_a_group_that_ends_while_threads_use_it(where: dict[str, Any]) -> None:
    for _ in range(3):
        users = Users()
        with rack.group(**where) as group:
            group.shm["a"] = 0
            use_in_every_way(group, users, rack.fork(serve), rack.fork(stay))
            users.wait_begun()
        users.finish()
        # Some are told of the processes' end, which is the group's; the rest that there is no group any more.
        assert {"ps", "receive", "read", "write", "watch"} <= {
            name for name, error in users.told.items() if isinstance(error, rack.GroupEnded)
        }, users.told


def test_a_guest_that_leaves_while_its_threads_use_the_group(group: rack.Group) -> None:
    served, idle = group.fork(serve), group.fork(stay)
    group.shm["a"] = 0
    for _ in range(3):
        users = Users()
        [card] = [card for card in directories.cards() if card["gid"] == group.gid]
        guest = rack.syscalls.group.attach(card)
        use_in_every_way(guest, users, guest.process(served.pid), guest.process(idle.pid))
        users.wait_begun()
        guest.leave()
        users.finish()
    assert served.is_alive()
    assert idle.is_alive()


def test_a_signal_handler_that_ends_the_group_in_the_midst_of_a_wait(where: dict[str, Any]) -> None:
    group = rack.group(**where)
    process = group.fork(stay)
    before = signal.signal(signal.SIGUSR1, lambda *_: group.end())
    threading.Timer(0.2, signal.pthread_kill, [threading.main_thread().ident, signal.SIGUSR1]).start()
    try:
        since = time.monotonic()
        with pytest.raises(rack.GroupEnded):
            group.receive(timeout=None)
        assert time.monotonic() - since < PATIENCE
    finally:
        signal.signal(signal.SIGUSR1, before)
        group.end()
    assert process.wait().cause is rack.Cause.GROUP_ENDED


def test_threads_that_wait_for_the_same_process_are_all_told(group: rack.Group) -> None:
    process = group.fork(stay)
    told: list[Any] = []
    begun = threading.Barrier(9)

    def poll() -> rack.ExitStatus:
        while (status := process.poll()) is None:
            pass
        return status

    def ask(how: Callable[[], rack.ExitStatus]) -> None:
        begun.wait()
        try:
            told.append(how())
        except Exception as error:
            told.append(error)

    threads = [threading.Thread(target=ask, args=[how]) for how in 4 * (poll, lambda: process.wait(PATIENCE))]
    for thread in threads:
        thread.start()
    begun.wait()
    process.kill("KILL")
    for thread in threads:
        thread.join(PATIENCE)
    assert [str(each) for each in told] == [str(process.wait())] * 8
    assert process.wait().signal == signal.SIGKILL
    with pytest.raises(rack.NoChild):
        group.wait(process.pid)


def test_a_message_awaited_of_a_group_that_ends_is_no_timeout(where: dict[str, Any]) -> None:
    group = rack.group(**where)
    ending = threading.Timer(0.2, group.end)
    ending.start()
    with pytest.raises(rack.GroupEnded):
        group.receive(timeout=PATIENCE)
    ending.join(PATIENCE)
    with pytest.raises(rack.GroupEnded):
        group.receive(timeout=0)
