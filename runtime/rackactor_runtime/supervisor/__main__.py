"""`python -m rackactor_runtime.supervisor`."""

import sys

from rackactor_runtime.supervisor.program import main

if __name__ == "__main__":
    sys.exit(main())
