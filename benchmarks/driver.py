"""A round of one peer, in a process of its own: `python -m benchmarks.driver SUITE PEER FD EFFORT MEASURE...`.

Almost empty on purpose: `multiprocessing`'s spawn imports the main module in every child, and must not
pay for what only the measuring needs.
"""

import sys

if __name__ == "__main__":
    from .session import main

    main(*sys.argv[1:])
