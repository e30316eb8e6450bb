"""The provider itself: what launches a group, watches over it from outside, and removes it."""

from rackactor_runtime.providers.nova.provider.provider import NovaProvider

__all__ = ["NovaProvider"]
