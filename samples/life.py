"""Conway's game of life over shared memory: each process has a band of the world, and watches its neighbours' edges.

rack run samples/life.py --bands 4 --generations 50
python samples/life.py
"""

import rackactor as rack
from rackactor.script import call

Row = list[int]
GLIDER = {(1, 0), (2, 1), (0, 2), (1, 2), (2, 2)}


def band(number: int, bands: int, rows: list[Row], generations: int) -> None:
    """Live on one band of the world; the rows that touch others are in shared memory, one key per generation."""
    above, below = (number - 1) % bands, (number + 1) % bands
    for generation in range(generations):
        with rack.shm.transaction() as edges:
            edges[f"edge/{generation}/{number}/top"] = rows[0]
            edges[f"edge/{generation}/{number}/bottom"] = rows[-1]
            if generation > 1:  # both neighbours are beyond that one
                del edges[f"edge/{generation - 2}/{number}/top"], edges[f"edge/{generation - 2}/{number}/bottom"]
        upper = await_key(f"edge/{generation}/{above}/bottom")
        lower = await_key(f"edge/{generation}/{below}/top")
        rows = step([upper, *rows, lower])
    rack.shm[f"world/{number:04}"] = rows


def await_key(key: str) -> Row:
    """Return what a key holds, once somebody has written it."""
    seen = rack.shm.revision
    row: Row | None = rack.shm.get(key)
    if row is not None:
        return row
    with rack.shm.watch(key, from_revision=seen + 1) as changes:  # no gap: what came since we looked is told, too
        written: Row = changes.next(timeout=300).value
        return written


def step(rows: list[Row]) -> list[Row]:
    """Return the next generation of the rows but for the first and the last, which belong to others."""
    width = len(rows[0])
    new = []
    for y in range(1, len(rows) - 1):
        row = []
        for x in range(width):
            around = sum(rows[y + dy][(x + dx) % width] for dy in (-1, 0, 1) for dx in (-1, 0, 1)) - rows[y][x]
            row.append(int(around == 3 or (around == 2 and rows[y][x])))
        new.append(row)
    return new


def main(bands: int = 4, generations: int = 40, width: int = 24) -> None:
    """Let a glider fly over a world that is spread over processes.

    Args:
        bands: processes; each has six rows.
        generations: how long.
        width: of the world.
    """
    world = [[int((x, y) in GLIDER) for x in range(width)] for y in range(6 * bands)]
    living = [
        rack.fork(band, number, bands, world[6 * number : 6 * number + 6], generations, name=f"band-{number}")
        for number in range(bands)
    ]
    for process in living:
        process.result()
    for key in rack.shm.keys("world/"):
        for row in rack.shm[key]:
            print("".join(".#"[cell] for cell in row))


if __name__ == "__main__":  # `rack run` calls main() by itself; this is for `python samples/life.py`
    call(main)
