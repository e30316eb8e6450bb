"""The calls of a session that are about pipes; the implementation is imported at its first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from rackactor.units import DEFAULT_TIMEOUT, Timeout
from rackactor.wire.calls.pipes import ListPipes

if TYPE_CHECKING:
    from rackactor.ipc.pipes.ends import PipeReader, PipeWriter
    from rackactor.ipc.pipes.fifo import Pipe
    from rackactor.kernel.kernel import Kernel
    from rackactor.syscalls.pipeline import Pipeline


class PipeMethods:
    """Pipes of one process of a group."""

    kernel: Kernel

    @overload
    def pipe(
        self,
        name: None = None,
        mode: None = None,
        *,
        text: bool = False,
        binary: bool = False,
        encoding: str = "utf-8",
        timeout: Timeout | Literal["default"] = DEFAULT_TIMEOUT,
    ) -> tuple[PipeReader, PipeWriter]: ...
    @overload
    def pipe(
        self,
        name: str,
        mode: None = None,
        *,
        text: bool = False,
        binary: bool = False,
        encoding: str = "utf-8",
        timeout: Timeout | Literal["default"] = DEFAULT_TIMEOUT,
    ) -> Pipe: ...
    @overload
    def pipe(
        self,
        name: str,
        mode: Literal["r"],
        *,
        text: bool = False,
        binary: bool = False,
        encoding: str = "utf-8",
        timeout: Timeout | Literal["default"] = DEFAULT_TIMEOUT,
    ) -> PipeReader: ...
    @overload
    def pipe(
        self,
        name: str,
        mode: Literal["w"],
        *,
        text: bool = False,
        binary: bool = False,
        encoding: str = "utf-8",
        timeout: Timeout | Literal["default"] = DEFAULT_TIMEOUT,
    ) -> PipeWriter: ...

    def pipe(
        self,
        name: str | None = None,
        mode: str | None = None,
        *,
        text: bool = False,
        binary: bool = False,
        encoding: str = "utf-8",
        timeout: Timeout | Literal["default"] = DEFAULT_TIMEOUT,
    ) -> Any:
        """Open a pipe.

        Args:
            name: of a FIFO, which any process of the group can open by this name, in any order; None: an anonymous
                pipe, whose ends are given to children as arguments of `fork`, or sent in messages.
            mode: "r" or "w": open that end of the FIFO now; None: the end that is used first, at its first use.
            text: `write` takes and `read` gives text; iteration is by lines.
            binary: iteration is by lines of bytes.
            encoding: of the text.
            timeout: seconds that `recv`, `send`, ... wait if the call gives no timeout; None: no bound. 60 s by
                default, and no bound for iteration.

        Returns: without a name, (reader, writer); otherwise the end that was asked for, or a FIFO.

        Source: POSIX pipe, mkfifo; RACK's pipes.
        """
        from rackactor.ipc.pipes.opening import open_pipe

        options = {"text": text, "binary": binary, "encoding": encoding, "timeout": timeout}
        return open_pipe(self.kernel, name, mode, options)

    def pipes(self) -> list[dict[str, Any]]:
        """Return the pipes of the group: id, name, pids of readers and writers, bytes held for readers to come."""
        fields, _ = self.kernel.call(ListPipes())
        rows: list[dict[str, Any]] = fields["pipes"]
        return rows

    def run(self, target: Any, *args: Any, n: int = 1, **options: Any) -> Pipeline:
        """Describe a command, or a pipeline of them with `|`; nothing runs before it is started.

        Args:
            target: a command: a list of strings, or one string, which is split as a shell would (no shell is run); or a
                function, whose standard files are connected.
            args: what a function is called with; further arguments of a command.
            n: how many processes share the stage's input, line by line.
            options: further options of `fork`: name, env, cwd, deadline, memory, stderr, ...
        """
        from rackactor.syscalls.pipeline import Pipeline, stage

        return Pipeline(self, [stage(target, args, n, options)])  # type: ignore[arg-type]
