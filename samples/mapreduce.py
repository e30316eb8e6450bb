"""Map-reduce over real text, through pipes: nobody knows how many others there are, or where.

The texts go into one pipe, which all mappers read: each text goes to whoever is free. The mappers sort what they find
into one pipe for each reducer. A pipe ends when its last writer has: so every stage knows by itself when it is done.

    rack run samples/mapreduce.py --mappers 8
    python samples/mapreduce.py --folder ~/books
"""

import re
import sys
import zlib
from collections import Counter
from pathlib import Path

import rackactor as rack
from rackactor.script import call

LICENCES = Path("/usr/share/common-licenses")


def map_texts(texts: rack.PipeReader, words: list[rack.PipeWriter]) -> int:
    """Count the words of each text that comes; send each word's count to the reducer that has its letters."""
    seen = 0
    for text in texts:
        seen += 1
        found = Counter(re.findall(r"[a-z]+", text.lower()))
        shares: list[dict[str, int]] = [{} for _ in words]
        for word, times in found.items():
            shares[zlib.crc32(word.encode()) % len(words)][word] = times
        for writer, share in zip(words, shares, strict=True):
            writer.send(share)
    return seen


def reduce_words(words: rack.PipeReader) -> Counter[str]:
    """Add up what the mappers send."""
    total: Counter[str] = Counter()
    for share in words:
        total.update(share)
    return total


def main(folder: Path = LICENCES, mappers: int = 4, reducers: int = 2, top: int = 10) -> None:
    """Count the words of all texts in a folder.

    Args:
        folder: where the texts are.
        mappers: processes that read texts.
        reducers: processes that add up.
        top: how many of the most frequent words to show.
    """
    paths = [path for path in sorted(folder.glob("*")) if path.is_file() and not path.is_symlink()]
    if not paths:
        sys.exit(f"{folder} holds no texts. Debian has its licences there (package base-files); elsewhere: --folder")
    texts, feed = rack.pipe()
    shuffle = [rack.pipe() for _ in range(reducers)]
    mapping = rack.fork(map_texts, texts, [writer for _, writer in shuffle], n=mappers, name="map")
    reducing = rack.fork(reduce_words, each=[reader for reader, _ in shuffle], name="reduce")
    texts.close()  # as with Unix pipes: whoever keeps an end open keeps the pipe open
    for reader, writer in shuffle:
        reader.close()
        writer.close()
    with feed:
        for path in paths:
            feed.send(path.read_text("utf-8", "replace"))
    total: Counter[str] = sum((process.result() for process in reducing), Counter())
    shares = ", ".join(str(process.result()) for process in mapping)
    print(f"{total.total()} words in {len(paths)} texts; the mappers took {shares} of them")
    for word, times in total.most_common(top):
        print(f"{times:8} {word}")


if __name__ == "__main__":  # `rack run` calls main() by itself; this is for `python samples/mapreduce.py`
    call(main)
