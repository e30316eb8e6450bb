"""Pickling by value: definitions of a program's main file are sent along with what uses them.

cloudpickle does the work. This module adds three things: definitions find their place in the `__main__` of the
process where they arrive (see `rackactor.wire.main_module`), code keeps the name of its file, and the standard
library's wrappers of functions (`lru_cache`, `cached_property`, `singledispatch`) can be sent, too.
"""

from __future__ import annotations

import dis
import functools
import importlib
import inspect
import io
import linecache
import os
import pickle
import re
import sys
import types
import typing
import uuid
import weakref
from collections import ChainMap
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle

from rackactor.wire import main_module, unpacked
from rackactor.wire.main_module import Home, Key

_Cache = type(functools.lru_cache(lambda: None))
_BufferCallback = Callable[[pickle.PickleBuffer], Any]
#: Made anew in each process, where a function or class that uses them arrives; by their names in threading.
_OWN = {
    ("_thread", "lock"): "Lock",
    ("_thread", "RLock"): "RLock",
    ("_thread", "_local"): "local",
    ("threading", "Condition"): "Condition",
    ("threading", "Event"): "Event",
}
#: Modules whose functions are pickled by name, without a closer look.
_MAKERS = frozenset({__name__, cloudpickle.cloudpickle.__name__})
#: What a type hint may name.
_HINTS = (type, types.ModuleType, types.GenericAlias, types.UnionType, typing.TypeVar)
_WORD = re.compile(r"[^\W\d]\w*")
_EMPTY: dict[str, Any] = {}


def dumps(value: Any, *, buffer_callback: _BufferCallback | None = None) -> bytes:
    """Pickle a value, with the definitions of this program's `__main__` that it needs.

    Args:
        value: anything that pickle or cloudpickle can pickle.
        buffer_callback: takes buffers out of band, as pickle's does.

    Raises:
        Exception: whatever pickling raises.
    """
    file = io.BytesIO()
    Pickler(file, protocol=5, buffer_callback=buffer_callback).dump(value)
    return file.getvalue()


def dumps_itself(value: Any) -> bytes:
    """Pickle a value by its contents, also if it would be pickled by its name only, as a `typing.NewType` is.

    Raises:
        Exception: whatever pickling raises.
    """
    if isinstance(value, (type, types.FunctionType, _Cache)) or not isinstance(value.__reduce_ex__(5), str):
        return dumps(value)
    return dumps(_Itself(type(value), getattr(value, "__getnewargs__", tuple)(), object.__getstate__(value)))


class _Itself:
    """Stands for an object, with the parts from which Python would make it."""

    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def __reduce__(self) -> Any:
        return make_itself, self._parts


def make_itself(cls: Any, args: Any, state: Any) -> Any:
    """Make an object in Python's default way, for classes that do not define their own."""
    thing = cls.__new__(cls, *args)
    for part in state if isinstance(state, tuple) else (state,):
        for name, value in (part or {}).items():
            object.__setattr__(thing, name, value)
    return thing


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's pickler, with definitions that know their homes."""

    def __init__(self, file: Any, protocol: int = 5, buffer_callback: _BufferCallback | None = None) -> None:
        super().__init__(file, protocol=protocol, buffer_callback=buffer_callback)
        if "__mp_main__" in sys.modules:
            _travel_by_value(sys.modules["__mp_main__"])

    def reducer_override(self, obj: Any) -> Any:
        """Return how an object is to be rebuilt; NotImplemented: in pickle's own way."""
        kind = type(obj)
        if kind is types.FunctionType:
            if obj.__module__ in _MAKERS:
                return NotImplemented
            reduced = super().reducer_override(obj)
            return reduced if reduced is NotImplemented else _reduce_function(obj, reduced)
        if issubclass(kind, type):
            reduced = super().reducer_override(obj)
            return reduced if reduced is NotImplemented or len(reduced) != 6 else _reduce_class(obj, reduced)
        return _reduce_cache(obj) if kind is _Cache else NotImplemented  # for other objects cloudpickle has a table


def _travel_by_value(module: types.ModuleType) -> None:
    """Treat as a main module the one of a process that multiprocessing has spawned."""
    if module.__name__ not in cloudpickle.list_registry_pickle_by_value():
        cloudpickle.register_pickle_by_value(module)


# -- functions ---------------------------------------------------------------------------------------------------


def _reduce_function(function: Any, reduced: Any) -> Any:
    home = main_module.home_of(function.__globals__)
    if home is None:
        return reduced
    _, (code, _, *_, closure), (state, slots), _, _, fill = reduced
    name = function.__qualname__
    key = None if "." in name else home.key_of(function, name)  # methods are found through their classes
    names = _hinted(home, function.__annotations__)
    if types.CodeType in map(type, code.co_consts):
        names.update(_loaded(code))
    if "globals" in code.co_names:  # it may look up any name
        names.update(_defined(home))
    values = _values(home, names, key)
    values.update((name, _own(value)) for name, value in slots.pop("__globals__").items())
    more = (fill, state, slots, values, home.versions_of(values))
    return make_function, (home.number, key and tuple(key), code, closure), more, None, None, fill_function


def make_function(number: str, key: Any, code: types.CodeType, closure: Any) -> Any:
    """Return the known function of this key, or a new one that is still to be filled."""
    home = main_module.home_by_number(number)
    known = key and home.known(Key(*key))
    if known is not None:
        return known
    function = types.FunctionType(code, home.namespace, None, None, closure)
    _unfilled.add(function)
    if key:
        main_module.register(Key(*key), function)
    return function


def fill_function(function: Any, more: Any) -> None:
    """Fill a new function with everything but its code, and bind its name in `__main__`."""
    fill, state, slots, values, versions = more
    home = main_module.home_of(function.__globals__)
    new = function in _unfilled
    if home is None or (home.origin and not new):
        return
    home.adopt(values, versions)
    if not new:
        return
    builtins = home.namespace.get("__builtins__")
    fill(function, (state, {**slots, "__globals__": {}}))
    home.namespace["__builtins__"] = builtins
    _finish(function)


#: Definitions that are made but not filled yet. (Two threads may be filling one at the same time.)
_unfilled: weakref.WeakSet[Any] = weakref.WeakSet()


def _finish(thing: Any) -> None:
    _unfilled.discard(thing)
    key = main_module.key_of(thing)
    if key is not None and key.home:
        main_module.home_by_number(key.home).bind(key, thing)


# -- classes -----------------------------------------------------------------------------------------------------


def _reduce_class(cls: Any, reduced: Any) -> Any:
    make, args, state, _, _, fill = reduced
    main = cls.__module__ in main_module.NAMES
    home = main_module.home() if main else None
    key = home.key_of(cls, cls.__qualname__) if home else main_module.key_of(cls)
    if key is None:
        key = main_module.register(Key("", cls.__qualname__, uuid.uuid4().hex), cls)
    values: dict[str, Any] = _EMPTY
    if home is not None:
        values = _values(home, _hinted(home, inspect.get_annotations(cls)), key)
    members, slots = state
    members = {name: _own(value) for name, value in members.items()}
    # These keywords of a class are needed when it is made, as its slots are. Named tuples are made in their own way.
    if "__slots__" in members and type(args[3]) is dict and not hasattr(cls, "_fields"):
        args = (*args[:3], {**args[3], "__slots__": members.pop("__slots__")}, *args[4:])
    return make_class, (tuple(key), make, args), (fill, members, slots, values), None, None, fill_class


def make_class(key: Any, make: Any, args: Any) -> Any:
    """Return the known class of this key, or a new one that is still to be filled."""
    key = Key(*key)
    known = main_module.home_by_number(key.home).known(key) if key.home else main_module.thing_of(key)
    if known is not None:
        return known
    cls = make(*args)
    cls.__qualname__ = key.name
    _unfilled.add(cls)
    main_module.register(key, cls)
    return cls


def fill_class(cls: Any, more: Any) -> None:
    """Fill a new class with its attributes, and bind its name in `__main__`."""
    fill, members, slots, values = more
    if cls not in _unfilled:
        return
    fill(cls, (members, slots))
    key = main_module.key_of(cls)
    if values and key is not None and key.home:
        main_module.home_by_number(key.home).adopt(values, {})
    _finish(cls)


# -- what the standard library wraps around functions --------------------------------------------------------------


def _reduce_cache(cache: Any) -> Any:
    module, name = getattr(cache, "__module__", None), getattr(cache, "__qualname__", "")
    home = None
    if module in main_module.NAMES:
        home = main_module.home()
    elif _find(sys.modules.get(module or ""), name) is cache:
        return NotImplemented  # it is found by its name
    key = home.key_of(cache, name) if home else main_module.key_of(cache)
    if key is None:
        key = main_module.register(Key("", name, uuid.uuid4().hex), cache)
    state = {name: value for name, value in vars(cache).items() if name not in ("__wrapped__", "cache_parameters")}
    function = getattr(cache, "__wrapped__", None)
    return make_cache, (tuple(key), cache.cache_parameters(), function), state, None, None, fill_cache


def make_cache(key: Any, parameters: Any, function: Any) -> Any:
    """Return the known cached function of this key, or one with an empty cache."""
    key = Key(*key)
    known = main_module.home_by_number(key.home).known(key) if key.home else main_module.thing_of(key)
    if known is not None:
        return known
    cache = functools.lru_cache(**parameters)(function)
    _unfilled.add(cache)
    main_module.register(key, cache)
    return cache


def fill_cache(cache: Any, state: Any) -> None:
    """Set the attributes of a new cached function, and bind its name in `__main__`."""
    if cache in _unfilled:
        vars(cache).update(state)
        _finish(cache)


def _reduce_property(prop: Any) -> Any:
    return make_property, (prop.func, prop.attrname)


def make_property(function: Any, name: str | None) -> Any:
    """Return a cached property."""
    prop: Any = functools.cached_property(function)
    if name is not None:
        prop.__set_name__(None, name)
    return prop


def _reduce_weak(mapping: Any) -> Any:
    return type(mapping), (dict(mapping),)


# -- code --------------------------------------------------------------------------------------------------------


def _reduce_code(code: types.CodeType) -> Any:
    make, args = cloudpickle.Pickler.dispatch_table[types.CodeType](code)
    return make_code, (make, args, code.co_filename, _source(code.co_filename))


def make_code(make: Any, args: Any, filename: str, source: str | None) -> Any:
    """Return code that names the file it was written in, so that tracebacks can show its lines."""
    if source is not None:
        _remember(filename, source)
    elif unpacked.directories:
        _look_here(filename)
    return make(*args).replace(co_filename=filename)


@functools.lru_cache(maxsize=256)
def _source(filename: str) -> str | None:
    """Return the source of what was typed in (a notebook's cell, ...), since it is in no file."""
    if os.path.isfile(filename):
        return None
    lines = linecache.getlines(filename, main_module.main_module().__dict__)
    return "".join(lines) or None


@functools.lru_cache(maxsize=256)
def _look_here(filename: str) -> None:
    """Find a file of the program among the files that came with it to this machine."""
    if not os.path.isfile(filename):
        place = unpacked.place_of(filename)
        if place != filename:
            _remember(filename, "".join(linecache.getlines(place)))


def _remember(filename: str, source: str) -> None:
    if filename not in linecache.cache and not os.path.isfile(filename):
        lines = source.splitlines(keepends=True)
        linecache.cache[filename] = (len(source), None, lines, filename)


# -- names -------------------------------------------------------------------------------------------------------


def _values(home: Home, names: set[str], key: Key | None) -> dict[str, Any]:
    """Return the values of names at home, including the class that encloses a nested definition."""
    if key is not None and key.home and "." in key.name:
        names = {*names, key.name.partition(".")[0]}
    return {name: _own(home.namespace[name]) for name in sorted(names) if name in home.namespace} if names else {}


def _own(value: Any) -> Any:
    kind = type(value)
    if kind.__module__ not in ("_thread", "threading"):
        return value
    name = _OWN.get((kind.__module__, kind.__name__))
    return value if name is None else _Anew(name)


class _Anew:
    """Stands for an object that each process makes for itself."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __reduce__(self) -> Any:
        return make_anew, (self._name,)


def make_anew(name: str) -> Any:
    """Return a lock or the like, in its initial state."""
    return getattr(importlib.import_module("threading"), name)()


def _hinted(home: Home, annotations: Any) -> set[str]:
    """Return the names of classes and the like in type hints that are strings."""
    found: set[str] = set()
    for hint in list(annotations.values()) if annotations else ():
        if type(hint) is str:
            found.update(name for name in _WORD.findall(hint) if _is_hint(home.namespace.get(name)))
    return found


def _is_hint(value: Any) -> bool:
    return (isinstance(value, _HINTS) or type(value).__module__ == "typing") and _can_travel(value)


_travels: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


def _can_travel(value: Any) -> bool:
    """Tell whether a value can be pickled: a mere hint must not cause a failure."""
    if getattr(value, "__module__", None) not in main_module.NAMES:
        return True
    try:
        if value not in _travels:
            _travels[value] = True  # assumed while it is tried: the value may refer to itself
            dumps(value)
    except Exception:
        _travels[value] = False
    return _travels.get(value, False)


def _defined(home: Home) -> set[str]:
    """Return the names of the classes and functions that the main file defines and that can be pickled."""
    kinds = (type, types.FunctionType, _Cache)
    return {name for name, value in list(home.namespace.items()) if isinstance(value, kinds) and _can_travel(value)}


_LOADS = frozenset({"LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})


@functools.lru_cache(maxsize=1024)
def _loaded(code: types.CodeType) -> frozenset[str]:
    """Return the globals that class bodies in a function use; cloudpickle handles those of functions."""
    return frozenset(_class_names(code, inside=False))


def _class_names(code: types.CodeType, *, inside: bool) -> Iterator[str]:
    if inside and not code.co_flags & 0x2:  # CO_NEWLOCALS: a function's
        yield from (op.argval for op in dis.get_instructions(code) if op.opname in _LOADS)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _class_names(constant, inside=True)


def _find(module: Any, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part, None)
    return module


def _table() -> ChainMap[type, Any]:
    theirs, *rest = cloudpickle.Pickler.dispatch_table.maps
    ours = {
        types.CodeType: _reduce_code,
        functools.cached_property: _reduce_property,
        weakref.WeakKeyDictionary: _reduce_weak,
        weakref.WeakValueDictionary: _reduce_weak,
    }
    return ChainMap({**theirs, **ours}, *rest)


Pickler.dispatch_table = _table()
