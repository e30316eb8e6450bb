"""What becomes of the names of a program's main module where they arrive."""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackactor.wire import main_module, pickling
from rackactor.wire.main_module import Home, Key

VALUES = st.one_of(st.integers(0, 3), st.booleans(), st.none(), st.just(float("nan")), st.text("ab", max_size=2))
OBJECTS = st.lists(st.integers(0, 3), max_size=2)


@pytest.fixture
def away() -> Iterator[types.ModuleType]:
    """A `__main__` that was made like another."""
    before, argv = main_module.main_module(), list(sys.argv)
    about = {
        **main_module.describe(),
        "home": "h",
        "file": "/nowhere/job.py",
        "package": "",
        "spec": None,
        "argv": ["job.py"],
    }
    main_module.enter(about)
    yield main_module.main_module()
    sys.argv[:] = argv
    main_module.forget(before)


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and repr(one) == repr(other)


@given(st.lists(VALUES, min_size=1, max_size=8))
def test_a_constant_follows_the_program_s(sent: list[Any]) -> None:
    here, there = Home("h", {}, origin=True), Home("h", {}, origin=False)
    for value in sent:
        there.adopt({"x": value}, here.versions_of({"x": value}))
        assert same(there.namespace["x"], value)


@given(st.lists(VALUES, min_size=1, max_size=8), st.integers(0, 7), VALUES)
def test_what_a_process_has_set_itself_stays(sent: list[Any], when: int, own: Any) -> None:
    here, there = Home("h", {}, origin=True), Home("h", {}, origin=False)
    mine = False
    for number, value in enumerate(sent):
        there.adopt({"x": value}, here.versions_of({"x": value}))
        if number == when and not same(own, value):
            there.namespace["x"], mine = own, True
        assert same(there.namespace["x"], own if mine else value)


@given(st.lists(VALUES, min_size=1, max_size=8), st.data())
def test_what_was_sent_before_changes_nothing_that_came_since(sent: list[Any], data: st.DataObject) -> None:
    """A value of shared memory may be read long after it was written."""
    here, there = Home("h", {}, origin=True), Home("h", {}, origin=False)
    messages = [({"x": value}, here.versions_of({"x": value})) for value in sent]
    for message in messages:
        there.adopt(*message)
    there.adopt(*data.draw(st.sampled_from(messages)))
    assert same(there.namespace["x"], sent[-1])


@given(st.lists(st.one_of(VALUES, OBJECTS), min_size=2, max_size=6))
def test_in_the_program_nothing_is_replaced(values: list[Any]) -> None:
    home = Home("h", {"x": values[0]}, origin=True)
    for value in values[1:]:
        home.adopt({"x": value, "y": value}, {"x": 99, "y": 99})
    assert home.namespace == {"x": values[0], "y": values[1]}


@given(OBJECTS, OBJECTS)
def test_what_can_change_in_place_is_each_process_s_own(first: list[int], second: list[int]) -> None:
    there = Home("h", {}, origin=False)
    there.adopt({"x": first}, {})
    there.adopt({"x": second}, {})
    assert there.namespace["x"] is first


def test_definitions_by_their_versions() -> None:
    def old() -> None: ...
    def new() -> None: ...

    home = Home("h", {}, origin=False)
    for number, function in enumerate((old, new)):
        main_module.register(Key("h", "f", number), function)
    home.bind(Key("h", "f", 1), new)
    home.bind(Key("h", "f", 0), old)
    home.adopt({"f": old, "alias": old}, {})
    assert home.namespace == {"f": new, "alias": old}
    home.adopt({"alias": new}, {})
    assert home.namespace["alias"] is new


def test_a_main_module_that_is_like_another(away: types.ModuleType) -> None:
    assert (away.__name__, away.__file__, away.__package__, away.__spec__) == ("__main__", "/nowhere/job.py", "", None)
    assert sys.argv == ["job.py"]
    assert sys.modules["__mp_main__"] is away
    assert not hasattr(away, "anything")
    assert main_module.home().number == "h"


def test_definitions_are_found_in_it(away: types.ModuleType) -> None:
    """They were pickled in another process, whose `__main__` is played by a module here."""
    source = types.ModuleType("__main__")
    text = "class A:\n  def f(self): return g() + k\ndef g(): return 1\nk = 2\nlast = lambda: A().f()\n"
    exec(compile(text, "<source>", "exec"), source.__dict__)
    main_module.replace(source)
    main_module._homes.clear()
    home = main_module._add(Home("h", source.__dict__, origin=True))
    data = pickling.dumps((source.A(), source.last))
    main_module._keys.clear()
    main_module._things.clear()
    main_module.replace(away)
    main_module._add(Home("h", away.__dict__, origin=False))
    made, last = pickle.loads(data)
    assert type(made) is away.A
    assert (made.f(), last()) == (3, 3)
    away.k = 5
    assert (made.f(), last()) == (6, 6)
    assert type(pickle.loads(data)[0]) is away.A
    assert home.namespace["k"] == 2


def test_code_keeps_its_file_and_what_was_typed_its_lines() -> None:
    import linecache
    import traceback

    linecache.cache["<typed>"] = (1, None, ["def fail():\n", "    raise ValueError('typed')\n"], "<typed>")
    names: dict[str, Any] = {"__name__": "elsewhere"}
    exec(compile("def fail():\n    raise ValueError('typed')\n", "<typed>", "exec"), names)
    data = pickling.dumps(names["fail"])
    del linecache.cache["<typed>"]
    try:
        pickle.loads(data)()
    except ValueError as error:
        text = "".join(traceback.format_exception(error))
    assert 'File "<typed>", line 2, in fail' in text
    assert "raise ValueError('typed')" in text
