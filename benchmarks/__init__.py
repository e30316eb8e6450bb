"""RackActor beside what a user would pick instead: `python -m benchmarks` (or `make bench`).

All peers do the same work in one run, in interleaved rounds, so that whatever else the machine does
hits each of them alike. What lasts is the ratios, and they are what `docs/benchmarks.md` leads with.
"""
