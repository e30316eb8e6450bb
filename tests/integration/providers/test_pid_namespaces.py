"""In a pid namespace that sees its host's /proc: a container, or `unshare --pid`, that has mounted none of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap

import pytest

from rackactor.system import procfs

ENOUGH = 100.0

NUMBERS = """
    import os, subprocess, sys
    from rackactor.launch import directories
    from rackactor.system import procfs
    from rackactor_runtime.providers.local import linux, tree

    if __name__ == "__main__":
        child = subprocess.Popen(["sleep", "60"], start_new_session=True)
        mine, its = linux.read_stat(os.getpid()), linux.read_stat(child.pid)
        print(procfs.is_foreign(), tree.list_children() == [child.pid], tree.scan_children(os.getpid()) == [child.pid])
        print((its.ppid, its.session) == (os.getpid(), child.pid), its.state in "SRD")
        began = directories.start_time(os.getpid())
        print(mine.started <= its.started == directories.start_time(child.pid), began == mine.started)
        child.kill()
        while linux.read_stat(child.pid).state != "Z":
            pass
        print(tree.list_children() == [child.pid], directories.start_time(child.pid) == 0)
        child.wait()
        print(tree.list_children() == [], linux.read_stat(child.pid) is None, directories.start_time(child.pid) == 0)
"""
GROUP = """
    import os, subprocess, time
    import rackactor as rack

    def leave():
        subprocess.Popen(["sleep", "1000"], start_new_session=True)

    if __name__ == "__main__":
        with rack.group() as g:
            print([g.fork(what).wait().evidence for what in (int, ["true"], leave)])
            stopped = g.fork(time.sleep, 60)
            while not (stopped.info()["started"] and stopped.info()["instance"]):
                pass
            os.kill(int(stopped.info()["instance"]), 19)
            print(stopped.wait().cause)
"""


def unshared(text: str) -> list[str]:
    """Run a program in a pid namespace of its own, with this one's /proc; return its lines."""
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "--pid", "--fork", "true"], check=False).returncode
    ):
        pytest.skip("no pid namespace can be made here")
    words = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", textwrap.dedent(text)]
    done = subprocess.run(words, text=True, capture_output=True, timeout=ENOUGH, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_processes_have_the_numbers_that_they_have_here() -> None:
    assert unshared(NUMBERS) == ["True True True", "True True", "True True", "True True", "True True True"]
    assert not procfs.is_foreign()


def test_processes_of_a_namespace_beside_this_one_are_none_of_it() -> None:
    """They have the same numbers there, at the same depth."""
    words = ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", "sleep 60 & echo up; wait"]
    unshared("pass")  # or skipped
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as beside:
        try:
            assert beside.stdout is not None
            assert beside.stdout.readline() == "up\n"
            test_processes_have_the_numbers_that_they_have_here()
        finally:
            beside.kill()


def test_an_end_is_told_when_it_has_come_and_with_nothing_to_say() -> None:
    """It was told after five seconds, for want of the number under which to look for what was left."""
    assert unshared(GROUP) == ["['', '', '']", "lost"]
