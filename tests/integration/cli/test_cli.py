"""The command line, as its users run it: real programs, real pipes, real Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rackcommand import RACK, Rack, a_rack

from rackactor.system.readiness import readable

pytestmark = pytest.mark.timeout(180)  # programs that start programs: a busy machine needs its time


@pytest.fixture
def rack() -> Iterator[Rack]:
    with a_rack() as made:
        yield made


@pytest.fixture
def job(tmp_path: Path) -> Any:
    """Write a script; return its path."""

    def write(text: str) -> Path:
        path = tmp_path / "job.py"
        path.write_text(text)
        return path

    return write


# -- rack run: commands --------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 7, 255])
def test_the_exit_status_is_the_commands(rack: Rack, code: int) -> None:
    done = rack("run", "--", "sh", "-c", f"exit {code}")
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_standard_input_output_and_error_pass_through(rack: Rack) -> None:
    done = rack("run", "--", "sh", "-c", "tr a-z A-Z; echo trouble >&2", input="abc\n")
    assert (done.stdout, done.stderr, done.returncode) == ("ABC\n", "trouble\n", 0)


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_much_data_passes_through_unchanged(rack: Rack, transport: str) -> None:
    text = "".join(f"{n} {n * n}\n" for n in range(200_000))
    done = rack("run", "--transport", transport, "--", "cat", input=text)
    assert done.stdout == text
    assert done.returncode == 0


def test_a_command_that_reads_nothing_does_not_wait_for_input(rack: Rack) -> None:
    running = rack.start("run", "--", "true")
    assert running.wait(20) == 0  # its standard input is open still
    running.communicate()


def test_a_command_that_a_signal_ends(rack: Rack) -> None:
    done = rack("run", "--", "sh", "-c", "kill -TERM $$")
    assert done.returncode == 143
    assert done.stderr.startswith("rack: process 3 (sh): signalled by SIGTERM (code 143)")
    assert done.stderr.count("\n") == 1


def test_a_command_that_is_not_there(rack: Rack) -> None:
    done = rack("run", "--", "no-such-command")
    assert done.returncode == 127
    assert done.stderr == "rackactor: cannot run 'no-such-command': No such file or directory\n"


def test_a_reader_that_goes_ends_the_command_and_leaves_nothing(rack: Rack) -> None:
    running = rack.start("run", "--", "yes")
    assert running.stdout is not None
    assert running.stderr is not None
    assert running.stdout.readline() == "y\n"
    began = time.monotonic()
    running.stdout.close()
    assert running.wait(10) == 141
    assert time.monotonic() - began < 5
    assert running.stderr.read() == ""
    assert rack.nothing_left_within(2)
    running.stderr.close()


def test_outputs_that_are_closed_or_full(rack: Rack) -> None:
    done = rack("run", "--", "sh", "-c", "echo out; echo err >&2", preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, "err\n")
    with open("/dev/full", "w") as full:
        running = rack.start("run", "--", "yes", stdout=full)
        assert "No space left on device" in running.communicate(timeout=120)[1]
    assert running.returncode == 1


def test_copies_do_not_mix_their_lines_and_the_first_failure_counts(rack: Rack) -> None:
    one = 'i=0; while [ $i -lt 50 ]; do printf "$RACK_PID-"; printf "$i\\n"; i=$((i+1)); done; exit $((RACK_PID - 3))'
    done = rack("run", "-n", 3, "--", "sh", "-c", one)
    lines = done.stdout.splitlines()
    assert sorted(lines) == sorted(f"{pid}-{i}" for pid in (3, 4, 5) for i in range(50))
    assert done.returncode == 1


def test_a_deadline(rack: Rack) -> None:
    done = rack("run", "--deadline", "300ms", "--", "sleep", 60)
    assert done.returncode == 143
    assert "deadline by SIGTERM" in done.stderr


def test_the_rack_command_works_from_inside(rack: Rack) -> None:
    done = rack("run", "--", "sh", "-c", "rack ps -f value -c PID -c Kind; rack kill -s TERM $RACK_PID; sleep 60")
    assert done.stdout == "2 script\n3 command\n"
    assert done.returncode == 143
    assert "SIGTERM from process" in done.stderr


# -- rack run: scripts ---------------------------------------------------------------------------------

OPTIONS = '''
def main(workers: int = 4, names: list[str] = [], fast: bool = False, ratio: float = 0.5) -> int:
    """Do the job.

    Args:
        workers: how many there are.
    """
    print(workers, names, fast, ratio)
    return workers
'''


def test_the_parameters_of_main_are_options(rack: Rack, job: Any) -> None:
    done = rack("run", job(OPTIONS), "--workers", 8, "--names", "a", "b", "--fast")
    assert (done.stdout, done.returncode) == ("8 ['a', 'b'] True 0.5\n", 8)


def test_help_shows_the_docstring(rack: Rack, job: Any) -> None:
    done = rack("run", job(OPTIONS), "--help")
    assert done.returncode == 0
    assert "Do the job." in done.stdout
    assert "how many there are. (default: 4)" in done.stdout


def test_a_plain_script_runs_as_it_is(rack: Rack, job: Any) -> None:
    path = job(
        "import atexit, os, sys\n"
        "atexit.register(print, 'hook')\n"
        "print(sys.argv, __name__, __file__, sys.path[0], os.getcwd(), input())\n"
        "def main(unused: int = 1) -> None: print('main')\n"
        "if __name__ == '__main__': sys.exit(3)\n"
    )
    done = rack("run", path, "-n", "--", "-x", input="hello\n", cwd="/")
    words = [str(path), "-n", "--", "-x"]
    assert done.stdout == f"{words} __main__ {path} {path.parent} / hello\nhook\n"
    assert done.returncode == 3


def test_what_a_script_and_its_children_print_is_all_shown(rack: Rack, job: Any) -> None:
    path = job(
        "import sys\n"
        "import rackactor as rack\n"
        "def work(mark):\n"
        "    for number in range(20_000): print(mark, number)\n"
        "    print('done', mark, file=sys.stderr)\n"
        "class Doubler(rack.Actor):\n"
        "    def receiveMsg_int(self, message, sender): self.send(sender, 2 * message)\n"
        "children = rack.fork(work, each='ab')\n"
        "print('twice', rack.fork(Doubler).ask(21))\n"
        "for child in children: child.wait()\n"
    )
    done = rack("run", path)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == sorted(
        ["twice 42", *(f"{mark} {number}" for mark in "ab" for number in range(20_000))]
    )
    assert sorted(done.stderr.splitlines()) == ["done a", "done b"]


def test_a_script_that_raises_shows_its_own_lines_only(rack: Rack, job: Any) -> None:
    done = rack("run", job("def inner():\n    1 / 0\n\ninner()\n"))
    assert done.returncode == 1
    files = [line for line in done.stderr.splitlines() if line.strip().startswith("File ")]
    assert len(files) == 2
    assert all("job.py" in line for line in files)
    assert "    1 / 0\n" in done.stderr
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_scripts_that_cannot_be_run(rack: Rack, job: Any, tmp_path: Path) -> None:
    missing = rack("run", tmp_path / "missing.py")
    assert missing.returncode == 1
    assert missing.stderr == f"rack: cannot read the script '{tmp_path}/missing.py': No such file or directory\n"
    wrong = rack("run", job("def f(:\n"))
    assert wrong.returncode == 1
    assert "SyntaxError" in wrong.stderr
    shell = rack("run", job("#!/bin/sh\nexit 0\n"))
    assert shell.returncode == 1
    assert "run it as a command, `rack run -- " in shell.stderr


def test_a_script_that_dies_with_the_command_killed(rack: Rack, job: Any) -> None:
    path = job("import time, rackactor as rack\nrack.fork(time.sleep, 60)\nprint('up', flush=True)\ntime.sleep(60)\n")
    running = rack.start("run", path)
    assert running.stdout is not None
    assert running.stdout.readline() == "up\n"
    running.kill()
    running.communicate()
    assert rack.nothing_left_within(5)


# -- Ctrl-C --------------------------------------------------------------------------------------------

STUBBORN = 'trap "echo int" INT; trap "echo term" TERM; echo ready; while :; do sleep 60 & wait; done'


def test_ctrl_c_once_twice_three_times(rack: Rack) -> None:
    running = rack.start("run", "--", "sh", "-c", STUBBORN, start_new_session=True)
    assert running.stdout is not None
    for word in ("ready", "int", "term"):
        assert running.stdout.readline() == f"{word}\n"
        os.killpg(running.pid, signal.SIGINT)
    began = time.monotonic()
    assert running.wait(10) == 137
    assert time.monotonic() - began < 2
    _, stderr = running.communicate()
    assert stderr == ""  # whoever pressed it needs no explanation
    assert rack.nothing_left_within(2)


def test_ctrl_c_on_a_terminal(rack: Rack) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(RACK, ["rack", "run", "--", "sh", "-c", "echo ready; exec sleep 60"], rack.env)
    seen = _read_until(terminal, b"ready")
    assert seen.index(b"rack: starting") < seen.index(b"\r\x1b[K") < seen.index(b"ready")
    os.write(terminal, b"\x03")
    began = time.monotonic()
    _, status = os.waitpid(pid, 0)
    assert time.monotonic() - began < 2
    assert os.waitstatus_to_exitcode(status) == 130
    os.close(terminal)


def test_a_terminals_input_reaches_the_command(rack: Rack) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(RACK, ["rack", "run", "--", "sh", "-c", "echo ready; read line; echo got $line"], rack.env)
    _read_until(terminal, b"ready")
    os.write(terminal, b"a word\n")
    _read_until(terminal, b"got a word")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)


def _read_until(terminal: int, wanted: bytes) -> bytes:
    seen = b""
    until = time.monotonic() + 20
    while wanted not in seen:
        assert readable([terminal], until - time.monotonic()), seen
        seen += os.read(terminal, 4096)
    return seen


# -- a detached group, from other shells ---------------------------------------------------------------


class detached:
    """A detached group, deleted afterwards."""

    def __init__(self, rack: Rack, *words: str) -> None:
        self.rack = rack
        done = rack("run", "--detach", "--name", "job", "--", *words)
        assert done.returncode == 0, done.stderr
        assert "it ends after 24h at the latest" in done.stderr
        self.gid, pid = done.stdout.split()
        assert pid == "3"

    def __enter__(self) -> detached:
        return self

    def __exit__(self, *_: object) -> None:
        done = self.rack("group", "delete", "job")
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(self.rack("group", "list", "-f", "json").stdout) == []


def test_a_detached_group_from_other_shells(rack: Rack) -> None:
    with detached(rack, "sh", "-c", "echo out; echo err >&2; read line; exit 9") as made:
        shown = json.loads(rack("group", "show", "-f", "json", made.gid[:6]).stdout)
        assert (shown["name"], shown["detached"]) == ("job", True)
        first, second = rack("wait", 3), rack("wait", 3)
        assert (first.returncode, second.returncode) == (9, 9)
        logs = rack("logs", 3)
        assert (logs.stdout, logs.stderr, logs.returncode) == ("out\n", "err\n", 0)


@pytest.mark.parametrize(
    "words",
    [
        ["-Usr1", 3],
        *(pytest.param(each, marks=pytest.mark.wide) for each in (["-10", 3], ["-s", "usr1", 3], ["-SIGUSR1", 3])),
    ],
    ids=str,
)
def test_following_killing_and_asking_why(rack: Rack, words: list[Any]) -> None:
    with detached(rack, "sh", "-c", "echo ready; exec sleep 60"):
        following = rack.start("logs", "-f", 3)
        assert following.stdout is not None
        assert following.stdout.readline() == "ready\n"
        assert rack("wait", "--timeout", "0.05", 3).returncode == 124
        assert rack("kill", *words).returncode == 0
        assert following.wait(10) == 0
        following.communicate()
        waited = rack("wait", 3)
        assert waited.returncode == 138
        assert "signalled by SIGUSR1" in waited.stderr
        why = rack("why", 3).stdout
        assert "process 3 (sh): command, sh -c echo ready; exec sleep 60" in why
        assert "end       signalled by SIGUSR1 (code 138): a signal ended it" in why
        assert "SIGUSR1 from " in why
        assert "(a command line)" in why
        assert "  last output\n    ready\n" in why
        assert "parent    1 (the supervisor)" in why


def test_ctrl_c_ends_what_waits(rack: Rack) -> None:
    with detached(rack, "sh", "-c", "echo ready; exec sleep 60"):
        following = rack.start("logs", "-f", 3, start_new_session=True)
        assert following.stdout is not None
        assert following.stdout.readline() == "ready\n"
        os.killpg(following.pid, signal.SIGINT)
        began = time.monotonic()
        assert following.wait(10) == 130
        assert time.monotonic() - began < 2
        following.communicate()


# -- looking -------------------------------------------------------------------------------------------

TREE = """
import rackactor as rack, subprocess, time
def inner(): time.sleep(60)
def outer():
    rack.fork(inner, name="leaf")
    time.sleep(60)
rack.fork(outer, name="branch")
while len(rack.ps()) < 4: time.sleep(0.01)
for words in (["--tree", "-c", "Process"], ["-c", "PID", "-c", "PPID"]):
    print(subprocess.run(["rack", "ps", "-f", "value", *words], capture_output=True, text=True).stdout, flush=True)
"""


def test_ps_draws_the_tree(rack: Rack, job: Any) -> None:
    tree, _, rest = rack("run", job(TREE)).stdout.partition("\n\n")
    assert tree.splitlines() == [
        "1 supervisor",
        "└─ 2 script",
        "   └─ 3 job.py",
        "      └─ 4 branch",
        "         └─ 5 leaf",
    ]
    assert rest.split() == ["2", "1", "3", "2", "4", "3", "5", "4"]


@pytest.mark.parametrize("format", ["json", "yaml", "csv", "table", "value"])
def test_lists_come_in_every_format(rack: Rack, format: str) -> None:
    done = rack("group", "list", "-f", format)
    assert (done.returncode, done.stderr) == (0, "")


def test_which_group(rack: Rack) -> None:
    none = rack("ps")
    assert (none.returncode, none.stderr) == (1, "rack: no group of yours runs on this host\n")
    with detached(rack, "sleep", "60") as first:
        assert rack("ps").returncode == 0
        inside = rack("run", "--", "rack", "ps", "-f", "value", "-c", "Name")
        assert inside.stdout == "script\nrack\n"  # RACK_GID says which
        both = rack("run", "--", "sh", "-c", "unset RACK_GID; rack ps")
        assert both.returncode == 1
        assert both.stderr.startswith(f"rack: which group? Choose one with -g: job ({first.gid[:8]}), group-")
        other = rack("ps", "-g", "other")
        assert other.stderr == f"rack: there is no group 'other'; groups on this host: job ({first.gid[:8]})\n"
        for name in ("job", first.gid, first.gid[:5]):
            assert rack("kill", "-g", name, "-s", "0", 3).returncode == 0


CHANGES = [
    ["kill", "-s", "0", 3],
    ["shm", "set", "k", "v"],
    ["shm", "incr", "k"],
    ["shm", "cas", "--absent", "k", "v"],
    ["shm", "rm", "k"],
    ["fs", "rm", "f"],
    ["fs", "mv", "f", "g"],
    ["fs", "mkdir", "d"],
    ["fs", "cp", "/dev/null", "rack:/f"],
    ["pipe", "read", "p"],
    ["pipe", "write", "p"],
]


def test_to_change_a_group_of_another_session_it_must_be_named(rack: Rack) -> None:
    with detached(rack, "sleep", "60"):
        for words in CHANGES:
            done = rack(*words, start_new_session=True)
            assert (done.returncode, done.stdout) == (1, ""), words
            assert done.stderr.startswith("rack: the only group here, job, was made from another session"), words
        assert rack("ps", start_new_session=True).returncode == 0  # to look does no harm
        assert rack("kill", "-g", "job", "-s", "0", 3, start_new_session=True).returncode == 0
        assert rack("kill", "-s", "0", 3).returncode == 0
        inside = rack("run", "--", "sh", "-c", "rack kill -s 0 $RACK_PID && rack shm set k v", start_new_session=True)
        assert (inside.returncode, inside.stderr) == (0, "")


def test_a_second_detached_group_of_one_name_is_refused(rack: Rack) -> None:
    with detached(rack, "sleep", "60") as first:
        again = rack("run", "--detach", "--name", "job", "--", "true")
        assert (again.returncode, again.stdout) == (1, "")
        assert again.stderr.startswith(f"rack: there is a group named job ({first.gid[:8]}) on this host already")
        assert again.stderr.count("\n") == 1
    both = [rack.start("run", "--detach", "--name", "twins", "--", "sleep", "60") for _ in range(2)]
    ends = sorted((running.communicate(timeout=120)[0] != "", running.returncode) for running in both)
    assert ends == [(False, 1), (True, 0)]
    assert rack("group", "delete", "twins").returncode == 0


def test_errors_are_one_line_and_debug_shows_more(rack: Rack) -> None:
    with detached(rack, "sleep", "60"):
        for words in (["why", 99], ["logs", 99], ["wait", 99]):
            done = rack(*words)
            assert done.returncode == 1
            assert done.stderr == "rack: this group never had a process 99, or has forgotten it\n"
        assert "Traceback" in rack("--debug", "why", 99).stderr
        assert rack("kill", 99).stderr == "rack: no living process 99 in this group\n"
        assert rack("kill", "-s", "99", 3).stderr.startswith("rack: 99 is not the number of a signal")


def test_in_a_directory_that_has_been_removed(rack: Rack, tmp_path: Path) -> None:
    """Where Python itself works, so does each command."""
    (tmp_path / "there.py").write_text("import rackactor as rack\nprint(rack.fork(int).result())\n")
    for words, code, said in (
        (["run", "--", "echo", "here"], 0, "here\n"),
        (["run", str(tmp_path / "there.py")], 0, "0\n"),
        (["run", "--transport", "tcp", "--", "echo", "here"], 0, "here\n"),
        (["pipeline", "echo here", "cat"], 0, "here\n"),
        (["group", "list", "-f", "value"], 0, ""),
        (["run", "gone.py"], 1, "rack: cannot read the script 'gone.py': No such file or directory\n"),
        (["image", "list", "--cloud", "nowhere"], 1, "rack: Cloud nowhere"),
        (["run", "--cloud", "nowhere", "--", "cat", "gone"], 1, "rack: no such cloud"),
    ):
        gone = tmp_path / "gone"
        gone.mkdir()
        done = rack(*words, preexec_fn=lambda: (os.chdir(gone), gone.rmdir()))  # noqa: B023
        told = done.stdout if code == 0 else done.stderr.replace("rackactor: ", "rack: ")
        assert (done.returncode, told[: len(said)] if code else told) == (code, said), (words, done.stderr)


def test_usage(rack: Rack) -> None:
    assert rack("--version").stdout.startswith("rack 0.")
    assert "group delete" in rack().stdout
    assert "COMMAND [ARGS...]" in rack("run", "--help").stdout
    assert rack("run").stderr.startswith("rack: what is to run?")
    assert rack("run", "-n", "0", "--", "true").returncode == 2
    assert rack("run", "--deadline", "soon", "--", "true").stderr.startswith("rack: --deadline is a positive number")
    assert rack("no-such-verb").returncode == 2
