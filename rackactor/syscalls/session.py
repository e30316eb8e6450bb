"""A program's membership in a group: the system calls, and what it remembers of its children."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Any, Literal

from rackactor.errors import InvalidCall
from rackactor.kernel import coroutines
from rackactor.kernel.inbox import EventHandler
from rackactor.kernel.kernel import Kernel
from rackactor.launch import process_context
from rackactor.program.shipping import Shipping
from rackactor.status import ExitStatus
from rackactor.syscalls import main_names
from rackactor.syscalls.describing import takes
from rackactor.syscalls.fork_call import typed
from rackactor.syscalls.fork_request import ForkRequest
from rackactor.syscalls.forks import Forks
from rackactor.syscalls.message import Message, receive
from rackactor.syscalls.pipe_call import typed_pipe
from rackactor.syscalls.process import Process, send_signal
from rackactor.syscalls.signal_handlers import SignalHandlers
from rackactor.syscalls.wait import Waits
from rackactor.units import DEFAULT_TIMEOUT, Timeout
from rackactor.wire.calls.pipes import ListPipes
from rackactor.wire.calls.processes import Ps
from rackactor.wire.target import Creation, Target

if TYPE_CHECKING:
    from rackactor.ipc.files.client import Files
    from rackactor.ipc.files.filesystem import RackFileSystem
    from rackactor.ipc.memory.locks import Lock
    from rackactor.ipc.memory.mapping import Memory
    from rackactor.syscalls.pipeline import Pipeline


class Session:
    """The calls of one process of a group. Thread-safe.

    Args:
        kernel: this process's half of the wire.
        base: the context that forked processes have by default; None: not known.
        on_signal: handles signals instead of this process; None: it handles them itself.

    Attributes:
        gid: the UUID of the group.
        kernel: this process's half of the wire.
        waits: what this process knows of the ends of others.
        signals: its handlers of signals, and of the ends of its children.
        shipping: the program's code, on its way to where the group's processes run.
    """

    def __init__(
        self, kernel: Kernel, base: process_context.Base | None = None, on_signal: EventHandler | None = None
    ) -> None:
        self.kernel = kernel
        self.gid = kernel.gid
        self.waits = Waits(kernel)
        self.signals = SignalHandlers(kernel, on_signal)
        self.shipping = Shipping(kernel, self.open)
        self._forks = Forks(kernel, self.waits, self.shipping, base)
        self._memory: Memory | None = None  # made at its first use, as the files are
        self._files: Files | None = None
        self._exit_hooks: list[Callable[[], Any]] = []
        main_names.serve(kernel)

    # -- who am I ----------------------------------------------------------------------------------------

    def getpid(self) -> int:
        """Return this process's pid."""
        return self.kernel.pid

    def getppid(self) -> int:
        """Return its parent's pid, as it is now."""
        return int(self.process(self.getpid()).info()["ppid"])

    def getpgid(self, pid: int = 0) -> int:
        """Return the process group of a process (0: of this one)."""
        return int(self.process(pid or self.getpid()).info()["pgid"])

    def process(self, pid: int) -> Process[Any]:
        """Return a handle on any process of the group."""
        if not isinstance(pid, int) or pid < 1:
            raise InvalidCall(f"a pid is a positive integer, not {pid!r}")
        return Process(self.kernel, self.waits, pid)

    def ps(self) -> list[dict[str, Any]]:
        """Return the process table: a row of plain values for each process that lives or is a zombie."""
        fields, _ = self.kernel.call(Ps())
        rows: list[dict[str, Any]] = fields["processes"]
        return rows

    # -- fork --------------------------------------------------------------------------------------------

    @typed
    @takes(ForkRequest.fork)
    def fork(self, target: Any, *args: Any, **options: Any) -> Any:
        """Start processes as children of this one.

        Returns as soon as the supervisor has recorded the fork: the pids are known then. Messages to a child that is
        not up yet are delivered when it is.

        Args:
            target: an Actor class; a function (importable, or by value: a lambda works); a list of strings (a command).
            args: what the target is called with; further arguments of a command.
            n: how many; the result is a list then.
            each: one child for each item, which comes before `args`; the result is a list.
            kwargs: keyword arguments of the target.
            name: their name in the process table.
            env: environment variables on top of this process's (on another host: on top of those there).
            cwd: working directory where the process runs; by default this process's (on another host: the one there).
            deadline: seconds, or a string ("90s", "1h"), after which the process is ended.
            on_orphan: what happens when this process dies: "kill" (the default, RACK's rule), "adopt" (the supervisor
                becomes its parent) or "detach" (the same; needs a deadline).
            memory: its limit in bytes, or a string ("256M").
            image, flavor, availability_zone, keypair: of its machine, by name or id; by default its parent's. Without
                effect where processes are no machines (`local`).
            security_groups: the same; they replace its parent's, and add to the group's own and those of its settings.
            stdin: True: give it a standard input to write to (`Process.stdin`), as commands have by default; or the
                reading end of a pipe, which becomes its standard input.
            stdout, stderr: writing ends of pipes that become its standard output and error; each line goes as a whole
                to one reader.
            min_ok: wait until that many run, end the rest, and record the outcome of each in `outcomes`.
            timeout: seconds to wait for `min_ok`; the group's boot timeout bounds it otherwise.

        Raises:
            InvalidCall: an argument that cannot be used, before anything is started.
            SpawnIntensityExceeded: too many forks in too short a time.
            ForkFailed: fewer than `min_ok` came up; nothing of this fork is left.
        """
        return self._forks.start(ForkRequest.fork(target, *args, **options))

    def fork_actor(self, target: Target, creation: Creation) -> tuple[int, bool]:
        """Start an actor as Thespian's createActor does.

        Returns: its pid, and whether the global name belonged to an existing actor.
        """
        return self._forks.create_actor(ForkRequest.create_actor(target, creation))

    # -- wait --------------------------------------------------------------------------------------------

    def wait(self, pid: int | Sequence[int] = -1, timeout: float | None = None) -> tuple[int, ExitStatus]:
        """Wait for the end of a process. A child can be waited for only once.

        Args:
            pid: a pid; -1: any child; a list: the first of these to end.
            timeout: seconds; None: as long as it lives.

        Returns: its pid and how it ended.

        Raises:
            NoChild: there is nothing to wait for (or it has been waited for already).
            RackTimeout: it is still alive.

        Source: POSIX waitpid.
        """
        return self.waits.wait(pid, timeout)

    # -- signals -----------------------------------------------------------------------------------------

    def kill(self, pid: int | Sequence[int], sig: int | str = "TERM") -> None:
        """Send a signal.

        Args:
            pid: a pid; 0: every process of the group; -pgid: a process group; a list of pids (multicast).
            sig: a POSIX number or name, or a free string; 0 only tests for existence.

        Raises:
            NoSuchProcess: a target is not alive; the others got the signal.
            InvalidCall: no such signal.

        Source: POSIX kill; RACK's free strings.
        """
        pids = [pid] if isinstance(pid, int) else list(pid)
        send_signal(self.kernel, pids, sig)

    def signal(self, sig: int | str, handler: Any) -> Any:
        """Set the handler of a signal for this process.

        Args:
            sig: a POSIX signal: `signal.signal(sig, handler)`, a real one; SIGCHLD and free strings:
                `handler(signal, pid)` runs in the main thread, with the child's or the sender's pid.
            handler: a function, or None for the default. It may be `async def`: it runs at once, or as a task of the
                event loop that runs in the main thread.

        A free string that comes before its first handler waits for it, so a parent can send one to a booting child.
        Without a handler, or after None, it has no effect.

        Returns: the previous handler.
        """
        return self.signals.set(sig, handler)

    # -- messages ----------------------------------------------------------------------------------------

    def receive(self, timeout: Timeout = DEFAULT_TIMEOUT) -> Message:
        """Take the next message from this process's mailbox (functions and scripts; actors have handlers).

        Raises:
            RackTimeout: none within `timeout` seconds.
            GroupEnded: the group has ended, so no message will come.
            CannotOpen: the next message cannot be opened here; it has been removed from the mailbox.
        """
        return receive(self.kernel, timeout)

    # -- pipes -------------------------------------------------------------------------------------------

    @typed_pipe
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

        return Pipeline(self, [stage(target, args, n, options)])

    # -- shared memory ---------------------------------------------------------------------------------

    @property
    def shm(self) -> Memory:
        """The group's shared memory."""
        if self._memory is None:
            from rackactor.ipc.memory.mapping import Memory

            self._memory = Memory(self.kernel)
        return self._memory

    def lock(self, name: str, timeout: Timeout = DEFAULT_TIMEOUT) -> Lock:
        """Return a lock of the group: `with rack.lock("name") as token:`.

        First come, first served; released when its process ends; not re-entrant. The token grows with each grant.

        Args:
            name: the same name is the same lock.
            timeout: seconds to wait for it; None: no bound.
        """
        return self.shm.lock(name, timeout)

    # -- files -------------------------------------------------------------------------------------------

    @property
    def files(self) -> Files:
        """The client of the group's file service, which `fs` and `open` use."""
        if self._files is None:
            from rackactor.ipc.files.client import Files

            self._files = Files(self.kernel)
        return self._files

    @property
    def fs(self) -> RackFileSystem:
        """The group's files as an fsspec file system."""
        from rackactor.ipc.files.filesystem import RackFileSystem

        return RackFileSystem.of(self.files)

    def open(
        self,
        path: str | os.PathLike[str],
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """Open a file of the group, as `builtins.open` opens one of the disk.

        Args:
            path: in the group's namespace; relative paths begin at "/", too.
            mode: r, w, x or a; and b or t. A written file appears when it is closed, all at once. After an exception,
                or if it is never closed, nothing of it stays. Missing directories are made.
            buffering: bytes; 0: none (binary files), 1: lines (text files).
            encoding: see `builtins.open`; likewise `errors` and `newline`.

        Raises:
            OSError: FileNotFoundError and the others as on a local disk.
            io.UnsupportedOperation: a mode with "+".
        """
        from rackactor.ipc.files.opening import open_file

        return open_file(self.files, path, mode, buffering, encoding, errors, newline)

    def listdir(self, path: str | os.PathLike[str] = "/") -> list[str]:
        """Return the names in a directory of the group's files."""
        return self.files.listdir(path)

    # -- exit --------------------------------------------------------------------------------------------

    def on_exit(self, hook: Callable[[], Any]) -> None:
        """Run a function when this process exits by itself, the last one registered first."""
        self._exit_hooks.append(hook)

    def run_exit_hooks(self) -> None:
        """Run the hooks of `on_exit`; a failing one is shown, and the others still run."""
        while self._exit_hooks:
            try:
                coroutines.finish(self._exit_hooks.pop()())
            except Exception:
                traceback.print_exc()
