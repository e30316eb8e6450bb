"""Connects a provider of machines with the guest programs on them, which are members of the group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from rackactor.wire.calls.machine import MachineSays
from rackactor.wire.events import MachineEvent
from rackactor_runtime.providers.base import Key, MachineryProvider, Order, Provider
from rackactor_runtime.supervisor.decisions.messages import InstanceOver
from rackactor_runtime.supervisor.post import Post


class MachineLink:
    """See the module. With a provider that makes no machines, nothing here has an effect."""

    def __init__(self, provider: Provider, post: Post) -> None:
        self._provider = cast(MachineryProvider, provider) if provider.capabilities.machines else None
        self._post = post
        self._pids: dict[Key, int] = {}
        self._keys: dict[int, Key] = {}
        if self._provider is not None:
            self._provider.connect(self._say)

    def order(self, order: Order, common: dict[str, Any]) -> Order:
        """Complete the birth data of an order with the supervisor's address. A machine's are plain JSON."""
        if self._provider is not None:
            pid = order.birth["pid"]
            self._pids[order.key], self._keys[pid] = pid, order.key
            common = {**common, "server_key": common["server_key"] and common["server_key"].decode()}
        return replace(order, birth=order.birth | common)

    def joined(self, pid: int, os_pid: int) -> None:
        """Note that a member has joined."""
        if self._provider is not None and (key := self._keys.get(pid)) is not None:
            self._provider.joined(key, os_pid)

    def heard(self, pid: int, args: dict[str, Any], blobs: Sequence[Any]) -> list[InstanceOver] | None:
        """Pass on a member's report about its machine; None: the member has no machine."""
        key = self._keys.get(pid)
        if self._provider is None or key is None:
            return None
        said = MachineSays.from_wire(args)
        self._provider.heard(key, said, blobs)
        return [InstanceOver(key)] if said.event in ("ended", "failed") else []

    def dismissed(self, pid: int) -> None:
        """Note that a process is no longer a member."""
        key = self._keys.pop(pid, None)
        if self._provider is not None and key is not None:
            self._pids.pop(key, None)
            self._provider.left(key)

    def last_act(self, kept: bool) -> None:
        """Let the provider do its very last action."""
        if self._provider is not None:
            self._provider.last_act(kept)

    def _say(self, key: Key, event: MachineEvent) -> None:
        pid = self._pids.get(key)
        if pid is not None:
            self._post.notify(pid, event)
