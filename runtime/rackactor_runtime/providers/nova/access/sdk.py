"""The use of openstacksdk: one line says why it cannot be used here, and its cache is off."""

from __future__ import annotations

import importlib
from typing import Any

from rackactor.errors import InvalidCall


def check() -> None:
    """Import openstacksdk.

    Raises:
        InvalidCall: it is missing, or cannot be used by this user.
    """
    try:
        importlib.import_module("openstack")
    except ImportError as error:
        raise InvalidCall(f"clouds need openstacksdk ({error}): pip install 'rackactor[openstack]'") from error
    except (RuntimeError, KeyError, OSError) as error:
        # It asks where the user's directories are as soon as it is imported: https://github.com/tox-dev/platformdirs
        raise InvalidCall(f"openstacksdk cannot be used by this user ({error}): set HOME to a directory") from error


def uncached(connection: Any) -> Any:
    """Have a connection ask the cloud whenever it is asked, and return it.

    A clouds.yaml may tell the SDK to keep answers for a while (`cache:`). Ours are about what there is now.
    """
    connection.cache_enabled = False
    return connection
