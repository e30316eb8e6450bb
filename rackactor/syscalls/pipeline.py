"""Pipelines: commands, each run by one or several processes, whose outputs are the next one's inputs.

    files = g.run("cat big.txt") | g.run("tr a-z A-Z", n=4) | g.run("sort")

Nothing runs before the pipeline is started: by `start`, `wait`, iteration, or access to its output.
"""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, Protocol

from rackactor import units
from rackactor.errors import InvalidCall, PipeBroken, ProcessDied, RackError
from rackactor.records import dataclass
from rackactor.status import ExitStatus
from rackactor.strings import os_text

if TYPE_CHECKING:
    from rackactor.syscalls.fork_call import Fork
    from rackactor.syscalls.pipe_call import OpenPipe
    from rackactor.syscalls.process import Process


@dataclass(frozen=True)
class Stage:
    """One command of a pipeline."""

    target: Any
    args: tuple[Any, ...] = ()
    #: How many processes share its input.
    n: int = 1
    #: Further options of `fork`.
    options: dict[str, Any] = field(default_factory=dict)


def stage(target: Any, args: Sequence[Any], n: int, options: dict[str, Any]) -> Stage:
    """Check a command: a string is split as a shell would, without running a shell."""
    if isinstance(target, str):
        target = shlex.split(target)
        if not target:
            raise InvalidCall("a command has at least one word")
    if isinstance(target, (list, tuple)) and target and "name" not in options:
        options = {**options, "name": os.path.basename(os_text(target[0], "an argument of a command"))}
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise InvalidCall(f"n is how many processes run a stage, at least 1, not {n!r}")
    for name in ("stdin", "stdout"):
        if name in options:
            raise InvalidCall(f"{name} of a stage is the pipeline's: see Pipeline.{name}, or use fork")
    return Stage(target, tuple(args), n, options)


class Starts(Protocol):
    """What a pipeline needs of its group: to start processes, and to open pipes."""

    @property
    def fork(self) -> Fork:
        """Start processes: see `Session.fork`."""

    @property
    def pipe(self) -> OpenPipe:
        """Open a pipe: see `Session.pipe`."""


class Pipeline:
    """Commands connected by pipes of the group.

    Lines stay whole: a stage of several processes shares its input by lines, and its outputs come line by line. The
    order between the processes of one stage is undefined.

    Attributes:
        processes: those of each stage, once it is started.
    """

    def __init__(self, owner: Starts, stages: Sequence[Stage]) -> None:
        self._owner = owner
        self._stages = list(stages)
        self._stdin: Any = None
        self._stdout: Any = None
        self._feeds = False
        self.processes: list[list[Process[Any]]] = []

    def __repr__(self) -> str:
        return " | ".join(str(stage.options.get("name") or stage.target) for stage in self._stages)

    def __or__(self, other: object) -> Pipeline:
        if not isinstance(other, Pipeline):
            return NotImplemented
        if self.processes or other.processes:
            raise InvalidCall("a pipeline that has been started cannot be lengthened")
        return Pipeline(self._owner, [*self._stages, *other._stages])

    def start(self) -> Pipeline:
        """Start its processes; idempotent. If `stdout` was not accessed before, the last stage prints to its log."""
        if not self.processes:
            self._start(capture=False)
        return self

    @property
    def stdin(self) -> Any:
        """The input of its first stage, a binary file; access starts the pipeline. Otherwise the input is empty."""
        if self._stdin is None:
            if self.processes:
                raise InvalidCall("the pipeline was started without an input: look at `stdin` first")
            self._feeds = True
            self._start(capture=True)
        return self._stdin

    @property
    def stdout(self) -> Any:
        """The output of its last stage, a binary file; access starts the pipeline. The stage waits for its reader."""
        if self._stdout is None:
            if self.processes:
                raise InvalidCall("the pipeline was started without a reader: look at `stdout` first")
            self._start(capture=True)
        return self._stdout

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the lines of its output."""
        return iter(self.stdout)

    def result(self, timeout: float | None = None) -> bytes:
        """Wait for its end and return its output.

        A stage that was ended by SIGPIPE, because a later one had read enough, is no failure.

        Raises:
            ProcessDied: a stage failed; `status` says how.
            RackTimeout: it has not ended within `timeout` seconds (None: no bound).
        """
        timeout = units.timeout(timeout)
        begun = time.monotonic()
        output, broken = b"", None
        try:
            output = self.stdout.read()
        except PipeBroken as error:
            broken = error  # the exit statuses say more
        self.wait(None if timeout is None else max(0.0, timeout - (time.monotonic() - begun)))
        for processes in self.processes:
            for process in processes:
                status = process.wait(0)
                if not status.ok and status.signal != signal.SIGPIPE:
                    text = f"{process.name} of the pipeline {self!r} failed: {status}\n{status.evidence}"
                    raise ProcessDied(text, pid=process.pid, status=status)
        if broken is not None:
            raise broken
        return output

    def wait(self, timeout: float | None = None) -> list[ExitStatus]:
        """Wait for the end of all its processes.

        Returns: how each stage ended; of several processes, the first failed one by pid counts.

        Raises:
            RackTimeout: some still run after `timeout` seconds.
        """
        timeout = units.timeout(timeout)
        self.start()
        deadline = None if timeout is None else time.monotonic() + timeout
        ended = []
        for processes in self.processes:
            statuses = [p.wait(None if deadline is None else max(0.0, deadline - time.monotonic())) for p in processes]
            ended.append(next((status for status in statuses if not status.ok), statuses[0]))
        return ended

    @property
    def status(self) -> int:
        """Its exit code as bash's `pipefail` has it: that of the last stage that did not end with 0, else 0.

        A stage ended by SIGPIPE counts as 141, as in bash. Waits for the end.
        """
        return next((status.code for status in reversed(self.wait()) if status.code), 0)

    def _start(self, *, capture: bool) -> None:
        pipe = self._owner.pipe
        before: Any = None
        if self._feeds:
            before, writer = pipe()
            self._stdin = writer.file("wb")
        try:
            for index, each in enumerate(self._stages):
                after, out = pipe() if capture or index < len(self._stages) - 1 else (None, None)
                self._fork(each, before, out)
                for end in (before, out):
                    if end is not None:
                        end.close()
                before = after
        except BaseException:
            self._undo()
            raise
        if before is not None:
            self._stdout = before.file("rb")

    def _fork(self, each: Stage, before: Any, out: Any) -> None:
        stdin = False if before is None else before
        forked = self._owner.fork(each.target, *each.args, n=each.n, stdin=stdin, stdout=out, **each.options)
        self.processes.append(list(forked))

    def _undo(self) -> None:
        for processes in self.processes:
            for process in processes:
                try:
                    process.kill("KILL")
                except RackError:
                    pass  # it has ended already
