"""Providers whose processes run on separate machines."""

from rackactor_runtime.providers.machines.provider import MachineProvider

__all__ = ["MachineProvider"]
