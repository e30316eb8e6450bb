"""What `rackactor.records.dataclass` makes, beside what the standard decorator makes of the same class."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from rackactor import records


def _frozen(decorator: Any) -> Any:
    class Point:
        """A place."""

        x: int
        y: float = 0.5
        names: list[str] = dataclasses.field(default_factory=list)
        secret: str = dataclasses.field(default="s", repr=False, compare=False)
        count: ClassVar[int] = 7

        def double(self) -> int:
            return 2 * self.x

    return decorator(frozen=True)(Point)


def _mutable(decorator: Any) -> Any:
    @decorator
    class Counter:
        n: int = 0

    return Counter


@records.dataclass(frozen=True)
class Kept:
    """Something that can be pickled."""

    a: int
    b: tuple[int, ...] = ()


@records.dataclass(frozen=True)
class More(Kept):
    """With fields of a base class."""

    c: str = "c"


@pytest.fixture(params=[dataclasses.dataclass, records.dataclass], ids=["standard", "ours"])
def decorator(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_values(decorator: Any) -> None:
    point = _frozen(decorator)
    one, two = point(1), point(1, 0.5, [], "other")
    assert (one.x, one.y, one.names, one.secret, one.double(), one.count) == (1, 0.5, [], "s", 2, 7)
    assert one == two, "what is not compared"
    assert one != point(2)
    assert one != (1, 0.5, [])
    assert point(1).names is not one.names
    assert repr(one).endswith(".Point(x=1, y=0.5, names=[])")
    assert point(y=3, x=2).y == 3
    assert [each.name for each in dataclasses.fields(one)] == ["x", "y", "names", "secret"]
    assert dataclasses.replace(one, x=5) == point(5)
    assert dataclasses.asdict(one) == {"x": 1, "y": 0.5, "names": [], "secret": "s"}
    match one:
        case point(x, y):
            assert (x, y) == (1, 0.5)


def test_what_is_frozen(decorator: Any) -> None:
    one = _frozen(decorator)(1)
    for change in (lambda: setattr(one, "x", 2), lambda: setattr(one, "new", 2), lambda: delattr(one, "x")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            change()
    assert one.x == 1


def test_hashes(decorator: Any) -> None:
    point, counter = _frozen(decorator), _mutable(decorator)
    assert hash(point(1, names=())) == hash(point(1, names=(), secret="?"))
    with pytest.raises(TypeError, match="unhashable"):
        hash(counter())


def test_what_can_be_changed(decorator: Any) -> None:
    counter = _mutable(decorator)
    one = counter()
    one.n += 1
    assert one == counter(1)
    del one.n
    assert one.n == 0, "the default, an attribute of the class"


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda cls: cls(), r"Point.__init__\(\) missing 1 required positional argument: 'x'"),
        (lambda cls: cls(1, z=2), r"Point.__init__\(\) got an unexpected keyword argument 'z'"),
        (lambda cls: cls(1, x=2), r"Point.__init__\(\) got multiple values for argument 'x'"),
        (lambda cls: cls(1, 2, 3, 4, 5), r"Point.__init__\(\) takes from 2 to 5 positional arguments but 6 were given"),
    ],
)
def test_what_it_cannot_be_made_of(decorator: Any, call: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        call(_frozen(decorator))


def test_help_shows_its_fields(decorator: Any) -> None:
    for signature in (inspect.signature(_frozen(decorator)), inspect.signature(_frozen(decorator))):
        assert list(signature.parameters) == ["x", "y", "names", "secret"]
        assert signature.parameters["y"].default == 0.5
        assert signature.parameters["x"].default is inspect.Parameter.empty


def test_own_methods_stay(decorator: Any) -> None:
    @decorator
    class Own:
        n: int

        def __repr__(self) -> str:
            return "mine"

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    assert repr(Own(1)) == "mine"
    assert Own(1) == Own(2)


def test_slots(decorator: Any) -> None:
    @decorator(slots=True, eq=False)
    class Slotted:
        n: int
        m: int = 2

    one = Slotted(1)
    assert (one.n, one.m) == (1, 2)
    assert one != Slotted(1)
    with pytest.raises(AttributeError):
        one.other = 3


def test_base_classes_and_copies() -> None:
    one = More(1, (2,), "3")
    assert (one.a, one.b, one.c) == (1, (2,), "3")
    assert one != Kept(1, (2,))
    assert repr(More(1)) == "More(a=1, b=(), c='c')"
    for made in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)):
        assert made == one
        assert made is not one


def test_a_subclass_without_the_decorator_is_made_as_its_base() -> None:
    class Plain(Kept):
        pass

    assert Plain(1).b == ()
    assert Plain(2).a == 2


def test_many_threads_make_the_first_ones() -> None:
    point, made = _frozen(records.dataclass), []
    ready = threading.Barrier(8)

    def make(n: int) -> None:
        ready.wait(10)
        made.append(point(n))

    threads = [threading.Thread(target=make, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.x for each in made} == set(range(8))


def test_what_it_cannot_do_is_said() -> None:
    for options in ({"init": False}, {"kw_only": True}):
        with pytest.raises(TypeError, match=r"n.*needs the standard dataclass"):

            @records.dataclass
            class Wrong:
                n: int = dataclasses.field(default=1, **options)  # type: ignore[call-overload]

    with pytest.raises(TypeError, match=r"__post_init__.*needs the standard dataclass"):

        @records.dataclass
        class After:
            n: int = 1

            def __post_init__(self) -> None:
                self.n += 1
