"""Whether something grows with the number of things that are over."""

from __future__ import annotations

import gc
import types
from collections import Counter
from pathlib import Path
from typing import Any

#: What leads to the whole of the program, and belongs to nobody.
_COMMON = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.FrameType, types.CodeType)


def weigh(*roots: Any) -> Counter[str]:
    """Count the objects that can be reached from some, by type."""
    gc.collect()
    found: Counter[str] = Counter()
    seen: set[int] = set()
    todo = list(roots)
    while todo:
        each = todo.pop()
        if id(each) in seen or isinstance(each, _COMMON):
            continue
        seen.add(id(each))
        found[type(each).__name__] += 1
        todo.extend(gc.get_referents(each))
    return found


def grown(before: Counter[str], after: Counter[str], most: int) -> dict[str, int]:
    """Return the types of which there are more than `most` more objects than before, and how many."""
    return {name: count - before[name] for name, count in after.items() if count - before[name] > most}


def resident(os_pid: int) -> int:
    """Return the bytes of memory that are a process's own, in kibibytes."""
    for line in Path(f"/proc/{os_pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    raise AssertionError(f"process {os_pid} has no memory")
