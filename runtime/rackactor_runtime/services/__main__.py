"""`python -m rackactor_runtime.services NAME`, the birth data on standard input."""

import sys

from rackactor_runtime.services.runner import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
