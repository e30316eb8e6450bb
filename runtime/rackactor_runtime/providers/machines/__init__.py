"""Providers whose processes have machines of their own."""

from rackactor_runtime.providers.machines.provider import MachineProvider

__all__ = ["MachineProvider"]
