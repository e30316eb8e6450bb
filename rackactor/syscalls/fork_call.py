"""The types of `fork`: the result depends on the target, and on how many processes are asked for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, NoReturn, Protocol, TypeVar, Unpack, cast, overload

from rackactor.status import ExitStatus
from rackactor.syscalls.fork_options import ForkOptions
from rackactor.syscalls.process import Process

T = TypeVar("T")


class Forked(list[Process[T]]):
    """The processes of one fork.

    Attributes:
        outcomes: with `min_ok`, what became of each: pid -> "running" or its `ExitStatus`.
    """

    outcomes: dict[int, str | ExitStatus]


class Fork(Protocol):
    """The type of `fork`: an actor (a class) and a command have no result, a function has its return type."""

    @overload
    def __call__(
        self,
        target: type[Any] | Callable[..., NoReturn] | Sequence[Any],
        *args: Any,
        n: None = None,
        each: None = None,
        **options: Unpack[ForkOptions],
    ) -> Process[None]: ...
    @overload
    def __call__(
        self,
        target: Callable[..., Coroutine[Any, Any, T]],
        *args: Any,
        n: None = None,
        each: None = None,
        **options: Unpack[ForkOptions],
    ) -> Process[T]: ...
    @overload
    def __call__(
        self, target: Callable[..., T], *args: Any, n: None = None, each: None = None, **options: Unpack[ForkOptions]
    ) -> Process[T]: ...
    @overload
    def __call__(
        self,
        target: type[Any] | Callable[..., NoReturn] | Sequence[Any],
        *args: Any,
        n: int,
        each: None = None,
        **options: Unpack[ForkOptions],
    ) -> Forked[None]: ...
    @overload
    def __call__(
        self,
        target: Callable[..., Coroutine[Any, Any, T]],
        *args: Any,
        n: int,
        each: None = None,
        **options: Unpack[ForkOptions],
    ) -> Forked[T]: ...
    @overload
    def __call__(
        self, target: Callable[..., T], *args: Any, n: int, each: None = None, **options: Unpack[ForkOptions]
    ) -> Forked[T]: ...
    @overload
    def __call__(
        self,
        target: type[Any] | Callable[..., NoReturn] | Sequence[Any],
        *args: Any,
        n: None = None,
        each: Iterable[Any],
        **options: Unpack[ForkOptions],
    ) -> Forked[None]: ...
    @overload
    def __call__(
        self,
        target: Callable[..., Coroutine[Any, Any, T]],
        *args: Any,
        n: None = None,
        each: Iterable[Any],
        **options: Unpack[ForkOptions],
    ) -> Forked[T]: ...
    @overload
    def __call__(
        self, target: Callable[..., T], *args: Any, n: None = None, each: Iterable[Any], **options: Unpack[ForkOptions]
    ) -> Forked[T]: ...


def typed(fork: Callable[..., Any]) -> Fork:
    """Cast an implementation of `fork` to its type."""
    return cast(Fork, fork)
