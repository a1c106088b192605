"""Search: packages by words of their names, of what is in them, and of their readmes.

The words of a package's ``latest`` revision are rows, written by whoever moves that tag. A question is
answered from them, in one statement with the predicate that says who may see what. So SQLite, PostgreSQL and
MariaDB give the same answers, and nothing in an answer depends on a package that the caller may not see: the
order comes from *where* in a package a word is, not from how rare it is on this site.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import delete, func, literal, or_, select, union_all

from core.db import db
from core.identity import Identity
from core.sharing import Level
from core.storage.rows import batches, write_rows
from core.users.models import User
from registry.models import Package, Readme, Revision, Tag, Word
from registry.services import access
from registry.services.readmes import PREVIEW_CHARACTERS, find_text
from registry.services.references import LATEST
from registry.services.trees import load_tree
from registry.words import STOP, list_words, node_names, words_asked_for, words_of_names, words_of_text

__all__ = ["Found", "find_words", "index", "reindex", "search", "words_of"]

# What a word counts for, by where it is; of several places the best. One word of the name counts for more
# than twenty in the package, one of those for more than twenty in the readme.
NAME, PART, NODE, README = 1000, 600, 30, 1
MOST_NODES: Final = 2000  # different words of the names of nodes that are kept, those near the root first
MOST_README: Final = 5000
SHORTEST_PART: Final = 3  # characters; of a shorter word only the whole is looked for
HANDLE: Final = re.compile(r"\s*([^/\s]+)/([^/\s]*)\s*")


@dataclass(frozen=True, slots=True)
class Found:
    """A package that was found; ``readme`` is how its readme begins."""

    owner: str
    name: str
    is_public: bool
    is_team: bool
    readme: str | None
    rank: float


def words_of(name: str, root: Any, readme: str) -> dict[str, int]:
    """The words of a package with this tree and readme, and what each counts for."""
    found = dict.fromkeys(list_words(words_of_text(readme), MOST_README), README)
    found |= dict.fromkeys(list_words(words_of_names(node_names(root)), MOST_NODES), NODE)
    return found | dict.fromkeys(words_of_names([name]), NAME)


def find_words(name: str, revision: Revision) -> dict[str, int]:
    """The same for a revision that is stored. Reads the tree."""
    root, _ = load_tree(revision.tree)
    return words_of(name, root, find_text(revision.readme) or "")


def index(package_id: int, words: dict[str, int]) -> None:
    """Let the package be found by exactly these words."""
    rows = db.session.execute(select(Word.word, Word.weight).where(Word.package_id == package_id))
    known = {word: weight for word, weight in rows}
    for batch in batches(sorted(known.keys() - words.keys())):
        db.session.execute(delete(Word).where(Word.package_id == package_id, Word.word.in_(batch)))
    new = [
        {"word": word, "package_id": package_id, "weight": weight}
        for word, weight in sorted(words.items())
        if known.get(word) != weight
    ]
    write_rows(db.session, Word, new, ("weight",))


def reindex() -> int:
    """Make the words of every package anew, a transaction for each; how many there were."""
    tagged = select(Tag.package_id).where(Tag.name == LATEST).order_by(Tag.package_id)
    package_ids = db.session.scalars(tagged).all()
    for package_id in package_ids:
        row = db.session.execute(
            select(Package.name, Revision)
            .join(Tag, Tag.package_id == Package.id)
            .join(Revision, Revision.id == Tag.revision_id)
            .where(Package.id == package_id, Tag.name == LATEST)
        ).one_or_none()
        if row is not None:
            index(package_id, find_words(*row))
        db.session.commit()
    return len(package_ids)


def search(identity: Identity, question: str, *, page: int, limit: int) -> tuple[list[Found], int]:
    """One page of the packages that match, best first, then by owner and name; and how many there are.

    Only packages with a tag ``latest`` that ``identity`` may read. All words must be there, in any place.

    :param question: words; ``owner/name`` finds that package, ``owner/`` all of an owner, nothing all.
    """
    query = (
        select(Package.id, func.count().over())
        .join(User, User.id == Package.owner_id)
        .join(Tag, (Tag.package_id == Package.id) & (Tag.name == LATEST))
        .where(access.may(Level.READ, identity))
        .order_by(User.username_key, Package.name_key)
    )
    if match := HANDLE.fullmatch(question):
        ranked = _by_handle(query, *match.groups())
    elif question.strip():
        ranked = _by_words(query, words_asked_for(question))
    else:
        ranked = query.add_columns(literal(0))
    rows = db.session.execute(ranked.limit(limit).offset((page - 1) * limit)).all()
    ranks = {package_id: rank for package_id, _, rank in rows}
    total = rows[0][1] if rows else 0
    if not rows and page > 1:
        total = search(identity, question, page=1, limit=1)[1]
    return _describe(ranks), total


def _by_handle(query: Any, owner: str, name: str) -> Any:
    query = query.where(User.username_key == owner.lower()).add_columns(literal(NAME))
    return query.where(Package.name_key == name.casefold()) if name else query


def _by_words(query: Any, words: Sequence[str]) -> Any:
    if not words:
        return query.where(literal(False)).add_columns(literal(0))
    kept = select(Word.package_id, Word.word, Word.weight).where(Word.word.in_(words))
    hits = union_all(kept, *map(_in_names, words)).subquery()
    best = (
        select(hits.c.package_id, func.max(hits.c.weight).label("weight"))
        .group_by(hits.c.package_id, hits.c.word)
        .subquery()
    )
    found = (
        select(best.c.package_id, func.sum(best.c.weight).label("rank"))
        .group_by(best.c.package_id)
        .having(func.count() == len(words))
        .subquery()
    )
    query = query.join(found, found.c.package_id == Package.id).add_columns(found.c.rank)
    return query.order_by(None).order_by(found.c.rank.desc(), User.username_key, Package.name_key)


def _in_names(word: str) -> Any:
    """The packages whose name, or whose owner's, has ``word`` in it: names are often words run together."""

    is_part = len(word) >= SHORTEST_PART and word not in STOP

    def has(name: Any) -> Any:
        return name.contains(word, autoescape=True) if is_part else name == word

    return (
        select(Package.id, literal(word), literal(PART))
        .join(User, User.id == Package.owner_id)
        .where(or_(has(Package.name_key), has(User.username_key)))
    )


def _describe(ranks: dict[int, int]) -> list[Found]:
    rows = db.session.execute(
        select(
            Package.id,
            User.username,
            Package.name,
            access.has_grant(access.PUBLIC),
            access.has_grant(access.TEAM),
            func.substr(Readme.text, 1, PREVIEW_CHARACTERS),
        )
        .join(User, User.id == Package.owner_id)
        .join(Tag, (Tag.package_id == Package.id) & (Tag.name == LATEST))
        .join(Revision, Revision.id == Tag.revision_id)
        .outerjoin(Readme, Readme.digest == Revision.readme)
        .where(Package.id.in_(ranks))
    )
    found = {
        row[0]: Found(row[1], row[2], bool(row[3]), bool(row[4]), row[5], int(ranks[row[0]]) / NAME)
        for row in rows
    }
    return [found[package_id] for package_id in ranks if package_id in found]
