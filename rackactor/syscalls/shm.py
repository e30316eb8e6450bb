"""`rack.shm`: the shared memory of the group that the program is in at each use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rackactor.syscalls.group import current_or_ephemeral

if TYPE_CHECKING:
    from rackactor.ipc.memory.mapping import Memory


class Current:
    """The shared memory of the current group; without a group, one is made, as by `rack.fork`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(memory(), name)

    def __getitem__(self, key: str) -> Any:
        return memory()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        memory()[key] = value

    def __delitem__(self, key: str) -> None:
        del memory()[key]

    def __contains__(self, key: object) -> bool:
        return key in memory()

    def __len__(self) -> int:
        return len(memory())

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(memory())

    def __repr__(self) -> str:
        return "<rack.shm>"

    def __reduce__(self) -> str:
        return "shm"


def memory() -> Memory:
    """Return the shared memory of the group that the program is in."""
    return current_or_ephemeral().shm


#: The one object behind `rack.shm`.
shm: Memory = Current()  # type: ignore[assignment]
