"""The steps of one life: its machine is found and located, and ends."""

from __future__ import annotations

import math
from dataclasses import field

from rackactor.records import dataclass
from rackactor_runtime.providers.base import Created, InstanceExit, Located
from rackactor_runtime.providers.machines.effects import Effect, Tell
from rackactor_runtime.providers.machines.register import Record, Register

#: Seconds beyond its boot time for which a machine may be requested without a clear answer.
GRACE = 120.0
#: Seconds after it was found silent during which a machine does not count as reporting.
SILENT = 5.0


@dataclass
class Lives(Register):
    """All lives, and the effects for them."""

    effects: list[Effect] = field(default_factory=list)

    def sort(self, record: Record) -> None:
        """File a changed record, and set when it is due for a check."""
        self.file(record)
        self.wake_at(record, _wake(record))

    def found(self, record: Record, instance: str, now: float) -> None:
        """Note the cloud's own name for its machine; it may have changed."""
        record.names.add(instance)
        record.instance, record.unclear, record.since = instance, False, now
        record.missing, record.absent, record.failed, record.find_at = 0, None, None, now
        self.effects.append(Tell(Created(record.key, instance)))
        self.sort(record)

    def locate(self, record: Record, address: str) -> None:
        """Note its address."""
        if address and not record.address:
            record.address = address
            self.effects.append(Tell(Located(record.key, address)))

    def end(self, record: Record, ending: InstanceExit, now: float) -> None:
        """Begin its end."""
        record.ending, record.ending_since, record.remove_at = ending, now, now
        record.console = record.instance is not None and (ending.outside or not record.joined)
        record.missing = 0
        self.sort(record)


def heard(record: Record, now: float) -> bool:
    """Tell whether a machine's program reports: it has joined, and has not been found silent."""
    return record.joined and now - record.silent > SILENT


def _wake(record: Record) -> float:
    if record.ending is None:
        if record.instance is not None or record.asked_at is None or record.joined:
            return math.inf
        return record.asked_at + record.patience + GRACE
    when = math.inf if record.unkillable else record.ending_since + record.hope
    if record.asking or record.unclear or record.removing:
        return when
    return min(when, record.remove_at)
