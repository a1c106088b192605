"""Checks in Python, as the build files of Quilt have them. Only with ``--allow-python-checks``: they can do
whatever Python can.
"""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy
import pandas

from pulsar_client import frames

NAMED = frozenset(
    {"abs", "count", "max", "mean", "median", "min", "mode", "nunique", "size", "std", "stddev", "sum", "var"}
)
MAX_SHOWN = 30  # record numbers that are printed


class CheckFailure(Exception):
    """A condition does not hold."""


class Quality:
    """What is called ``qc`` in a check. ``envs`` has no effect anywhere.

    In all functions ``colrx`` is a regular expression for the beginning of names of columns; that none
    matches is an error.
    """

    def __init__(self, data: Any, filename: str, nodename: str) -> None:
        """:param data: a data frame, or the text of a plain file."""
        self.data, self.filename, self.nodename = data, filename, nodename

    def check(self, condition: Any, envs: Any = None) -> bool:
        """Fail unless ``condition`` is true; of a series, everywhere."""
        if not _is_true(condition):
            raise CheckFailure
        return True

    def check_column_enum(self, colrx: str, allowed: Any, envs: Any = None) -> bool:
        """All values are in a list; or a function of the column says true for all."""
        return all(
            self.check(allowed(column) if callable(allowed) else column.isin(list(allowed)))
            for column in self._list_columns(colrx)
        )

    def check_column_valrange(
        self,
        colrx: str,
        minval: Any = None,
        maxval: Any = None,
        lambda_or_name: Callable[[Any], Any] | str | None = None,
        envs: Any = None,
    ) -> bool:
        """All values, or what a function makes of the column, lie between two bounds; missing ones do."""
        for column in self._list_columns(colrx):
            value = _apply(column, lambda_or_name)
            if minval is not None:
                self.check(numpy.logical_not(value < minval))
            if maxval is not None:
                self.check(numpy.logical_not(value > maxval))
        return True

    def check_column_regexp(self, colrx: str, regexp: str, envs: Any = None) -> bool:
        """All texts match from their beginning; missing ones do."""
        return all(
            self.check(column.dropna().astype(str).str.match(regexp)) for column in self._list_columns(colrx)
        )

    def check_column_substr(self, colrx: str, substr: str, envs: Any = None) -> bool:
        """All texts contain ``substr``; missing ones do."""
        return all(
            self.check(column.dropna().astype(str).str.contains(substr, regex=False))
            for column in self._list_columns(colrx)
        )

    def check_column_datetime(self, colrx: str, fmt: str, envs: Any = None) -> bool:
        """All texts are times as ``strftime`` writes them with ``fmt``; missing ones are."""
        return all(
            self.check(pandas.to_datetime(column.dropna().astype(str), format=fmt, errors="coerce").notna())
            for column in self._list_columns(colrx)
        )

    def print_recnums(self, message: str, condition: Any, maxrecs: int = MAX_SHOWN) -> None:
        """Print the numbers, from 0 on, of the rows for which ``condition`` is true."""
        found = numpy.flatnonzero(numpy.asarray(condition))[:maxrecs]
        print(f"{message}: {', '.join(map(str, found))}", file=sys.stderr)

    def data_sample(self, count: int = 5) -> Any:
        """Some rows, the same each time; of a text, the beginning."""
        if isinstance(self.data, str):
            return self.data[:count]
        return self.data.sample(min(count, len(self.data)), random_state=0)

    def _list_columns(self, colrx: str) -> Iterator[Any]:
        names = [name for name in self.data.columns if re.match(colrx, str(name))]
        if not names:
            raise LookupError(f"no column matches {colrx!r}")
        return (self.data[name] for name in names)


def _apply(column: Any, function: Callable[[Any], Any] | str | None) -> Any:
    if function is None:
        return column
    if callable(function):
        return function(column)
    if function not in NAMED:
        raise ValueError(f"{function!r} is not one of {', '.join(sorted(NAMED))}")
    return getattr(column, {"stddev": "std"}.get(function, function))()


def _is_true(condition: Any) -> bool:
    return bool(condition.all() if isinstance(condition, pandas.Series | numpy.ndarray) else condition)


def list_failures(code: str, path: Path, *, is_table: bool, filename: str, nodename: str) -> Sequence[str]:
    """Run a check: one line is an expression that must be true, several lines are a program.

    :param path: a Parquet file if ``is_table``, otherwise any text.
    :returns: a sentence if it fails; empty if all is well.
    """
    data = frames.read_table([path]).to_pandas() if is_table else path.read_text(errors="replace")
    quality = Quality(data, filename, nodename)
    names = {"qc": quality, "pd": pandas, "df": data, "numpy": numpy, "np": numpy, "re": re}
    try:
        if len(code.strip().splitlines()) == 1:
            result = eval(code.strip(), names)  # noqa: S307 - this is what the user has allowed
            return [] if result is None or _is_true(result) else [""]
        exec(code, names)  # noqa: S102 - this is what the user has allowed
    except CheckFailure:
        return [""]
    except Exception as error:
        return [f"Data check raised exception: {type(error).__name__}: {error}"]
    return []
