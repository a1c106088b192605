"""docs/walkthrough.md, typed in as it stands, block by block; what is answered is what the page has."""

import json
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "walkthrough.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```\n(?:\n```(json|text)\n(.*?)^```\n)?", re.M | re.S)
# These are others each time: they are compared by their types.
OTHER_EACH_TIME = {
    "created", "happened_at", "hash", "ip", "key", "key_hash", "last_used", "request_id", "user_agent"
}  # fmt: skip


def documents(text):
    """The JSON documents that follow each other in ``text``, line breaks or none."""
    decoder, found, text = json.JSONDecoder(), [], text.strip()
    while text:
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:].strip()
    return found


def comparable(value, key=""):
    """``value`` without what is another each time; the order of keys counts."""
    if isinstance(value, dict):
        return [(name, comparable(inner, name)) for name, inner in value.items()]
    if isinstance(value, list):
        return [comparable(inner) for inner in value]
    return type(value).__name__ if key in OTHER_EACH_TIME else value


def test_the_walkthrough_answers_as_written(start_site, tmp_path):
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) >= 12, "the page has lost its blocks"
    assert all(answer for commands, _, answer in blocks if commands.rstrip().split("\n")[-1][:4] == "call")
    site = start_site()
    script = "".join(f"{commands}\necho '--- end of a block'\n" for commands, _, _ in blocks)

    done = site.types(f"set -euo pipefail\n{script}", tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout.split("--- end of a block\n")
    for (commands, kind, expected), answer in zip(blocks, printed, strict=False):
        if kind == "json":
            assert comparable(documents(answer)) == comparable(documents(expected)), commands
        else:
            assert answer == expected, commands


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"id": 1, "hash": "a1"}, {"id": 1, "hash": "b2"}, True),
        ({"id": 1, "hash": "a1"}, {"id": 2, "hash": "a1"}, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, False),
        ([{"hash": "A"}], [], False),
        ({"error": {"code": "forbidden"}}, {"error": {"code": "key_scope"}}, False),
    ],
)
def test_answers_are_compared(one, other, same):
    assert (comparable(one) == comparable(other)) is same
