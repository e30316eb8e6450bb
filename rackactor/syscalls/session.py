"""A program's membership in a group: the system calls, and what it remembers of its children."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, Literal

from rackactor import units
from rackactor.errors import ForkFailed, InvalidCall, RackTimeout
from rackactor.ipc.pipes.inheriting import collected, streams
from rackactor.kernel import coroutines
from rackactor.kernel.inbox import EventHandler
from rackactor.kernel.kernel import Kernel
from rackactor.launch import process_context
from rackactor.program import shipping
from rackactor.program.shipping import Shipping
from rackactor.status import ExitStatus
from rackactor.syscalls import fork_options, main_names
from rackactor.syscalls.fork_call import Forked, typed
from rackactor.syscalls.fork_options import OnOrphan
from rackactor.syscalls.message import Message, receive
from rackactor.syscalls.pipe_call import typed_pipe
from rackactor.syscalls.process import Process, send_signal
from rackactor.syscalls.signal_handlers import SignalHandlers
from rackactor.syscalls.wait import Waits
from rackactor.units import DEFAULT_TIMEOUT, Timeout
from rackactor.wire.calls.fork import Fork, Started
from rackactor.wire.calls.pipes import ListPipes
from rackactor.wire.calls.processes import Ps
from rackactor.wire.target import Creation, Target, more_words, pack_arguments, pack_target

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
        on_signal: handles signals instead of this process; None: it handles them itself.

    Attributes:
        gid: the UUID of the group.
        kernel: this process's half of the wire.
        waits: what this process knows of the ends of others.
        signals: its handlers of signals, and of the ends of its children.
        shipping: the program's code, on its way to where the group's processes run.
    """

    def __init__(self, kernel: Kernel, on_signal: EventHandler | None = None) -> None:
        self.kernel = kernel
        self.gid = kernel.gid
        self.waits = Waits(kernel)
        self.signals = SignalHandlers(kernel, on_signal)
        self.shipping = Shipping(kernel, self.open)
        self._memory: Memory | None = None  # made at its first use, as the files are
        self._files: Files | None = None
        self._exit_hooks: list[Callable[[], Any]] = []
        main_names.serve(kernel)
        #: The context that forked processes have by default; None: not known.
        self.base = process_context.base

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
    def fork(
        self,
        target: Any,
        *args: Any,
        n: int | None = None,
        each: Iterable[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        name: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: fork_options.Path | None = None,
        deadline: float | str | None = None,
        on_orphan: OnOrphan = "kill",
        memory: int | str | None = None,
        image: str | None = None,
        flavor: str | None = None,
        availability_zone: str | None = None,
        keypair: str | None = None,
        security_groups: str | Sequence[str] | None = None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        min_ok: int | None = None,
        timeout: float | None = None,
    ) -> Any:
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
        packed, ends = collected(pack_target, target)
        items = fork_options.items(each)
        count = fork_options.count(n, items)
        options: dict[str, Any] = {
            "n": count,
            "name": fork_options.text(name, "name"),
            "env": fork_options.env(env),
            "cwd": fork_options.path(cwd),
            "deadline": units.seconds(deadline, "deadline"),
            "on_orphan": on_orphan,
            "memory": units.size(memory, "memory"),
            "placement": fork_options.placement(
                security_groups, image=image, flavor=flavor, availability_zone=availability_zone, keypair=keypair
            ),
            "stdin": stdin is True or (stdin is None and packed.kind == "command"),
        }
        options["streams"], standard = streams(stdin, stdout, stderr)
        options["pipes"] = ends + standard
        keywords = fork_options.kwargs(kwargs)
        options["args"] = fork_options.shown(keywords)
        fork_options.bounds(min_ok, timeout, count)
        if count == 0:
            return Forked()
        calls = [(args, keywords)] if items is None else [((item, *args), keywords) for item in items]
        if packed.kind == "command":
            calls = [(tuple(more_words(words)), keywords) for words, _ in calls]
        forked = self._fork(packed, calls, options)
        if min_ok is not None:
            self._await_start(forked, min_ok, timeout)
        return forked[0] if n is None and items is None else forked

    def _fork(self, packed: Target, calls: Sequence[tuple[Any, Any]], options: dict[str, Any]) -> Forked[Any]:
        packs = [collected(pack_arguments, *call) for call in calls]
        options["pipes"] = [options["pipes"] + ends for _, ends in packs]
        placed = options["cwd"] is not None
        options |= self._inherited(options["env"], options["cwd"])
        blobs = [packed.blob, *(blob for blob, _ in packs)]
        if self.shipping.needed:
            options["code"] = self.shipping.for_fork(packed.kind, packed.words, blobs, placed=placed)
        else:
            shipping.check_python(self.kernel.welcome.python, blobs)
        call = Fork(kind=packed.kind, what=packed.what, words=packed.words, **options)
        fields, _ = self.kernel.call(call, *blobs)
        forked: Forked[Any] = Forked(
            Process(
                self.kernel,
                self.waits,
                pid,
                ppid=self.kernel.pid,
                name=options.get("name") or f"process-{pid}",
                kind=packed.kind,
            )
            for pid in fields["pids"]
        )
        forked.outcomes = {}
        return forked

    def _inherited(self, env: dict[str, str], cwd: str | None) -> dict[str, Any]:
        """Return the context that a child on this host inherits from this process; arguments take precedence."""
        if self.kernel.welcome.remote:
            return {"env": env, "cwd": cwd}
        found = process_context.differences(self.base)
        directory = found["cwd"] if cwd is None else os.path.join(found["cwd"], cwd)
        return {"env": found["env"] | env, "cwd": directory, "inherited": found["inherited"]}

    def fork_actor(self, packed: Target, creation: Creation) -> tuple[int, bool]:
        """Start an actor as Thespian's createActor does.

        Returns: its pid, and whether the global name belonged to an existing actor.
        """
        name = creation.global_name
        # A global name belongs to the whole group: its actor does not end with the process that happened to make it.
        options: dict[str, Any] = {"n": 1, "name": name, "global_name": name, "on_orphan": "adopt" if name else "kill"}
        options["placement"] = fork_options.wanted_placement(creation.requirements)
        options |= self._inherited({}, None)
        options["source_hash"] = creation.source_hash
        blobs = (packed.blob, pack_arguments((creation,), {}))
        if self.shipping.needed:
            options["code"] = self.shipping.for_fork(packed.kind, None, blobs, placed=False)
        else:
            shipping.check_python(self.kernel.welcome.python, blobs)
        fields, _ = self.kernel.call(Fork(kind=packed.kind, what=packed.what, **options), *blobs)
        return fields["pids"][0], bool(fields.get("existing"))

    def _await_start(self, forked: Forked[Any], min_ok: int, timeout: float | None) -> None:
        pids = [process.pid for process in forked]
        up: list[int] = []
        try:
            fields, _ = self.kernel.call(Started(pids, min_ok), timeout=timeout)
            up = fields["up"]
        except RackTimeout:
            rows = {row["pid"]: row for row in self.ps()}
            up = [pid for pid in pids if pid in rows and rows[pid]["started"] is not None]
        enough = len(up) >= min_ok
        rest = [process for process in forked if not enough or process.pid not in up]
        for process in rest:
            if process.is_alive():
                process.kill("KILL")
        outcomes: dict[int, str | ExitStatus] = dict.fromkeys(pids, "running")
        outcomes.update({process.pid: process.wait(units.CALL_TIMEOUT) for process in rest})
        forked.outcomes = outcomes
        if not enough:
            told = "; ".join(f"{pid}: {outcome}" for pid, outcome in outcomes.items())
            raise ForkFailed(f"{len(up)} of {len(pids)} processes came up, {min_ok} were wanted ({told})", outcomes)
        forked[:] = [process for process in forked if process.pid in up]

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
        """Return a lock of the group: `with g.lock("name") as token:`. See `Lock`."""
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
