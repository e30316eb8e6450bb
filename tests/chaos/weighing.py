"""How much memory the processes of a run take while it goes on."""

from __future__ import annotations

import threading
from pathlib import Path

from support import started_here

#: Seconds from one look to the next.
_EVERY = 1.0


class Weighing:
    """Look at the anonymous memory of all processes of the run, again and again; mapped files are not counted."""

    def __init__(self) -> None:
        #: The most that a process had, MB, by what it is.
        self.peaks: dict[str, float] = {}
        #: The most that all of them had together, MB.
        self.total = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Weighing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(_EVERY):
            total = 0.0
            for os_pid in started_here():
                name, megabytes = _weigh(os_pid)
                total += megabytes
                self.peaks[name] = max(self.peaks.get(name, 0.0), megabytes)
            self.total = max(self.total, total)

    def judge(self, bound: float) -> list[str]:
        """Return which kinds of processes have grown beyond a bound, MB."""
        return [f"{name}: {peak:.0f} MB of memory" for name, peak in self.peaks.items() if peak > bound]


def _weigh(os_pid: int) -> tuple[str, float]:
    try:
        status = Path(f"/proc/{os_pid}/status").read_text()
        words = Path(f"/proc/{os_pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "gone", 0.0
    fields = dict(line.split(":", 1) for line in status.splitlines())
    anonymous = int(fields.get("RssAnon", "0 kB").split()[0])
    return _kind(fields["Name"].strip(), words), anonymous / 1024


def _kind(name: str, words: list[bytes]) -> str:
    if name.startswith("rack:"):
        return "a process"
    if name == "rack-forkserver":
        return "a fork server"
    return "the supervisor" if any(b"supervisor" in word for word in words) else "the rest"
