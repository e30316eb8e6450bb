"""OS processes of this host instead of virtual machines, made by a fork server."""

from rackactor_runtime.providers.local.provider import LocalProvider

__all__ = ["LocalProvider"]
