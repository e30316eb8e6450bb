"""Count the words of the licences that Debian ships: a function per text, a process per function call.

As a process of a group, or as an ordinary program that makes its own:

    rack run samples/wordcount.py --top 5
    python samples/wordcount.py --folder ~/books
"""

import re
import sys
from collections import Counter
from pathlib import Path

import rackactor as rack
from rackactor.script import call

LICENCES = Path("/usr/share/common-licenses")


def count(text: str) -> Counter[str]:
    """Count the words of a text. Runs in a process of its own, on whichever machine that is."""
    return Counter(re.findall(r"[a-z]+", text.lower()))


def main(folder: Path = LICENCES, top: int = 10) -> None:
    """Count the words of all texts in a folder, each text in a process of its own.

    Args:
        folder: where the texts are.
        top: how many of the most frequent words to show.
    """
    paths = [path for path in sorted(folder.glob("*")) if path.is_file() and not path.is_symlink()]
    if not paths:
        sys.exit(f"{folder} holds no texts. Debian has its licences there (package base-files); elsewhere: --folder")
    # The text travels, not the path: the other side need not have the file.
    counting = rack.fork(count, each=[path.read_text("utf-8", "replace") for path in paths])
    words: Counter[str] = Counter()
    for path, process in zip(paths, counting, strict=True):
        found = process.result()
        print(f"{found.total():8} words in {path.name}")
        words += found
    for word, times in words.most_common(top):
        print(f"{times:8} {word}")


if __name__ == "__main__":  # `rack run` calls main() by itself; this is for `python samples/wordcount.py`
    call(main)
