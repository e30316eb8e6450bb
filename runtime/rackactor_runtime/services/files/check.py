"""Check a group's backend: the setting `files` on standard input, the error on standard output."""

import json
import sys

from rackactor.errors import RackError
from rackactor_runtime.services.files.backend import open_backend


def main() -> int:
    """Try to open the backend."""
    try:
        open_backend("", json.load(sys.stdin))
    except (RackError, OSError) as error:
        sys.stdout.write(str(error))
        return 1
    except Exception as error:
        sys.stdout.write(f"the setting 'files': {type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
