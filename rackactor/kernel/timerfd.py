"""A timer as a descriptor, which wakes whoever polls it."""

from __future__ import annotations

import ctypes
import os
import time


class _TimerSpec(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("interval_s", "interval_ns", "value_s", "value_ns")]


class Timer:
    """A one-shot timer as a descriptor (timerfd; the standard library has it from 3.13 on only)."""

    _libc = ctypes.CDLL(None, use_errno=True)

    def __init__(self) -> None:
        self.fd: int = self._libc.timerfd_create(1, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._spec = _TimerSpec()
        self._pointer = ctypes.byref(self._spec)
        self._never = ctypes.byref(_TimerSpec())
        self._set = self._libc.timerfd_settime
        self._due = 0.0

    @property
    def armed(self) -> bool:
        """Tell whether it is going to fire."""
        return self._due > 0.0

    def arm(self, delay: float) -> None:
        """Fire in `delay` seconds, unless it fires sooner anyway."""
        due = time.monotonic() + delay
        if 0.0 < self._due <= due:
            return
        self._due = due
        self._spec.value_s, self._spec.value_ns = int(delay), max(1, int(delay % 1 * 1e9))
        self._set(self.fd, 0, self._pointer, None)

    def disarm(self) -> None:
        """Do not fire."""
        # With a record of its own: another thread may be about to arm it. Whoever comes first, it never counts as
        # armed when it is not; the other way round it fires once more for nothing.
        self._set(self.fd, 0, self._never, None)
        self._due = 0.0

    def clear(self) -> None:
        """Take note that it has fired."""
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            pass
        # Last of all: whoever arms it before finds it armed still. The other way round, what fires between the two
        # would be read here, and the timer be taken for armed for ever.
        self._due = 0.0

    def close(self) -> None:
        """Give the descriptor back; whoever arms it from now on has no effect."""
        descriptor, self.fd = self.fd, -1
        os.close(descriptor)
