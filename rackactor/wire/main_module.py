"""The program's `__main__`, in each of its processes.

The definitions of a program's main file are sent by value, since no other process can import them. Where they arrive
they still belong into a module `__main__`: pickle looks up classes there, type hints are resolved there, a function's
globals are there. So the `__main__` of a process is made to look like its program's (`__file__`, `__spec__`, ...), and
what arrives is put into it. The script itself does not run again.

- Each program is a *home*: its main namespace, known by the hash of its source, or by a random number where there is no
  file. What comes from another program's `__main__` gets its own namespace, and never mixes.
- Each class, named function and cache has a *key* in its home: its qualified name and a version. The program counts
  versions, since a notebook may define a function again. Nothing is made twice under one key: a class that is sent
  twice, or comes back, is the same class, and keeps the attributes that it was given here.
- A process's globals are its own. What arrives fills names that are not set yet. A newer version of a function or class
  replaces the older one. A constant that the program has changed replaces one that this process has not changed. The
  rest stays. In the program itself nothing is ever replaced.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import sys
import uuid
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

#: The names of a main module; multiprocessing's spawn uses the second.
NAMES = ("__main__", "__mp_main__")
_MISSING = object()
#: Immutable types whose values can be compared.
_CONSTANTS = frozenset({type(None), bool, int, float, complex, str, bytes})


class Key(NamedTuple):
    """The identity of a definition, the same in each process."""

    home: str
    name: str
    #: An integer: the program's count; a string: drawn at random by the process that made it.
    version: int | str


#: Definitions by their keys, and keys by their definitions.
_things: weakref.WeakValueDictionary[Key, Any] = weakref.WeakValueDictionary()
_keys: weakref.WeakKeyDictionary[Any, Key] = weakref.WeakKeyDictionary()


class Home:
    """The main namespace of a program, in the program or elsewhere.

    Args:
        number: its identity.
        namespace: its names here.
        origin: whether this process has run the script itself.
    """

    def __init__(self, number: str, namespace: dict[str, Any], *, origin: bool) -> None:
        self.number = number
        self.namespace = namespace
        self.origin = origin
        self._versions: dict[str, int] = {}
        #: Constants as they were last sent or received, with their versions.
        self._constants: dict[str, tuple[Any, int]] = {}

    def find(self, name: str) -> Any:
        """Return the value of a qualified name here, or None."""
        first, *rest = name.split(".")
        thing = self.namespace.get(first)
        for part in rest:
            thing = getattr(thing, part, None)
        return thing

    def key_of(self, thing: Any, name: str) -> Key | None:
        """Return the key of a thing that this home defines; None: it has no name here by which to recognize it."""
        key = key_of(thing)
        if key is None and self.find(name) is thing:
            key = self._name(thing, name)
        return key

    def _name(self, thing: Any, name: str) -> Key:
        version: int | str = uuid.uuid4().hex
        if self.origin:
            version = self._versions.get(name, 0)
            self._versions[name] = version + 1
        return register(Key(self.number, name, version), thing)

    def known(self, key: Key) -> Any:
        """Return the definition with this key here, or None."""
        thing = _things.get(key)
        if thing is None and self.origin and key.version == 0 and not self._versions.get(key.name):
            # Another process of the same script has sent its definition first; this one is the same.
            thing = self.find(key.name)
            if thing is not None and key_of(thing) is None:
                self._name(thing, key.name)
        return thing

    # -- globals -------------------------------------------------------------------------------------------------

    def versions_of(self, values: dict[str, Any]) -> dict[str, int]:
        """Return the versions of those constants, among globals to be sent, that have changed."""
        changed = {}
        for name, value in values.items():
            if not is_constant(value):
                continue
            known = self._constants.get(name)
            if known is None:
                known = self._constants[name] = (value, 0)
            elif not _same(known[0], value):
                if not self.origin:
                    continue  # this process has set it itself
                known = self._constants[name] = (value, known[1] + 1)
            if known[1]:
                changed[name] = known[1]
        return changed

    def adopt(self, values: dict[str, Any], versions: dict[str, int]) -> None:
        """Set globals that have come with a function."""
        for name, value in values.items():
            mine = self.namespace.get(name, _MISSING)
            version = versions.get(name, 0)
            if mine is _MISSING:
                self.namespace[name] = value
                if is_constant(value):
                    self._constants[name] = (value, version)
            elif mine is value or self.origin:
                continue
            elif self._is_stale(name, mine, version):
                self.namespace[name] = value
                self._constants[name] = (value, version)
            elif _is_newer(value, mine):
                self.namespace[name] = value

    def _is_stale(self, name: str, mine: Any, version: int) -> bool:
        value, known = self._constants.get(name, (_MISSING, 0))
        return version > known and _same(value, mine)

    def bind(self, key: Key, thing: Any) -> None:
        """Bind a definition that has arrived to its name."""
        if self.origin or "." in key.name:
            return
        mine = self.namespace.get(key.name, _MISSING)
        if mine is _MISSING or _is_newer(thing, mine):
            self.namespace[key.name] = thing


def is_constant(value: Any) -> bool:
    """Tell whether a value is a constant: a number, a string, or a tuple of such."""
    kind = type(value)
    return kind in _CONSTANTS or (kind is tuple and all(type(item) in _CONSTANTS for item in value))


def _same(one: Any, other: Any) -> bool:
    if one is other or type(one) is not type(other):
        return one is other
    return bool(one == other) if type(one) in (str, bytes) else is_constant(other) and repr(one) == repr(other)


def _is_newer(theirs: Any, mine: Any) -> bool:
    """Tell whether the first definition is a later version of the second."""
    new, old = key_of(theirs), key_of(mine)
    if new is None or old is None or new[:2] != old[:2]:
        return False
    return isinstance(new.version, int) and isinstance(old.version, int) and new.version > old.version


def key_of(thing: Any) -> Key | None:
    """Return the key of a thing, or None."""
    try:
        return _keys.get(thing)
    except TypeError:  # it is not hashable, or has no weak references
        return None


def thing_of(key: Key) -> Any:
    """Return the definition with this key here, or None."""
    return _things.get(key)


def register(key: Key, thing: Any) -> Key:
    """Register a thing under a key; returns its present key if another thread was faster."""
    try:
        key = _keys.setdefault(thing, key)
        _things[key] = thing
    except TypeError:
        pass
    return key


# -- homes -------------------------------------------------------------------------------------------------------

_homes: dict[str, Home] = {}
#: The homes of main namespaces, by the identity of the namespace; the home keeps its namespace alive.
_by_namespace: dict[int, Home] = {}


def home_of(namespace: dict[str, Any]) -> Home | None:
    """Return the home of a function's globals; None: these are no main module's."""
    home = _by_namespace.get(id(namespace))
    if home is None and namespace.get("__name__") in NAMES:
        home = _found(namespace)
    return home


def home() -> Home:
    """Return the home of this process's `__main__`."""
    namespace = main_module().__dict__
    return _by_namespace.get(id(namespace)) or _found(namespace)


def home_by_number(number: str) -> Home:
    """Return the home with this number, where something has arrived from it."""
    if number not in _homes and home().number != number:  # this program's own home may not have been asked for yet
        _add(Home(number, {"__name__": "__main__", "__builtins__": __builtins__}, origin=False))
    return _homes[number]


def main_module() -> ModuleType:
    """Return this process's `__main__`."""
    module = sys.modules.get("__main__")
    if not isinstance(module, ModuleType):
        module = sys.modules["__main__"] = ModuleType("__main__")
    return module


def _found(namespace: dict[str, Any]) -> Home:
    """Return the home of a main namespace that was made in this process."""
    number = _number(namespace)
    known = _homes.get(number)
    if known is None or (known.namespace is not namespace and namespace is main_module().__dict__):
        return _add(Home(number, namespace, origin=True))
    _by_namespace[id(namespace)] = known
    _kept.append(namespace)
    return known


#: Namespaces that share another's home: kept alive, so that their identity is not used again.
_kept: list[dict[str, Any]] = []


def _add(home: Home) -> Home:
    _homes[home.number] = home
    _by_namespace[id(home.namespace)] = home
    return home


def _number(namespace: dict[str, Any]) -> str:
    try:
        with open(namespace["__file__"], "rb") as file:
            source = file.read()
    except (KeyError, TypeError, ValueError, OSError):
        return uuid.uuid4().hex[:16]
    return hashlib.sha256(source).hexdigest()[:16]


# -- the module itself -------------------------------------------------------------------------------------------


def describe() -> dict[str, Any]:
    """Return what a process needs to make a `__main__` like this one, as plain values."""
    module = main_module()
    spec = getattr(module, "__spec__", None)
    return {
        "home": home().number,
        "file": getattr(module, "__file__", None),
        "package": getattr(module, "__package__", None),
        "spec": None if spec is None else (spec.name, spec.origin, spec.submodule_search_locations),
        "argv": list(getattr(sys, "argv", ())),
    }


class _Arrived(ModuleType):
    """A `__main__` that holds what has come by value, and looks up other names when they are used."""

    def __getattr__(self, name: str) -> Any:
        """Look up a name that has not been sent."""
        if look_up is None or name.startswith("__"):
            raise AttributeError(f"module '__main__' has no attribute {name!r}")
        value = look_up(name)
        return self.__dict__.setdefault(name, value)


#: Looks up names that have not been sent, where that is possible.
look_up: Callable[[str], Any] | None = None


def enter(about: dict[str, Any], place: Callable[[str], str] | None = None) -> None:
    """Make this process's `__main__` look like the described one; otherwise it is empty.

    Args:
        about: see `describe`.
        place: returns where a file of the program lies on this machine; None: at the same path.
    """
    module = _Arrived("__main__")
    path, spec = about["file"], about["spec"]
    module.__dict__["__builtins__"] = sys.modules["builtins"]
    module.__package__ = about["package"]
    if path is not None:
        module.__file__ = path if place is None else place(path)
    if spec is not None:
        name, origin, locations = spec
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, origin=origin)
        module.__spec__.submodule_search_locations = locations
        module.__spec__.has_location = origin is not None
    if path is not None and path.endswith(".py"):
        loader = importlib.machinery.SourceFileLoader(spec[0] if spec else "__main__", str(module.__file__))
        module.__loader__ = loader
        if module.__spec__ is not None:
            module.__spec__.loader = loader
    for name in NAMES:
        sys.modules[name] = module
    _add(Home(about["home"], module.__dict__, origin=False))
    sys.argv[:] = about["argv"]


def replace(module: ModuleType) -> None:
    """Install a new `__main__` whose script this process runs itself."""
    sys.modules["__main__"] = module
    sys.modules.pop("__mp_main__", None)


def forget(module: ModuleType) -> None:
    """Restore the `__main__` from before `enter`."""
    for namespace in [home.namespace for home in _homes.values()]:
        _by_namespace.pop(id(namespace), None)
    _homes.clear()
    replace(module)


def let_go() -> list[dict[str, Any]]:
    """Release all main namespaces, since the program has ended; return them."""
    namespaces = [home.namespace for home in _homes.values()] + _kept
    _homes.clear()
    _by_namespace.clear()
    _kept.clear()
    return namespaces
