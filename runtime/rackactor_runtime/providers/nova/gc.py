"""Remove from a cloud what carries our mark and no group claims: `python -m rackactor_runtime.providers.nova.gc`.

A group claims its own things while its supervisor's machine exists and its deadline has not passed, and for some time
after its first thing was made, since a supervisor's machine is made last. If a group may be alive although no list
shows its supervisor, it is spared. A user who knows better names the group (`--gid`).
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rackactor.cli.escaping import visible
from rackactor.errors import RackError
from rackactor_runtime.providers.machines.cloud import CloudFault
from rackactor_runtime.providers.machines.effects import Condition, condition
from rackactor_runtime.providers.nova.access import sdk
from rackactor_runtime.providers.nova.marks import names as w
from rackactor_runtime.providers.nova.marks.found import Found

if TYPE_CHECKING:  # openstacksdk cannot be imported everywhere, and that is said in one line: see `sdk`
    from rackactor_runtime.providers.nova.inventory import Inventory
    from rackactor_runtime.providers.nova.session import Session

#: Seconds beyond its deadline in which a group may end by itself.
DEADLINE_MARGIN = 600.0
#: Seconds for the making of a group (a launch takes 600 at most), and after its supervisor has gone.
MAKING = 900.0
#: Seconds for which a supervisor's machine may be paused, suspended, in ERROR although it runs, or not up yet. Machines
#: of its group end themselves long before, without contact to it.
PATIENCE = 3600.0
#: The message if all is well.
NOTHING = "nothing that no group claims"
#: Seconds between the two checks in which a group must look dead.
APART = 60.0

Groups = dict[str, list[Found]]

_log = logging.getLogger(__name__)


def unclaimed(found: Iterable[Found], now: float, gids: Sequence[str] = ()) -> list[tuple[Found, str]]:
    """Return what no group claims, each with the reason.

    Args:
        found: all that exists.
        now: seconds since the epoch.
        gids: of groups that are known to be over (12 characters are enough).
    """
    named = {gid[:12] for gid in gids}
    swept = []
    there = list(found)
    for gid12, things in _groups(there).items():
        reason = "it was named" if gid12 in named else "" if named else judge(things, now)[0]
        swept += [(each, reason) for each in things if reason]
    order = {id(each): number for number, each in enumerate(there)}
    return sorted(swept, key=lambda pair: order[id(pair[0])])


def judge(things: Sequence[Found], now: float) -> tuple[str, str]:
    """Decide on a group by its things.

    Returns: why it does not claim its things, "" if it does; and why it is spared although no list shows that it is
    alive, "" for no such reason.
    """
    if not any(each.tied for each in things):
        return "", "what there is of it does not say of which project and region it is"
    supervisors = [each for each in things if each.supervisor]
    own = [each.claim.deadline for each in things if each.kind != "server" or each.supervisor]
    deadlines = [each for each in own if each is not None]
    if deadlines and max(deadlines) + DEADLINE_MARGIN < now:
        return f"its deadline passed {_ago(now - max(deadlines))} ago", ""
    if any(lives(each, now) for each in supervisors):
        return "", ""
    made = [each.claim.made for each in things if each.claim.made is not None]
    if made and now - max(made) < MAKING:
        return "", ""
    doubts = [each.doubt for each in things if each.doubt]
    if doubts:
        return "", doubts[0]
    if supervisors:
        return f"its supervisor's machine is {supervisors[0].status}", ""
    return "its supervisor's machine is gone", ""


def lives(supervisor: Found, now: float) -> bool:
    """Tell whether a group may be alive, by the state of its supervisor's machine."""
    if supervisor.fading:
        return False
    lately = supervisor.since is None or now - supervisor.since < PATIENCE
    match condition(supervisor.status):
        case Condition.RUNNING | Condition.UNKNOWN:
            return True
        case Condition.COMING | Condition.STILL:
            return lately
        case Condition.FAILED:  # of something that was tried with it: it may run all the same
            return supervisor.powered and lately
        case Condition.OFF | Condition.GONE:
            return False


def _groups(found: Iterable[Found]) -> Groups:
    groups: Groups = {}
    for each in found:
        groups.setdefault(each.claim.gid12, []).append(each)
    return groups


def _ago(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


class _Sweeping:
    """One sweep: what looks dead, and what of it shows that it lives after all.

    Args:
        session: for the cloud.
        inventory: of what carries our mark there.
        gids: of the groups to remove; none: all that look dead.
    """

    def __init__(self, session: Session, inventory: Inventory, gids: Sequence[str]) -> None:
        self._session = session
        self._inventory = inventory
        self._gids = gids
        self._said: set[str] = set()
        self._chosen: set[str] = set()
        #: Groups that have turned out to live, by the first 12 characters of their gids.
        self.spared: set[str] = set()

    def look(self) -> list[tuple[Found, str]]:
        """Return what no group claims now, with the reasons; say once of each group why it is spared."""
        found = self._inventory.take()
        now = self._session.clock.earliest()
        for gid12, things in _groups(found).items():
            if not self._gids and (why := judge(things, now)[1]) and gid12 not in self._said:
                self._said.add(gid12)
                _log.warning("the group %s is spared: %s", gid12, why)
        return unclaimed(found, now, self._gids)

    def choose(self, victims: Sequence[tuple[Found, str]]) -> None:
        """Have the groups of these things removed."""
        self._chosen = {each.claim.gid12 for each, _ in victims}

    def take(self) -> list[Found]:
        """Return what there is of the chosen groups."""
        groups = _groups(each for each in self._inventory.take() if each.claim.gid12 in self._chosen)
        if not self._gids:  # what appears only now may show that the group is alive
            now = self._session.clock.earliest()
            self.spared.update(gid12 for gid12, things in groups.items() if _shows(things, now))
        return [each for gid12, things in groups.items() if gid12 not in self.spared for each in things]


def sweep(
    session: Session,
    gids: Sequence[str] = (),
    *,
    dry_run: bool = False,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[list[dict[str, str]], bool]:
    """Remove what no group claims; return a row for each thing, and whether everything is gone.

    Args:
        session: for the cloud.
        gids: of the groups to remove; none: all that look dead twice, `APART` seconds apart.
        dry_run: only report what looks dead now.
        sleep, clock: functions to wait, and to get the time.
    """
    from rackactor_runtime.providers.nova.inventory import Inventory
    from rackactor_runtime.providers.nova.marks.removal import remove

    sweeping = _Sweeping(session, Inventory(session, clock=clock), gids)
    victims = sweeping.look()
    if victims and not gids and not dry_run:
        before = {each.claim.gid12 for each, _ in victims}
        _log.warning("%d group(s) look dead; looking again in %g s", len(before), APART)
        sleep(APART)
        victims = [pair for pair in sweeping.look() if pair[0].claim.gid12 in before]
    rows = {each.id: {**each.row(), "reason": reason, "result": "would be deleted"} for each, reason in victims}
    if dry_run or not victims:
        return list(rows.values()), True
    sweeping.choose(victims)
    left, words = remove(sweeping.take, sleep=sleep, clock=clock)
    for each in left:
        rows.setdefault(each.id, {**each.row(), "reason": "came later", "result": ""})
    for number, row in rows.items():
        row["result"] = _result(number, row["gid"], {each.id for each in left}, words, sweeping.spared)
    return list(rows.values()), not left and not words and not sweeping.spared


def _result(number: str, gid: str, left: set[str], words: Mapping[str, str], spared: set[str]) -> str:
    """Say what has become of a thing."""
    if number in left:
        return f"left: {words.get(number, 'not gone yet')}"
    return "left: its group lives after all" if gid in spared else "deleted"


def _shows(things: Sequence[Found], now: float) -> bool:
    """Tell whether a group that looked dead shows a living supervisor."""
    reason, _ = judge(things, now)
    return not reason and any(each.supervisor and lives(each, now) for each in things)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit status is 1 when something could not be removed, or the cloud could not be asked."""
    parser = argparse.ArgumentParser(prog="rack gc", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cloud", "--os-cloud", help="its name in clouds.yaml (default: what OS_* say)")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be deleted")
    parser.add_argument("--gid", action="append", default=[], help="as GID; may be repeated")
    parser.add_argument("gid_", metavar="GID", nargs="*", help="only what is left of this group, even if it lives")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.ERROR, format="rack: %(message)s", stream=sys.stderr)
    _log.setLevel(logging.WARNING)
    if given.verbose:
        logging.getLogger().setLevel(logging.INFO)
    given.gid += given.gid_
    bad = [gid for gid in given.gid if len(gid) < 12 or w.claim(f"rack-{gid[:12]}-") is None]
    if bad:
        parser.error(f"no gid, nor the first 12 characters of one: {', '.join(bad)}")
    try:
        rows, clean = sweep(_log_in(given.cloud), given.gid, dry_run=given.dry_run)
    except KeyboardInterrupt:
        return 130
    except (RackError, CloudFault) as error:
        words = f"the cloud could not be asked: {error}" if isinstance(error, CloudFault) else str(error)
        print(f"rack: {words}", file=sys.stderr)  # noqa: T201
        return 1
    _show(rows, given.format, "nothing of that in this project and region" if given.gid else NOTHING)
    return 0 if clean else 1


def _log_in(cloud: str | None) -> Session:
    sdk.check()
    from rackactor_runtime.providers.nova.session import Session

    return Session(cloud)


def _show(rows: Sequence[dict[str, str]], form: str, nothing: str) -> None:
    if form == "json":
        text = json.dumps(rows, indent=2)
    elif not rows:
        text = nothing
    else:
        names = ("kind", "name", "id", "gid", "reason", "result")
        shown = [{name: visible(row[name]) for name in names} for row in rows]  # anybody can choose names in a cloud
        widths = {name: max(len(name), *(len(row[name]) for row in shown)) for name in names}
        lines = [dict(zip(names, names, strict=True)), *shown]
        text = "\n".join("  ".join(row[name].ljust(widths[name]) for name in names).rstrip() for row in lines)
    print(text)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
