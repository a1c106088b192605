"""Words that are searched for, and those of names and texts. No framework, no database.

A word is a run of letters or of digits, in lower case, without its ending (``redacted`` is ``redact``).
Names are cut at every other character, between letters and digits, and before capitals, where the whole is a
word too: ``dogCats_2013`` has ``dogcat``, ``dog``, ``cat`` and ``2013``.
"""

import re
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import snowballstemmer

from registry.manifest import GROUPS

__all__ = ["STOP", "list_words", "node_names", "words_asked_for", "words_of_names", "words_of_text"]

MAX_WORD: Final = 64  # characters; what is longer is cut, when it is kept and when it is asked for
MAX_ASKED: Final = 20  # words of one question; the others do not matter
RUN: Final = re.compile(r"[^\W\d_]+|\d+")
HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")  # where another one begins
ENGLISH: Final = re.compile(r"[a-z']+")
# Words that every English text has.
STOP: Final = frozenset(
    """
    a about above after again all am an and any are as at be because been before being below between
    both but by can could did do does doing down during each few for from further had has have
    having he her here hers him his how i if in into is it its itself me more most my no nor not of
    off on once only or other our out over own same she should so some such than that the their them
    then there these they this those through to too under until up very was we were what when where
    which while who whom why will with would you your
    """.split()  # noqa: SIM905 - a list of a hundred strings is no easier to read
)


@lru_cache(2**15)
def _stem(word: str) -> str:
    if not ENGLISH.fullmatch(word):
        return word[:MAX_WORD]
    with _lock:
        return str(_stemmer.stemWord(word))[:MAX_WORD]


_stemmer = snowballstemmer.stemmer("english")
_lock = threading.Lock()  # the stemmer keeps the word it is at


def _runs(text: str) -> Iterator[str]:
    return (match[0] for match in RUN.finditer(unicodedata.normalize("NFKC", text)))


def words_of_names(names: Iterable[str]) -> Iterator[str]:
    """The words of names, again where they are there again."""
    for name in names:
        for run in _runs(name):
            yield _stem(run.casefold())
            humps = HUMP.split(run)
            if len(humps) > 1:
                yield from (_stem(hump.casefold()) for hump in humps)


def words_of_text(text: str) -> Iterator[str]:
    """The words of a text but those that every text has, again where they are there again."""
    return (_stem(word) for word in map(str.casefold, _runs(text)) if word not in STOP)


def words_asked_for(question: str) -> list[str]:
    """The words of a question, each once; those that every text has only if there are no others."""
    words = list(dict.fromkeys(map(str.casefold, _runs(question))))
    wanted = [word for word in words if word not in STOP] or words
    return list(dict.fromkeys(map(_stem, wanted)))[:MAX_ASKED]


def list_words(words: Iterable[str], most: int) -> set[str]:
    """The first ``most`` different words."""
    found: set[str] = set()
    for word in words:
        found.add(word)
        if len(found) == most:
            break
    return found


def node_names(root: Mapping[str, Any]) -> Iterator[str]:
    """The names of all nodes below ``root``, by name, those near the root first."""
    level = [root]
    while level:
        below = []
        for group in level:
            for name in sorted(group["children"]):
                yield name
                if (node := group["children"][name])["type"] in GROUPS:
                    below.append(node)
        level = below
