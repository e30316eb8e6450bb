"""Whether openstacksdk can be used here: said in one line where it cannot, by everyone who needs it."""

from __future__ import annotations

import importlib

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
