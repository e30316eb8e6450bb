"""Providers whose processes run on separate machines."""

from rackactor_runtime.providers.machines.provider import CloudFault, Machine, MachineProvider, Seen

__all__ = ["CloudFault", "Machine", "MachineProvider", "Seen"]
