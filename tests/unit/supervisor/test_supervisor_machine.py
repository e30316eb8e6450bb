"""The supervisor under random events: what must hold whatever happens."""

from __future__ import annotations

from collections import Counter
from typing import Any

from driving import House
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rackactor_runtime.providers.base import InstanceExit, Key, Liveness
from rackactor_runtime.supervisor.decisions import messages as m

pick = st.integers(0, 30)


class Group(RuleBasedStateMachine):
    """Processes fork, wait, signal, die and fall silent at random; the provider is late, or quick."""

    def __init__(self) -> None:
        super().__init__()
        self.house = House(max_spawns=1000, boot_timeout=20.0, grace=3.0, history=5)
        self.script = self.house.script()
        self.joined = {self.script}
        self.created: dict[int, str] = {}  # pid -> "asked", "made", "ended"
        self.waits: dict[tuple[int, int], tuple[int, ...]] = {}
        self.statuses: dict[int, Any] = {}
        self.seen = 0
        # Three generations to begin with, so that orphans are common.
        for caller in (0, 1, 2):
            self.fork(caller, 2, "kill", None)
            self.every_effect_is_to_somebody()
            for number in range(len(self.created)):
                self.come_up(number, False)
            self.every_effect_is_to_somebody()

    # -- what happens ------------------------------------------------------------------------------------

    def living(self, number: int) -> int | None:
        """A member that can speak."""
        pids = [r.pid for r in self.house.state.table if r.alive and r.pid in self.joined]
        return pids[number % len(pids)] if pids else None

    def instance(self, number: int, *states: str) -> int | None:
        pids = [pid for pid, state in self.created.items() if state in states]
        return pids[number % len(pids)] if pids else None

    def anybody(self, number: int) -> int:
        pids = [record.pid for record in self.house.state.table] or [self.script]
        return pids[number % len(pids)]

    @rule(
        who=pick,
        n=st.integers(1, 3),
        on_orphan=st.sampled_from(["kill", "kill", "adopt", "detach"]),
        deadline=st.none() | st.integers(1, 9),
    )
    def fork(self, who: int, n: int, on_orphan: str, deadline: int | None) -> None:
        caller = self.living(who)
        if caller is not None:
            options = {"n": n, "kind": "function", "on_orphan": on_orphan, "deadline": deadline}
            self.house.cast(caller, "fork", (b"t", b"a"), **options)

    @rule(which=pick, first=st.booleans())
    def come_up(self, which: int, first: bool) -> None:
        pid = self.instance(which, "asked", "made")
        if pid is None:
            return
        if first or self.created[pid] == "asked":
            self.created[pid] = "made"
            self.house.hear(m.InstanceCreated(Key(pid, 1), "x"))
        if not first and pid not in self.joined and pid in self.house.state.tokens.values():
            self.joined.add(pid)
            self.house.hear(m.Joined(pid, 1))

    @rule(which=pick, how=st.sampled_from(["0", "1", "term", "kill", "segv", "unknown", "fault", "oom"]))
    def end_instance(self, which: int, how: str) -> None:
        pid = self.instance(which, "asked", "made")
        if pid is None or (how == "fault" and pid in self.joined):
            return
        self.created[pid] = "ended"
        code = int(how) if how.isdigit() else None
        signal = {"term": 15, "kill": 9, "segv": 11, "oom": 9}.get(how)
        fault = "no room" if how == "fault" else None
        self.house.hear(m.InstanceEnded(Key(pid, 1), InstanceExit(code, signal, oom=how == "oom", fault=fault)))

    @rule(which=pick, code=st.sampled_from([0, 3, 255]), how=st.sampled_from(["exited", "exception", "signalled"]))
    def report(self, which: int, code: int, how: str) -> None:
        pid = self.living(which)
        if pid is not None and pid != self.script:
            self.house.cast(pid, "exit", (b"r",), how=how, code=code, signal=15 if how == "signalled" else None)

    @rule(who=pick, whom=st.lists(pick, max_size=3), hang=st.booleans())
    def wait(self, who: int, whom: list[int], hang: bool) -> None:
        caller = self.living(who)
        if caller is None:
            return
        pids = [self.anybody(number) for number in whom]
        rid = self.house.cast(caller, "wait", pids=pids, hang=hang)
        if self.house.answer(caller, rid) is None:
            assert hang
            self.waits[caller, rid] = tuple(pids)

    @rule(who=pick, number=pick)
    def cancel(self, who: int, number: int) -> None:
        mine = sorted(self.waits)
        if mine:
            caller, rid = mine[number % len(mine)]
            if self.known(caller) and self.house.record(caller).alive:
                self.house.cast(caller, "cancel", rid=rid)
            del self.waits[caller, rid]

    @rule(who=pick, whom=pick, sig=st.sampled_from([0, 9, 10, 15, 15, "reload"]), how=st.sampled_from("pgl"))
    def kill(self, who: int, whom: int, sig: int | str, how: str) -> None:
        caller = self.living(who)
        if caller is not None:
            pid = self.anybody(whom)
            pids = {"p": [pid], "g": [-pid], "l": [pid, self.anybody(whom + 1)]}[how]
            self.house.cast(caller, "kill", pids=pids, signal=sig)

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0]), deaf=st.lists(pick, max_size=2))
    def pass_time(self, seconds: float, deaf: list[int]) -> None:
        silent = {self.anybody(number) for number in deaf} - {self.script}
        heard = [r.pid for r in self.house.state.table if r.pid not in silent]
        for effect in self.house.pass_time(seconds, heard=heard):
            if isinstance(effect, m.Probe):
                self.house.hear(m.Probed(effect.key, Liveness.STOPPED))

    @rule(who=pick)
    def spare(self, who: int) -> None:
        caller = self.living(who)
        if caller is not None:
            self.house.cast(caller, "spare_children")

    @precondition(lambda self: self.seen > 120)
    @rule(owner=st.booleans())
    def end(self, owner: bool) -> None:
        if owner:
            self.house.hear(m.OwnerGone("gone"))
        elif self.house.record(self.script).alive:
            self.house.cast(self.script, "end")

    # -- what must hold ----------------------------------------------------------------------------------

    @invariant()
    def every_effect_is_to_somebody(self) -> None:
        for effect in self.house.effects[self.seen :]:
            match effect:
                case m.Create(order):
                    assert order.key.pid not in self.created, "a pid was given twice"
                    self.created[order.key.pid] = "asked"
                case m.Delete(key) | m.Probe(key):
                    assert key.pid in self.created
                case m.Welcome(pid, _, _) | m.Reply(pid, _, _, _, _) | m.Notify(pid, _, _):
                    assert pid in self.joined, f"{effect} to somebody who has never joined"
                    if isinstance(effect, m.Reply):
                        self.waits.pop((pid, effect.rid), None)
        self.seen = len(self.house.effects)

    @invariant()
    def nobody_is_told_after_its_end(self) -> None:
        dismissed: set[int] = set()
        for effect in self.house.effects:
            if isinstance(effect, m.Dismiss):
                assert effect.pid not in dismissed
                dismissed.add(effect.pid)
            elif isinstance(effect, m.Welcome):
                assert effect.pid not in dismissed

    @invariant()
    def a_status_never_changes(self) -> None:
        for record in self.house.state.table:
            assert (record.status is None) == record.alive
            assert self.statuses.setdefault(record.pid, record.status or None) in (None, record.status)
            if record.status is not None:
                self.statuses[record.pid] = record.status

    @invariant()
    def every_zombie_has_somebody_to_wait_for_it(self) -> None:
        state = self.house.state
        for record in state.table:
            if record.state == "zombie" and not state.shutdown.reason:
                parent = state.table.get(record.ppid)
                assert parent is not None
                assert parent.alive

    @invariant()
    def every_wait_can_end(self) -> None:
        state = self.house.state
        for (caller, rid), pids in self.waits.items():
            if not self.house.record(caller).alive if self.known(caller) else True:
                continue  # its caller is gone, and the wait with it
            if pids:
                records = [state.table.get(pid) for pid in pids]
                assert any(r is not None and r.alive for r in records), f"wait {rid} of {caller} for {pids} hangs"
                assert not any(r is not None and r.state == "zombie" for r in records)
            else:
                children = state.table.children(caller)
                assert children, f"wait {rid} of {caller} for any child hangs"
                assert all(child.alive for child in children)

    def known(self, pid: int) -> bool:
        table = self.house.state.table
        return table.get(pid) is not None or table.past(pid) is not None

    @invariant()
    def whoever_lives_is_wanted_or_about_to_end(self) -> None:
        state = self.house.state
        for record in state.table:
            if record.external or not record.alive or state.shutdown.reason:
                continue
            parent = state.table.get(record.ppid)
            orphaned = record.ppid != 1 and (parent is None or not parent.alive)
            if orphaned:  # the parent is dead: this one has been told to end, and will be made to
                assert record.timers.kill_at is not None or any(sent.signal == 9 for sent in record.sent)

    def teardown(self) -> None:
        """End the group: everything ends, once, and everybody is told."""
        house = self.house
        if house.record(self.script).alive if self.known(self.script) else False:
            house.cast(self.script, "end")
        for _ in range(30):
            house.pass_time(1.0, heard=[r.pid for r in house.state.table])
            self.every_effect_is_to_somebody()
            deleted = {e.key.pid for e in house.effects if isinstance(e, m.Delete)}
            for pid, state in list(self.created.items()):
                if state != "ended" and pid in deleted:
                    self.created[pid] = "ended"
                    house.hear(m.InstanceEnded(Key(pid, 1), InstanceExit(None, 9)))
        assert set(self.created.values()) <= {"ended"}
        assert not [record for record in house.state.table if record.alive and not record.external]
        counted = Counter(type(effect).__name__ for effect in house.effects)
        assert counted["Finish"] == 1
        assert counted["Create"] == len(self.created)
        dismissed = Counter(effect.pid for effect in house.effects if isinstance(effect, m.Dismiss))
        assert all(dismissed[pid] == 1 for pid in self.created)


Group.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestGroup = Group.TestCase
