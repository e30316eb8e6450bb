"""The former name of `rackactor_runtime.providers.nova.names`."""

from __future__ import annotations

from rackactor_runtime.providers.nova.names import *  # noqa: F403
