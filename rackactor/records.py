"""`dataclass`, without the code that a program may never need.

The standard decorator compiles up to eight methods for each class, which takes 0.3 to 2 ms. A supervisor imports 150
such classes, a quarter of the time of its start, and makes instances of a third of them. Here `__init__` is compiled
when a class makes its first instance; the others are the same few functions for all classes. What they do is what the
standard ones do; `fields`, `replace`, `asdict` and `help` find what they look for. For type checkers it is the
standard decorator.
"""

from __future__ import annotations

from dataclasses import MISSING, FrozenInstanceError, fields
from dataclasses import dataclass as _standard
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(
        cls: type | None = None, /, *, frozen: bool = False, eq: bool = True, repr: bool = True, slots: bool = False
    ) -> Any:
        """Make a class a dataclass, as the standard decorator does.

        Raises:
            TypeError: it needs what only the standard one can do.
        """
        if cls is None:
            return lambda cls: dataclass(cls, frozen=frozen, eq=eq, repr=repr, slots=slots)
        own = set(vars(cls))
        if not cls.__doc__:
            cls.__doc__ = cls.__name__  # or the standard one asks `inspect`, which takes it 10 ms
        made = _standard(init=False, eq=False, repr=False, slots=slots)(cls)
        beyond = [each.name for each in fields(made) if each.kw_only or not each.init]
        if beyond or hasattr(made, "__post_init__") or (frozen and slots):
            raise TypeError(
                f"{made.__name__} ({', '.join(beyond) or '__post_init__, frozen slots'}) needs the standard dataclass"
            )
        methods: dict[str, Any] = {"__init__": _first_init(made, frozen), "__signature__": _Signature()}
        if repr and "__repr__" not in own:
            methods["__repr__"] = _repr
        if eq and "__eq__" not in own:
            methods["__eq__"] = _eq
            if "__hash__" not in own:
                methods["__hash__"] = _hash if frozen else None
        if frozen:
            methods |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
        for name, method in methods.items():
            setattr(made, name, method)
        return made


def _first_init(cls: type[Any], frozen: bool) -> Any:
    """Return an `__init__` that has the real one compiled, and puts it in its own place."""

    def __init__(self: Any, *args: Any, **named: Any) -> None:
        # It is only asked for when needed; two threads may both do so, and get equal ones.
        cls.__init__ = init = _compile_init(cls, frozen)
        init(self, *args, **named)

    return __init__


def _compile_init(cls: type[Any], frozen: bool) -> Any:
    """Compile what the standard decorator would; that takes it six times as long, for it can do more."""
    args, lines = ["self"], []
    names: dict[str, Any] = {"MISSING": MISSING}
    for each in fields(cls):
        name = value = each.name
        if each.default is not MISSING:
            names[f"default_{name}"] = each.default
            args.append(f"{name}=default_{name}")
        elif each.default_factory is not MISSING:
            names[f"make_{name}"] = each.default_factory
            args.append(f"{name}=MISSING")
            value = f"make_{name}() if {name} is MISSING else {name}"
        else:
            args.append(name)
        lines.append(f"    self.__dict__['{name}'] = {value}" if frozen else f"    self.{name} = {value}")
    text = "\n".join([f"def __init__({', '.join(args)}):", *(lines or ["    pass"])])
    # Compiled first: `exec` of a string has Python forget, at its exit, that Ctrl-C ended the program.
    exec(compile(text, f"<{cls.__qualname__}>", "exec"), names)
    init: Any = names["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init


class _Signature:
    """What `inspect.signature` and `help` are to show: the real `__init__`, not the first one."""

    def __get__(self, record: Any, cls: type[Any]) -> Any:
        if record is not None:
            raise AttributeError("__signature__")
        from inspect import signature

        full = signature(_compile_init(cls, frozen=False))
        return full.replace(parameters=list(full.parameters.values())[1:])


@cache
def _names(cls: Any, flag: str) -> tuple[str, ...]:
    return tuple(each.name for each in fields(cls) if getattr(each, flag))


def _values(record: Any) -> tuple[Any, ...]:
    cls: Any = type(record)
    return tuple([getattr(record, name) for name in _names(cls, "compare")])


def _repr(self: Any) -> str:
    cls: Any = type(self)
    return f"{cls.__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in _names(cls, 'repr'))})"


def _eq(self: Any, other: object) -> Any:
    if type(self) is not type(other):
        return NotImplemented
    return _values(self) == _values(other)


def _hash(self: Any) -> int:
    return hash(_values(self))


def _refuse_to_set(self: Any, name: str, value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")
