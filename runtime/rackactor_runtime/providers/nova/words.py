"""The former name of `rackactor_runtime.providers.nova.marks.names`."""

from __future__ import annotations

from rackactor_runtime.providers.nova.marks.names import *  # noqa: F403
