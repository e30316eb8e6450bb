"""The types of `pipe`: the result depends on whether a name and a mode are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, Unpack, cast, overload

from rackactor.units import Timeout

if TYPE_CHECKING:
    from rackactor.ipc.pipes.ends import PipeReader, PipeWriter
    from rackactor.ipc.pipes.fifo import Pipe


class PipeOptions(TypedDict, total=False):
    """The options of `Session.pipe`, where they are described."""

    text: bool
    binary: bool
    encoding: str
    timeout: Timeout | Literal["default"]


class OpenPipe(Protocol):
    """The type of `pipe`: both ends of an anonymous pipe, a FIFO, or an end of one."""

    @overload
    def __call__(
        self, name: None = None, mode: None = None, **options: Unpack[PipeOptions]
    ) -> tuple[PipeReader, PipeWriter]: ...
    @overload
    def __call__(self, name: str, mode: None = None, **options: Unpack[PipeOptions]) -> Pipe: ...
    @overload
    def __call__(self, name: str, mode: Literal["r"], **options: Unpack[PipeOptions]) -> PipeReader: ...
    @overload
    def __call__(self, name: str, mode: Literal["w"], **options: Unpack[PipeOptions]) -> PipeWriter: ...


def typed_pipe(pipe: Callable[..., Any]) -> OpenPipe:
    """Cast an implementation of `pipe` to its type."""
    return cast(OpenPipe, pipe)
