"""Progress bars on a terminal. rich looks at NO_COLOR and at the width by itself."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Bars:
    """One bar for each piece of work."""

    def __init__(self, rich: RichProgress) -> None:
        self._rich = rich
        self._task: TaskID | None = None

    def start(self, what: str, total_bytes: int) -> None:
        self._task = self._rich.add_task(what, total=total_bytes)

    def advance(self, count: int) -> None:
        if self._task is not None:
            self._rich.advance(self._task, count)

    def say(self, text: str) -> None:
        self._rich.console.print(text, markup=False, highlight=False)


@contextmanager
def open_bars() -> Iterator[Bars]:
    """Bars on standard error; they disappear when the work is done."""
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as rich:
        yield Bars(rich)
