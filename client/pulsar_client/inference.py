"""Which Arrow type a CSV column gets: the first in a fixed order that every value of it can be read as.

pyarrow decides so when it reads a whole file into memory. A stream has to decide from its first block. The
rules here give a stream the type that reading it whole would have given, so that a column may change its
mind on the last line. Checked against ``pyarrow.csv.read_csv`` by the tests.
"""

from collections.abc import Collection

import pyarrow as pa

# In pyarrow's order of trying: InferKind in cpp/src/arrow/csv/inference_internal.h.
ORDER: tuple[pa.DataType, ...] = (
    pa.null(),
    pa.int64(),
    pa.bool_(),
    pa.date32(),
    pa.time32("s"),
    pa.timestamp("s"),
    pa.timestamp("s", "UTC"),
    pa.timestamp("ns"),
    pa.timestamp("ns", "UTC"),
    pa.float64(),
    pa.string(),
)

# For each type, the types of blocks whose values it may take as well. Two are only perhaps: 0 and 1 are
# truth values, other integers are not; dates before 1677 have no nanoseconds. When such a guess turns out
# wrong, the caller refuses that type and asks again.
_TAKES: dict[pa.DataType, set[pa.DataType]] = {
    pa.bool_(): {pa.int64()},
    pa.timestamp("s"): {pa.date32()},
    pa.timestamp("ns"): {pa.date32(), pa.timestamp("s")},
    pa.timestamp("ns", "UTC"): {pa.timestamp("s", "UTC")},
    pa.float64(): {pa.int64()},
}


def widen(found: Collection[pa.DataType], refused: Collection[pa.DataType] = ()) -> pa.DataType:
    """The type for a column of which single blocks look like ``found``.

    :param refused: types that were tried and did not fit.
    """
    needed = set(found) - {pa.null()}
    if not needed and pa.null() not in refused:
        return pa.null()
    for kind in ORDER[1:-1]:
        if kind not in refused and needed <= {kind, *_TAKES.get(kind, ())}:
            return kind
    return pa.string()
