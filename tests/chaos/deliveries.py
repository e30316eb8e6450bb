"""Judge what went through pipes: nothing lost, nothing twice, nothing out of order.

A writer numbers its messages 1, 2, 3, ... A message is one number for its writer's label and its own number, so that a
reader can write each down as it takes it.

What the killing of a process excuses, and nothing else does:

- what a killed writer had not handed over may be missing, at the end of its numbers only; where several readers take
  side by side, also what was on its way to one of them (which was stopped, or killed too) when another one had gone
  on, however far: at most `lanes` messages of each killed writer;
- one message that a killed reader had taken and had no time to write down: it had it in its hands when it was killed;
- what a killed reader had been given and had not confirmed is given to another one: it may have been taken by both, and
  it comes to the other one after later messages. Each killed reader excuses at most `window` messages of each.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

#: Bits of a message's number; the label of its writer is above them.
BITS = 40
_NUMBER = (1 << BITS) - 1
#: Violations of a kind that are told one by one.
_TOLD = 5


def word(writer: int, number: int) -> int:
    """Return a message's word."""
    return writer << BITS | number


@dataclass(frozen=True)
class Writer:
    """One life of a writer."""

    label: int
    #: The last number of which `send` returned.
    handed: int
    killed: bool = False


@dataclass(frozen=True)
class Reader:
    """One life of a reader."""

    label: int
    #: Words of messages, in the order in which it took them.
    taken: Sequence[int]
    killed: bool = False


@dataclass
class Delivered:
    """What the judge found."""

    #: Messages taken, each counted once.
    messages: int = 0
    #: Takes beyond the first that a killed reader excuses.
    redelivered: int = 0
    #: Takes after later messages of the same writer that a killed reader excuses.
    late: int = 0
    #: Messages that killed writers had handed over and nobody took, all at the ends of their numbers.
    cut_off: int = 0
    #: Messages that killed readers had in their hands, one each at the most.
    in_hand: int = 0
    #: Messages on their way from killed writers, lost before the last one that arrived.
    under_way: int = 0
    violations: list[str] = field(default_factory=list)


def judge(writers: Iterable[Writer], readers: Sequence[Reader], window: int, lanes: int = 0) -> Delivered:
    """Judge one pipe.

    Args:
        writers: all lives of its writers.
        readers: all lives of its readers.
        window: the most messages that a reader is given before it has confirmed some.
        lanes: how many messages of one writer may be under way to all readers together; 0 for one reader at a time.
    """
    found = Delivered()
    by_label = {writer.label: writer for writer in writers}
    times = {label: bytearray(writer.handed + 2) for label, writer in by_label.items()}
    for reader in readers:
        _count(reader, times, found)
    found.redelivered = _doubled(readers, times, found)
    excused = sum(reader.killed for reader in readers) * window
    for count, what in ((found.late, "after later ones"), (found.redelivered, "twice")):
        if count > excused:
            found.violations.append(f"{count} messages taken {what}, where killed readers excuse {excused}")
    hands = [_last(reader) for reader in readers if reader.killed]
    for label, writer in by_label.items():
        _missing(writer, times[label], lanes, hands, found)
    found.messages = sum(len(counts) - counts.count(0) for counts in times.values())
    return found


def _count(reader: Reader, times: Mapping[int, bytearray], found: Delivered) -> None:
    """Count how often each message was taken, and which came after later ones."""
    last = dict.fromkeys(times, 0)
    strange = 0
    for message in reader.taken:
        label, number = message >> BITS, message & _NUMBER
        counts = times.get(label)
        if counts is None or not 0 < number < len(counts):
            strange += 1
            if strange <= _TOLD:
                found.violations.append(f"reader {reader.label} took {number} of writer {label}, which was not sent")
            continue
        if counts[number] < 255:
            counts[number] += 1
        if number > last[label]:
            last[label] = number
        else:
            found.late += 1


def _doubled(readers: Sequence[Reader], times: Mapping[int, bytearray], found: Delivered) -> int:
    """Return how many were taken twice; twice without a killed reader among the takers is a violation."""
    doubled = {word(label, number): count for label, counts in times.items() for number, count in _above_one(counts)}
    if not doubled:
        return 0
    by_killed = dict.fromkeys(doubled, 0)
    for reader in readers:
        if reader.killed:
            for message in reader.taken:
                if message in by_killed:
                    by_killed[message] += 1
    told = 0
    for message, count in doubled.items():
        if count - by_killed[message] > 1:
            told += 1
            if told <= _TOLD:
                label, number = message >> BITS, message & _NUMBER
                found.violations.append(f"{number} of writer {label} taken {count} times, by no killed reader twice")
    return sum(doubled.values()) - len(doubled)


def _above_one(counts: bytearray) -> Iterable[tuple[int, int]]:
    if max(counts) > 1:
        yield from ((number, count) for number, count in enumerate(counts) if count > 1)


def _last(reader: Reader) -> dict[int, int]:
    """Return the last number of each writer that a reader wrote down."""
    last: dict[int, int] = {}
    for message in reader.taken:
        label, number = message >> BITS, message & _NUMBER
        last[label] = max(last.get(label, 0), number)
    return last


def _missing(writer: Writer, counts: bytearray, lanes: int, hands: list[dict[int, int]], found: Delivered) -> None:
    """Look for a gap.

    Args:
        writer: whose messages they are.
        counts: how often each was taken. It has a place for 0, which is never sent, and for one more than is known to
            be sent.
        lanes: see `judge`.
        hands: the last numbers of killed readers that may have had one more message; those that had are taken out.
        found: what is found.
    """
    last = len(counts.rstrip(b"\0")) - 1  # 0 is never taken, so this is the last number taken, or -1
    if not writer.killed:
        if last > writer.handed:
            found.violations.append(f"{last} of writer {writer.label} was taken, which ended after {writer.handed}")
        last = writer.handed
    elif last < writer.handed:
        found.cut_off += writer.handed - max(last, 0)
    lost = []
    number = 0
    while (number := counts.find(0, number + 1, last + 1)) > 0:
        if not (writer.killed and lanes) and _in_hand(writer.label, number, hands):
            found.in_hand += 1
        else:
            lost.append(number)
    if writer.killed and len(lost) <= lanes:
        found.under_way += len(lost)
    elif lost:
        words = f"{len(lost)} messages of writer {writer.label} lost, {lost[0]} the first of {writer.handed}"
        found.violations.append(words)


def _in_hand(label: int, number: int, hands: list[dict[int, int]]) -> bool:
    """Tell whether a killed reader may have had a message in its hands; it had no other one then."""
    for last in hands:
        if last.get(label, 0) < number:
            hands.remove(last)
            return True
    return False


def words(numbers: Iterable[tuple[int, int]]) -> array[int]:
    """Return (writer, number) pairs as words."""
    return array("Q", (word(writer, number) for writer, number in numbers))
