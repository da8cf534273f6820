"""A million odd patterns: none may crash what reads them, none take 50 ms. Ends with status 1 if one does.

`python -m bench.fuzz --count 1000000 --minutes 30`, also at the end of `make bench`; half on each of two processes.
"""

import argparse
import multiprocessing
import sys
import time
from itertools import islice

from tests.stix import fuzz

#: patterns at once, by one process
PORTION = 1_000


def portion(seed: int) -> tuple[int, float, list[str]]:
    """How many of a portion are patterns, the longest time, and what went wrong."""
    read, longest, wrong = 0, 0.0, []
    fuzz.seconds(fuzz.SEEDS[1])  # loads the grammar
    for text in islice(fuzz.patterns(seed), PORTION):
        try:
            # What else runs on the machine must not make a pattern slow: its best of three counts.
            took, found = fuzz.seconds(text)
            for _ in range(2):
                if took >= fuzz.MOST:
                    took = min(took, fuzz.seconds(text)[0])
            again = found if found is None or read % 10 else fuzz.seconds(found)[1]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
            wrong.append(f"{type(error).__name__}: {text!r}")
            continue
        read += found is not None
        longest = max(longest, took)
        if took >= fuzz.MOST or again != found:
            wrong.append(f"{took * 1000:.0f} ms, canonical {again == found}: {text!r}")
    return read, longest, wrong


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--count", type=int, default=1_000_000)
    arguments.add_argument("--minutes", type=float, default=30.0, help="stop then, however many it were")
    given = arguments.parse_args()
    begun = time.monotonic()
    done, read, longest, bad = 0, 0, 0.0, 0
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        # Seeds other than the test's.
        for found, slowest, wrong in pool.imap_unordered(portion, range(1000, 1000 + -(-given.count // PORTION))):
            done, read, longest, bad = done + PORTION, read + found, max(longest, slowest), bad + len(wrong)
            for words in wrong:
                print(words, flush=True)
            if time.monotonic() - begun > given.minutes * 60:
                break
    spent = time.monotonic() - begun
    print(
        f"{done:,} odd patterns in {spent / 60:.1f} minutes: {read:,} parse, the slowest took {longest * 1000:.0f} ms,"
    )
    print(f"{bad} went wrong")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
