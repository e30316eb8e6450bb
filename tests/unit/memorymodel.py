"""Shared memory without a database: what its operations are to do, as a dict does it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

from rackactor.errors import InvalidCall
from rackactor.ipc.memory import layout, values
from rackactor.ipc.memory.layout import DELETE, DROP, POP, PUSH, PUT, REMOVE


class DictView:
    """A `View` in a dict, with changes applied to it: the database's twin."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Any] = {}
        self.elements: dict[tuple[int, int], bytes] = {}

    def get(self, key: bytes) -> Any:
        return self.entries.get(key)

    def items(self, number: int, *, backwards: bool = False) -> Iterator[tuple[int, bytes]]:
        mine = sorted((i, v) for (n, i), v in self.elements.items() if n == number)
        yield from reversed(mine) if backwards else mine

    def apply(self, changes: Sequence[layout.Change]) -> None:
        for change in changes:
            if change[0] == PUT:
                self.entries[change[1]] = bytes(change[2])
            elif change[0] == DELETE:
                del self.entries[change[1]]
            elif change[0] == PUSH:
                self.entries[change[1]] = change[2]
                self.elements[layout.item_index(change[3])] = change[4]
            elif change[0] in (POP, REMOVE):
                self.entries[change[1]] = change[2]
                del self.elements[layout.item_index(change[3])]
            elif change[0] == DROP:
                self.elements = {at: v for at, v in self.elements.items() if at[0] != change[1]}

    def content(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, entry in self.entries.items():
            if layout.head(entry).kind == layout.LIST:
                number = layout.list_state(entry).number
                found[key.decode()] = [values.decode(v) for _, v in self.items(number)]
            else:
                found[key.decode()] = values.decode(entry[layout.HEADER :])
        return found


class Model:
    """What users expect."""

    def __init__(self) -> None:
        self.content: dict[str, Any] = {}
        self.lists: set[str] = set()

    def do(self, op: Sequence[Any]) -> Any:
        """Return the result of an operation with values in the place of bytes; revisions are only True."""
        name, key, *rest = op
        content = self.content
        if name == "put":
            self.lists.discard(key)
            content[key] = rest[0]
            return True
        if name == "delete":
            self.lists.discard(key)
            return content.pop(key, None) is not None
        if name == "cas":
            known = content.get(key)
            if key in self.lists or not _same(known, rest[0]):
                return False
            content[key] = rest[1]
            return True
        if name == "incr":
            known = content.get(key, 0)
            if type(known) is not int:
                raise InvalidCall
            content[key] = known + rest[0]
            return content[key]
        return self._list(name, key, *rest)

    def _list(self, name: str, key: str, *rest: Any) -> Any:
        if key in self.content and key not in self.lists:
            raise InvalidCall
        if name == "append":
            self.lists.add(key)
            known = self.content.setdefault(key, [])
            if rest[1]:
                known[:0] = reversed(rest[0])
            else:
                known.extend(rest[0])
            return len(known)
        known = self.content.get(key, [])
        if name == "pop":
            return known.pop(-1 if rest[0] else 0) if known else None
        count = 0
        for element in list(known):
            if _same(element, rest[0]) and (count < rest[1] or rest[1] == 0):
                del known[next(at for at, other in enumerate(known) if _same(other, rest[0]))]
                count += 1
        return count


def _same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and bool(left == right)


def packed(op: Sequence[Any]) -> list[Any]:
    """Return an operation as it travels."""
    name, key, *rest = op
    if name == "append":
        rest[0] = [values.encode(value) for value in rest[0]]
    elif name in ("put", "remove"):
        rest[0] = values.encode(rest[0])
    elif name == "cas":
        rest = [None if rest[0] is None else values.encode(rest[0]), values.encode(rest[1])]
    return [name, key.encode(), *rest]


def unpacked(op: Sequence[Any], result: Any) -> Any:
    """Return a result as the model has it."""
    if op[0] in ("put", "cas"):
        return bool(result)
    if op[0] == "pop":
        return None if result is None else values.decode(result)
    return result


_keys = st.sampled_from(["a", "b", "ab", "é", "a\0", "a" * 400])
_values = st.sampled_from([0, 1, -5, "x", b"y" * 3000, 2.5, True])

#: Operations, with values in the place of bytes.
operations = st.one_of(
    st.tuples(st.just("put"), _keys, _values),
    st.tuples(st.just("delete"), _keys),
    st.tuples(st.just("cas"), _keys, st.none() | _values, _values),
    st.tuples(st.just("incr"), _keys, st.integers(-3, 3)),
    st.tuples(st.just("append"), _keys, st.lists(_values, min_size=1, max_size=4), st.booleans()),
    st.tuples(st.just("pop"), _keys, st.booleans()),
    st.tuples(st.just("remove"), _keys, _values, st.integers(0, 2)),
)
