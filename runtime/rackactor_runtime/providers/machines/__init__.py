"""Providers whose processes run on separate machines."""

from rackactor_runtime.providers.machines.cloud import CloudFault, Machine
from rackactor_runtime.providers.machines.effects import Seen
from rackactor_runtime.providers.machines.provider import MachineProvider

__all__ = ["CloudFault", "Machine", "MachineProvider", "Seen"]
