"""What is read of /proc and of control groups."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rackactor_runtime.providers.local import cgroup, linux, tree

V1 = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
V1_CONTAINER = "35 31 0:32 /docker/ab /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
V2 = "30 20 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_stat_of_a_process_whose_name_is_meant_to_confuse() -> None:
    line = b"12 (a) R 1 2) (b) T 7 12 9 " + b"0 " * 15 + b"4711 0 0\n"
    assert linux.parse_stat(line) == linux.Stat("T", 7, 9, 4711)


def test_stat_of_this_process_and_of_none() -> None:
    stat = linux.read_stat(os.getpid())
    assert stat is not None
    assert (stat.ppid, stat.session) == (os.getppid(), os.getsid(0))
    assert linux.read_stat(2**22 + 1) is None


def test_both_ways_to_list_children_agree() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in tree.list_children()
        assert sorted(tree.list_children()) == sorted(tree.scan_children(os.getpid()))
        assert child.stdin is not None
        child.stdin.close()


def test_orphans_are_the_children_that_nobody_made() -> None:
    assert tree.find_orphans([1, 2, 3], {2: "ours"}) == {1, 3}
    assert tree.find_orphans([], {2}) == set()


def test_close_from_keeps_one() -> None:
    pids = os.fork()
    if pids == 0:
        low, high = os.dup(0), os.dup(0)
        linux.close_from(3, keep=high)
        listed = set(map(int, os.listdir("/proc/self/fd")))
        kept = {fd for fd in listed if fd == high or fd > 2}
        os._exit(0 if high in kept and len(kept) <= 2 and low != high else 1)  # and the directory's own
    assert os.waitstatus_to_exitcode(os.waitpid(pids, 0)[1]) == 0


def test_places_for_a_group() -> None:
    assert cgroup.find_parents(V1, "4:memory:/a/b\n0::/x\n") == [
        ("/sys/fs/cgroup/memory/a/b", 1),
        ("/sys/fs/cgroup/memory/a", 1),
    ]
    assert cgroup.find_parents(V1_CONTAINER, "4:memory:/docker/ab\n") == [("/sys/fs/cgroup/memory", 1)]
    assert cgroup.find_parents(V2, "0::/user.slice/x.scope\n") == [
        ("/sys/fs/cgroup/user.slice/x.scope", 2),
        ("/sys/fs/cgroup/user.slice", 2),
    ]
    assert cgroup.find_parents("1 2 0:3 / / rw - ext4 /dev/vda rw\n", "0::/\n") == []


def test_oom_kills_in_both_versions() -> None:
    assert cgroup.parse_oom_kills("low 0\noom 3\noom_kill 2\noom_group_kill 1\n") == 2
    assert cgroup.parse_oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n") == 1
    assert cgroup.parse_oom_kills("oom_kill_disable 0\nunder_oom 0\n") == 0


def test_groups_of_a_dead_maker_are_swept_and_those_of_a_living_one_are_not(tmp_path: Path) -> None:
    living = cgroup.make_name()
    names = ["rackactor-4194303-1-ab", "rackactor-x", "other", living]
    for name in names:
        (tmp_path / name / "1.0").mkdir(parents=True)
    cgroup.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"rackactor-x", "other", living}
    assert not cgroup.is_stale(living)
