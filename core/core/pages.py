"""Lists that are cut into pages."""

from typing import Any

from sqlalchemy import Select, func

from core.db import db

__all__ = ["fetch_page"]


def fetch_page(query: Select[Any], *, page: int, limit: int) -> tuple[list[Any], int]:
    """One page of the models that ``query`` finds, and how many it finds in all, in one statement.

    :param query: a ``select()`` of one model, in its order.
    :param page: from 1.
    """
    matching = query.with_only_columns(func.count(), maintain_column_froms=True).order_by(None)
    counted = query.add_columns(matching.correlate(None).scalar_subquery())
    rows = db.session.execute(counted.limit(limit).offset((page - 1) * limit)).all()
    if rows:
        return [row[0] for row in rows], rows[0][1]
    # A page after the last has no row that could say how many there are.
    return [], 0 if page == 1 else db.session.scalar(matching) or 0
