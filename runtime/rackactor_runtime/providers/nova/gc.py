"""Sweep what carries our mark in a cloud and no group claims: `python -m rackactor_runtime.providers.nova.gc`.

A group claims what is its own while its supervisor's machine is there, its deadline has not passed, and for some time
after its first thing was made, since a supervisor's machine comes last. Whoever knows better names the group (`--gid`).
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence

from rackactor.errors import RackError
from rackactor_runtime.providers.machines import CloudFault
from rackactor_runtime.providers.nova import words as w
from rackactor_runtime.providers.nova.inventory import Found, Inventory, remove
from rackactor_runtime.providers.nova.session import Session

#: Seconds beyond its deadline that a group may take to go by itself.
DEADLINE_MARGIN = 600.0
#: Seconds that a group may be in the making (a launch takes 600 at the most), and after its supervisor has gone.
MAKING = 900.0
#: Of these a supervisor does not come back.
_DEAD = frozenset({"SHUTOFF", "ERROR", "DELETED", "SOFT_DELETED"})


def unclaimed(found: Sequence[Found], now: float, gids: Sequence[str] = ()) -> list[tuple[Found, str]]:
    """Return what no group claims, each with the reason.

    Args:
        found: all that there is.
        now: seconds since the epoch.
        gids: of groups of which it is known that they are over (12 characters are enough).
    """
    groups: dict[str, list[Found]] = {}
    for each in found:
        groups.setdefault(each.claim.gid12, []).append(each)
    named = {gid[:12] for gid in gids}
    swept = []
    for gid12, things in groups.items():
        reason = "it was named" if gid12 in named else "" if named else _why_not(things, now)
        swept += [(each, reason) for each in things if reason]
    order = {id(each): number for number, each in enumerate(found)}
    return sorted(swept, key=lambda pair: order[id(pair[0])])


def _why_not(things: Sequence[Found], now: float) -> str:
    """Return why a group does not claim what is its own, "" if it does."""
    supervisors = [each for each in things if each.supervisor]
    living = [each for each in supervisors if each.status not in _DEAD]
    own = [each.claim.deadline for each in things if each.kind != "server" or each.supervisor]
    deadlines = [each for each in own if each is not None]
    if deadlines and max(deadlines) + DEADLINE_MARGIN < now:
        return f"its deadline passed {_ago(now - max(deadlines))} ago"
    if living:
        return ""
    made = [each.claim.made for each in things if each.claim.made is not None]
    if made and now - max(made) < MAKING:
        return ""
    if supervisors:
        return f"its supervisor's machine is {supervisors[0].status}"
    return "its supervisor's machine is gone"


def _ago(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def sweep(session: Session, gids: Sequence[str] = (), *, dry_run: bool = False) -> tuple[list[dict[str, str]], bool]:
    """Remove what no group claims; return a row for each, and whether all of it is gone."""
    inventory = Inventory(session)
    victims = unclaimed(inventory.take(), time.time(), gids)
    rows = [{**each.row(), "reason": reason, "result": "would be deleted"} for each, reason in victims]
    if dry_run or not victims:
        return rows, True
    chosen = {each.claim.gid12 for each, _ in victims}
    left, words = remove(lambda: [each for each in inventory.take() if each.claim.gid12 in chosen])
    remaining = {each.id for each in left}
    for row in rows:
        row["result"] = f"left: {words.get(row['id'], 'not gone yet')}" if row["id"] in remaining else "deleted"
    for each in left:
        if each.id not in {row["id"] for row in rows}:
            rows.append({**each.row(), "reason": "came later", "result": f"left: {words.get(each.id, 'not gone yet')}"})
    return rows, not left and not words


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit status is 1 when something could not be removed, 2 when the cloud could not be asked."""
    parser = argparse.ArgumentParser(
        prog="rackactor_runtime.providers.nova.gc", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--cloud", help="its name in clouds.yaml (default: what OS_* say)")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be deleted")
    parser.add_argument("--gid", action="append", default=[], help="as GID; may be repeated")
    parser.add_argument("gid_", metavar="GID", nargs="*", help="only what is left of this group, even if it lives")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO if given.verbose else logging.ERROR, stream=sys.stderr)
    given.gid += given.gid_
    bad = [gid for gid in given.gid if len(gid) < 12 or w.claim(f"rack-{gid[:12]}-") is None]
    if bad:
        parser.error(f"no gid, nor the first 12 characters of one: {', '.join(bad)}")
    try:
        rows, clean = sweep(Session(given.cloud), given.gid, dry_run=given.dry_run)
    except (RackError, CloudFault) as error:
        print(f"rackactor: {error}", file=sys.stderr)  # noqa: T201
        return 2
    _show(rows, given.format)
    return 0 if clean else 1


def _show(rows: Sequence[dict[str, str]], form: str) -> None:
    if form == "json":
        text = json.dumps(rows, indent=2)
    elif not rows:
        text = "nothing that no group claims"
    else:
        names = ("kind", "name", "id", "gid", "reason", "result")
        widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
        lines = [dict(zip(names, names, strict=True)), *rows]
        text = "\n".join("  ".join(row[name].ljust(widths[name]) for name in names).rstrip() for row in lines)
    print(text)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
