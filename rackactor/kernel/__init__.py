"""One process's half of the wire: who does its I/O, its connections, its streams. Knows `rackactor.wire` only."""
