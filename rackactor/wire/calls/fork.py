"""The system calls that begin processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from rackactor.errors import InvalidCall
from rackactor.wire.checks import (
    Check,
    Flag,
    Map,
    OptionalTextMap,
    Pids,
    Seconds,
    Text,
    TextMap,
    Texts,
    instance,
    integer,
    list_of,
    one_of,
)
from rackactor.wire.schema import Call

#: Children of one fork call at the most.
MAX_FORK = 10_000
#: The options for the machine of a process. Each provider uses those that it knows.
PLACEMENT = ("availability_zone", "flavor", "image", "keypair", "network", "security_groups")
#: What a process inherits beside its environment and directory, and of which type each is.
INHERITED = {
    "bare": bool,
    "umask": int,
    "limits": list,
    "warnoptions": list,
    "faulthandler": bool,
    "unbuffered": bool,
}


def _placement(given: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in given.items():
        if name not in PLACEMENT:
            raise InvalidCall(f"a placement has no {name!r}; it has: {', '.join(PLACEMENT)}")
        texts = value if isinstance(value, (list, tuple)) and name == "security_groups" else [value]
        if value is not None and not all(isinstance(text, str) and text for text in texts):
            raise InvalidCall(f"the placement's {name!r} is a name or an id, not {value!r}")
    return {name: value for name, value in given.items() if value is not None}


def _inherited(given: Mapping[str, Any]) -> Mapping[str, Any]:
    if not given.keys() <= INHERITED.keys():
        raise InvalidCall(f"inherited is a map of {', '.join(INHERITED)}, not {given!r}")
    for name, value in given.items():
        if type(value) is not INHERITED[name]:
            raise InvalidCall(f"{name} is a value of the type {INHERITED[name].__name__}, not {value!r}")
    return given


def _is_end(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and type(value[0]) is int and value[1] in ("r", "w")


_END = Check("[number of a pipe, 'r' or 'w']", _is_end)
_ENDS = Check("a list of ends of pipes, [number, 'r' or 'w'] each", list_of(_END).fits)


class Fork(Call, op="fork"):
    """Begin `n` processes; answers with their pids at once.

    With it go the target and its arguments: once, or once for each process.
    """

    n: Annotated[int, integer(1, MAX_FORK)]
    kind: Annotated[str, one_of("actor", "function", "command")]
    #: What the target is, for people.
    what: Text = ""
    #: Of a command.
    words: Texts | None = None
    name: Text | None = None
    #: What differs from the supervisor's environment; None removes a variable.
    env: OptionalTextMap | None = None
    cwd: Annotated[str, instance(str, "a path")] | None = None
    deadline: Seconds | None = None
    on_orphan: Annotated[str, one_of("kill", "adopt", "detach")] = "kill"
    #: Bytes.
    memory: Annotated[int, integer(1, (1 << 63) - 1)] | None = None
    placement: (
        Annotated[Mapping[str, Any], Check(f"a map of {', '.join(PLACEMENT)}", instance(dict, "").fits, _placement)]
        | None
    ) = None
    stdin: Flag = False
    #: Which pipes are its standard files.
    streams: Map | None = None
    #: Which ends of pipes the processes are given: one list for all, or one for each.
    pipes: Annotated[list[Any], list_of(_ENDS)] | None = None
    #: Arguments that people are shown.
    args: TextMap | None = None
    inherited: (
        Annotated[Mapping[str, Any], Check(f"a map of {', '.join(INHERITED)}", instance(dict, "").fits, _inherited)]
        | None
    ) = None
    #: Hashes of archives with the program's code.
    code: Texts | None = None
    #: A name that the whole group knows; if a process has it already, that one is the answer.
    global_name: Text | None = None
    #: Of a loaded source that the target comes from.
    source_hash: Text | None = None


class Started(Call, op="started"):
    """Wait until `count` of these processes have come up, or cannot any more; answers with those that have."""

    pids: Pids
    count: Annotated[int, integer(1, MAX_FORK)]
