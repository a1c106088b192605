"""Kinds of job: a function, and how patient the site is with it.

A plugin writes its kinds in ``<plugin>/jobs.py``; the loader collects them from there::

    @job("registry.sweep", every=3600)
    def sweep(task: Task, *, grace: int = 86400) -> dict[str, int]:
        ...
"""

import inspect
import json
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from core.site import current_site

__all__ = ["JobKind", "collect", "get_kind", "job"]

NAME = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)+", re.ASCII)
NAME_MAX: Final = 64  # characters, as wide as the column
BACKOFF_MAX: Final = 3600.0  # s, longest pause before another attempt
# Names that `enqueue` takes for itself; a job cannot have an argument called like that.
RESERVED: Final = frozenset({"kind", "owner_id", "priority", "delay", "unique_key"})


@dataclass(frozen=True)
class JobKind:
    """A kind of job.

    :param name: ``<plugin>.<what it does>``, at most 64 characters.
    :param run: called as ``run(task, **arguments)``; what it returns must be JSON. It may be run again
        from the start after an attempt that broke off anywhere, so it must be idempotent.
    :param max_attempts: attempts until the job has failed, losses of the worker included.
    :param lease: seconds a worker that is not heard of keeps the job.
    :param backoff: seconds before the second attempt; doubled for each further one, at most an hour.
    :param every: seconds from one run to the next of a periodic kind; it takes no arguments then.
    :param priority: of its jobs, unless ``enqueue`` says otherwise; higher goes first.
    :param singleton: at most one unfinished job of this kind. Periodic kinds always are.
    """

    name: str
    run: Callable[..., Any]
    max_attempts: int = 5
    lease: float = 60.0
    backoff: float = 5.0
    every: float | None = None
    priority: int = 0
    singleton: bool = False

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name) or len(self.name) > NAME_MAX:
            raise ValueError(f"{self.name!r} is no name for a kind of job; write <plugin>.<what it does>")
        if self.max_attempts < 1 or self.lease <= 0 or self.backoff < 0 or (self.every or 1) <= 0:
            raise ValueError(f"{self.name}: attempts, lease and period must be positive")
        taken = RESERVED & set(inspect.signature(self.run).parameters)
        if taken:
            raise ValueError(f"{self.name}: enqueue() uses the name {min(taken)!r} for itself")
        if self.every is not None:
            self.check({})

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Refuse arguments with which the job could only fail.

        :raises TypeError: if they do not fit the function, or are not JSON.
        """
        try:
            inspect.signature(self.run).bind(None, **arguments)
            json.dumps(arguments, allow_nan=False)
        except (TypeError, ValueError) as exc:
            raise TypeError(f"{self.name}: {exc}") from exc

    @property
    def key(self) -> str | None:
        """What keeps a second job of a singleton kind out while one is unfinished."""
        return self.name if self.singleton or self.every is not None else None

    def pause(self, attempt: int) -> float:
        """Seconds to wait after the failed attempt number ``attempt``, a quarter of them by chance.

        The chance spreads the jobs that failed together because something they all need was down.
        """
        plain = min(self.backoff * 2.0 ** min(attempt - 1, 32), BACKOFF_MAX)
        return plain * random.uniform(0.75, 1.25)  # noqa: S311 - nothing is secret here


def job(
    name: str,
    *,
    max_attempts: int = 5,
    lease: float = 60.0,
    backoff: float = 5.0,
    every: float | None = None,
    priority: int = 0,
    singleton: bool = False,
) -> Callable[[Callable[..., Any]], JobKind]:
    """Make a :class:`JobKind` of the decorated function; the parameters are those of the class."""

    def decorate(run: Callable[..., Any]) -> JobKind:
        return JobKind(name, run, max_attempts, lease, backoff, every, priority, singleton)

    return decorate


def collect(module: object) -> dict[str, JobKind]:
    """The kinds of job found in ``module``, by name.

    :raises ValueError: if two of them have one name.
    """
    found: dict[str, JobKind] = {}
    for value in vars(module).values():
        if isinstance(value, JobKind) and found.setdefault(value.name, value) is not value:
            raise ValueError(f"there are two kinds of job called {value.name}")
    return found


def get_kind(kind: JobKind | str) -> JobKind:
    """The kind of that name that the present app can work on.

    :raises LookupError: if there is none; a job of that kind would wait forever.
    """
    name = kind if isinstance(kind, str) else kind.name
    found: JobKind | None = current_site().job_kinds.get(name)
    if found is None:
        raise LookupError(f"no enabled plugin has a kind of job called {name}")
    return found
