"""What a fork asks for: everything that the caller gave, checked and pickled before anything is spent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rackactor import units
from rackactor.ipc.pipes.inheriting import collected, streams
from rackactor.records import dataclass
from rackactor.syscalls import fork_options
from rackactor.syscalls.fork_options import OnOrphan
from rackactor.wire.calls.fork import Fork
from rackactor.wire.target import Creation, Target, more_words, pack_arguments, pack_target


@dataclass(frozen=True)
class ForkRequest:
    """A fork that can be sent; `rackactor.syscalls.forks` adds what the processes inherit, and their code."""

    #: What the supervisor is told. Its `env` and `cwd` are those that the caller gave.
    call: Fork
    #: The target, and the arguments of each process, pickled.
    blobs: tuple[bytes, ...]
    #: The caller wants a list of processes, and not one.
    many: bool
    #: How many must come up; None: nobody waits for that.
    min_ok: int | None = None
    #: Seconds to wait for these; None: the group's boot timeout bounds it.
    timeout: float | None = None

    @classmethod
    def fork(
        cls,
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
    ) -> ForkRequest:
        """Make the request of `Session.fork`, where the arguments are described.

        Raises:
            InvalidCall: an argument that cannot be used.
        """
        packed, ends = collected(pack_target, target)
        items = fork_options.first_arguments(each)
        count = fork_options.count(n, items)
        given: dict[str, Any] = {
            "name": fork_options.check_text(name, "name"),
            "env": fork_options.environment(env),
            "cwd": fork_options.directory(cwd),
            "deadline": units.seconds(deadline, "deadline"),
            "on_orphan": on_orphan,
            "memory": units.size(memory, "memory"),
            "placement": fork_options.placement(
                security_groups, image=image, flavor=flavor, availability_zone=availability_zone, keypair=keypair
            ),
            "stdin": stdin is True or (stdin is None and packed.kind == "command"),
        }
        files, standard = streams(stdin, stdout, stderr)
        keywords = fork_options.keywords(kwargs)
        fork_options.check_bounds(min_ok, timeout, count)
        sets = _argument_sets(packed, args, items, keywords) if count else []
        packs = [collected(pack_arguments, *each) for each in sets]
        call = Fork(
            n=count,
            kind=packed.kind,
            what=packed.what,
            words=packed.words,
            streams=files,
            pipes=[[*ends, *standard, *more] for _, more in packs],
            args=fork_options.shown_arguments(keywords),
            **given,
        )
        blobs = (packed.blob, *(blob for blob, _ in packs))
        return cls(call, blobs, n is not None or items is not None, min_ok, timeout)

    @classmethod
    def create_actor(cls, packed: Target, creation: Creation) -> ForkRequest:
        """Make the request of Thespian's createActor.

        Raises:
            InvalidCall: a requirement that cannot be used.
        """
        name = creation.global_name
        call = Fork(
            n=1,
            kind=packed.kind,
            what=packed.what,
            name=name,
            global_name=name,
            # A global name belongs to the whole group: its actor does not end with the process that made it by chance.
            on_orphan="adopt" if name else "kill",
            placement=fork_options.wanted_placement(creation.requirements),
            env={},
            source_hash=creation.source_hash,
        )
        return cls(call, (packed.blob, pack_arguments((creation,), {})), many=False)


ForkRequest.fork.__func__.__qualname__ = "fork"  # type: ignore[attr-defined]  # what the caller has called, in errors


def _argument_sets(
    packed: Target, args: tuple[Any, ...], items: list[Any] | None, keywords: dict[str, Any]
) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return the arguments of each process, or one set for all of them."""
    sets = [args] if items is None else [(item, *args) for item in items]
    if packed.kind == "command":
        sets = [tuple(more_words(words)) for words in sets]
    return [(each, keywords) for each in sets]
