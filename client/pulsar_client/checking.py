"""`check`: do the files of a build file keep the rules that it states?"""

import importlib.util
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pulsar_client import build_file, checks, tables, transforms
from pulsar_client.errors import BuildError, CheckFailed, ConfigurationError
from pulsar_client.lazy import LazyModule
from pulsar_client.plan import AS_IT_IS, RAW, Item, Plan
from pulsar_client.progress import Progress
from pulsar_client.store import Store

python_checks = LazyModule("pulsar_client.python_checks")  # pandas, which need not be there

MAX_FAILURES = 100  # that are told


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What `check` found."""

    file: str
    entries: int  # that have checks
    checks: int  # that were run, each once for each entry
    failures: list[str]

    @property
    def ok(self) -> bool:
        """Whether every rule is kept."""
        return not self.failures


def check(store: Store, path: Path, *, outside: bool, allow_python: bool, progress: Progress) -> CheckResult:
    """Run the checks of a build file on the files as they are now. Nothing is kept.

    :param allow_python: run checks that are Python code.
    :raises BuildError: if the build file, or a file that has checks, cannot be read.
    """
    plan = build_file.read_plan(path, store, outside=outside)
    for warning in plan.warnings:
        progress.say(warning)
    rules = Rules(plan, allow_python)
    items = [item for item in plan.items if item.checks]
    progress.start("check", sum(item.file.seen.size for item in items))
    failures: list[str] = []
    with tempfile.TemporaryDirectory(dir=store.temporary) as folder:  # Where there is room for tables.
        for item in items:
            failures += rules.list_failures(item, _read(item, Path(folder), progress))
    count = sum(len(set(item.checks)) for item in items)
    return CheckResult(str(path), len(items), count, failures[:MAX_FAILURES])


def _read(item: Item, folder: Path, progress: Progress) -> Path:
    source = Path(item.file.path)
    if item.transform == "parquet":
        tables.check_parquet(source)
    if item.transform in AS_IT_IS:
        progress.advance(item.file.seen.size)
        return source
    target = folder / "table"  # One at a time: all of them may be larger than the disk.
    target.unlink(missing_ok=True)
    transforms.convert(item, target, progress.advance)
    return target


def check_all(plan: Plan, paths: Iterable[tuple[Item, Path]], *, allow_python: bool) -> None:
    """Run the checks of ``plan``.

    :param paths: where the table or the bytes of an item are.
    :raises CheckFailed: if a rule is broken.
    """
    rules = Rules(plan, allow_python)
    failures = [failure for item, path in paths for failure in rules.list_failures(item, path)]
    if failures:
        raise CheckFailed(failures[:MAX_FAILURES])


class Rules:
    """The checks that a plan uses."""

    def __init__(self, plan: Plan, allow_python: bool) -> None:
        """:raises BuildError: if one has no meaning, or is Python code that may not run."""
        self._rules: dict[str, checks.Check | str] = {}
        used = {name for item in plan.items for name in item.checks}
        for name, given in plan.checks.items():
            if isinstance(given, dict):
                self._rules[name] = checks.parse_check(name, given)
            elif not isinstance(given, str):
                raise BuildError(f"The check {name!r} must be a mapping of rules, or Python code.")
            elif name in used and not allow_python:
                raise BuildError(
                    f"The check {name!r} is Python code, which could do anything; it runs only with "
                    "--allow-python-checks."
                )
            else:
                self._rules[name] = given
        has_code = any(isinstance(self._rules[name], str) for name in used)
        if has_code and importlib.util.find_spec("pandas") is None:
            raise ConfigurationError("Checks in Python need pandas, which is not installed.")

    def list_failures(self, item: Item, path: Path) -> Iterator[str]:
        """:param path: where the table, or the bytes, of ``item`` are."""
        is_table = item.transform != RAW
        target = "pandas" if is_table else "file"
        for name in dict.fromkeys(item.checks):
            rule = self._rules[name]
            if isinstance(rule, str):
                found = python_checks.list_failures(
                    rule, path, is_table=is_table, filename=item.origin, nodename="/".join(item.file.entry)
                )
            elif is_table:
                found = checks.list_failures(rule, path)
            else:
                found = ["it is a plain file, not a table"]
            for reason in found:
                place = f"Data check failed: {name} on {item.origin} @ {target}"
                yield f"{place}: {reason}" if reason else place
