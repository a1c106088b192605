"""Find the revision that made a column, by reading the files."""

import ast
from collections.abc import Iterator

from core.migrations.graph import Graph, Revision

__all__ = ["made_by"]


def made_by(graph: Graph, plugin: str, table: str, column: str) -> str:
    """The revision of ``plugin`` that made ``table.column``; its head if none says so in plain words.

    The head is always enough to stand on, but more than needed: a later downgrade of that plugin by one
    step would then take the other with it.
    """
    for id_ in graph.ordered(graph.of(plugin)):
        if _makes(graph.revisions[id_], table, column):
            return id_
    return graph.heads(plugin)[-1]


def _makes(revision: Revision, table: str, column: str) -> bool:
    tree = ast.parse(revision.path.read_text("utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "upgrade"]
    return any(column in set(_columns(node)) for function in functions for node in _about(function, table))


def _about(function: ast.FunctionDef, table: str) -> Iterator[ast.AST]:
    """The parts of ``function`` that make ``table`` or add to it."""
    for node in ast.walk(function):
        if isinstance(node, ast.With):
            if any(_calls(item.context_expr, ("batch_alter_table",), table) for item in node.items):
                yield node
        elif _calls(node, ("create_table", "add_column"), table):
            yield node


def _calls(node: ast.AST, names: tuple[str, ...], first: str) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in names
        and bool(node.args)
        and isinstance(node.args[0], ast.Constant)
        and node.args[0].value == first
    )


def _columns(node: ast.AST) -> Iterator[object]:
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Constant):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name == "Column":
                yield call.args[0].value
