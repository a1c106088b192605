"""The pages for people: what they show, to whom, and that nothing on them can do harm."""

import hashlib
import re
from base64 import b64encode
from html.parser import HTMLParser

import pytest
from registry_kit import group, leaf, parquet, root, sha, table

from core.db import db
from registry.markdown import render
from registry.models import Revision

pytestmark = pytest.mark.any_database

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
VOID = {"meta", "input", "br", "hr"}
ALLOWED = set(
    """
    html head meta title style body a header form label input button span main nav ol ul li h1 h2 h3
    h4 h5 h6 p pre code div table thead tbody tr th td time dl dt dd em strong s blockquote hr br
    """.split()  # noqa: SIM905
)


class Page(HTMLParser):
    """Reads a page as a browser does, and insists that it is well-formed, accessible and harmless."""

    def __init__(self, answer):
        super().__init__(convert_charrefs=True)
        self.links, self.headings, self.labels, self.ids, self.words = [], [], set(), [], []
        self._open, self._style = [], ""
        self.feed(answer.text)
        self.close()
        assert self._open == []
        assert [level for level in self.headings if level == 1] == [1]
        steps = zip(self.headings, self.headings[1:], strict=False)
        assert all(after <= before + 1 for before, after in steps), self.headings
        assert len(self.ids) == len(set(self.ids))
        digest = b64encode(hashlib.sha256(self._style.encode()).digest()).decode()
        policy = answer.headers["Content-Security-Policy"]
        assert f"style-src 'sha256-{digest}'" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.mimetype == "text/html"
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        assert tag in ALLOWED, tag
        assert not [name for name in given if name.startswith("on") or name in ("style", "src", "srcdoc")]
        if tag == "html":
            assert given["lang"] == "en"
        if tag == "a" and "href" in given:
            assert re.match(r"(?:/(?!/)|#|https?://|mailto:)", given["href"]), given["href"]
            self.links.append(given["href"])
        if tag == "input":
            assert given["id"] in self.labels
        if tag == "label":
            self.labels.add(given["for"])
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if "id" in given:
            self.ids.append(given["id"])
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open[-1:] == ["style"]:
            self._style += data
        else:
            self.words.append(data)


def look(person, path, status=200):
    answer = person.get(path, headers=BROWSER)
    assert answer.status_code == status, answer.text
    return Page(answer)


README = """# Flights <script>alert(1)</script>

Departures from **New York**, see [the table](data/flights.csv) and ![a plot](plots/delay.png "x").

| a | b |
|--:|---|
| 1 | `2` |
"""


def test_the_page_of_a_package_shows_it(people):
    meta = b'{"licence": "CC0"}'
    tree = root(
        README=leaf(README.encode()),
        data=group(**{"flights.csv": table(b"x"), "more": leaf(b"12345678901")}),
        notes=leaf(b"1" * 1500),
    )
    tree["metadata_hash"] = sha(meta)
    digest = people.ann.push_tree("ann/p", tree, README.encode(), b"x", b"12345678901", b"1" * 1500, meta)
    people.ann.put("/api/tag/ann/p/latest", json={"hash": digest})
    people.ann.put("/api/version/ann/p/1.0", json={"hash": digest})

    page = look(people.ann, "/packages/ann/p")

    for words in (
        "ann /p", "private", "Flights <script>alert(1)</script>", "Departures from New York", "a plot",
        "pulsar install ann/p quilt install ann/p", "data/ folder 2 entries", "notes file 1.5 kB", digest,
        "tag latest", "version 1.0", '{"licence": "CC0"}', "Signed in as ann",
    ):  # fmt: skip
        assert words in page.text, (words, page.text)
    assert "/packages/ann/p/data/flights.csv" in page.links
    assert "/packages/ann/p/plots/delay.png" in page.links
    assert f"/packages/ann/p@{digest}" in page.links

    chosen = look(people.ann, f"/packages/ann/p@{digest[:8]}")
    assert f"pulsar install ann/p -x {digest[:12]}" in chosen.text
    assert f"/packages/ann/p@{digest[:8]}/data" in chosen.links


STRANGE = ("a b", "é", "%41", "a?b=c", "a#b", "x&y", "<b>", '"', "'", "a;b", "@", "a\\b", "+", "..a", "日本")


def test_every_link_of_the_pages_leads_somewhere(people, work):
    content = parquet({"n": [1]})
    tree = root(**{name: group(**{name: leaf(b"1"), f"{name}.parquet": leaf(content)}) for name in STRANGE})
    digest = people.ann.push_tree("ann/p", tree, b"1", content)
    people.ann.put("/api/tag/ann/p/v 1&2", json={"hash": digest})
    work()
    todo, seen = ["/packages/ann/p"], set()
    while todo:
        path = todo.pop().partition("#")[0]
        if path and path not in seen and not path.startswith("/login"):
            seen.add(path)
            answer = people.ann.get(path, headers=BROWSER)
            assert answer.status_code == (302 if path.startswith("/api/object/") else 200), path
            if answer.status_code == 200:
                todo += Page(answer).links
    assert len([path for path in seen if path.startswith("/api/object/")]) == 2 * len(STRANGE)
    assert {"/packages/", "/packages/ann/", f"/packages/ann/p@{digest}"} <= seen
    assert len(seen) > 3 * 3 * len(STRANGE), "of three revisions a page for every node"


def test_large_groups_come_in_pages_with_folders_first(people):
    names = [f"f{n:04}" for n in range(450)]
    tree = root(zzz=group(**dict.fromkeys(names, leaf(b"1"))), **dict.fromkeys(names, leaf(b"1")))
    digest = people.ann.push_tree("ann/p", tree, b"1")
    for base, first in ((f"/packages/ann/p@{digest}", "zzz"), (f"/packages/ann/p@{digest}/zzz", "f0000")):
        page = look(people.ann, base)
        entries = [link for link in page.links if link.startswith(f"{base}/")]
        assert len(entries) == 200
        assert entries[0].endswith(first)
        assert "Page 1 of 3" in page.text
        last = look(people.ann, f"{base}?page=3")
        assert f"{base}?page=2" in {link.partition("#")[0] for link in last.links}
        assert "f0449" in last.text
        assert "Nothing is in here" in look(people.ann, f"{base}?page=4").text


def test_pushes_come_in_pages(people):
    digests = [people.ann.push("ann/p", {"a": bytes([n])}) for n in range(25)]
    page = look(people.ann, "/packages/ann/p")
    assert [f"/packages/ann/p@{digest}" in page.links for digest in digests] == [False] * 5 + [True] * 20
    older = look(people.ann, "/packages/ann/p?pushes=2")
    assert [f"/packages/ann/p@{digest}" in older.links for digest in digests] == [True] * 5 + [False] * 20


def test_without_a_tag_the_newest_revision_is_shown(people):
    people.ann.push("ann/p", {"old": b"1"})
    newest = people.ann.push("ann/p", {"new": b"1"})
    assert f"revision {newest}" in look(people.ann, "/packages/ann/p").text


def test_a_table_is_shown_once_it_was_looked_at(people, work):
    content = parquet({"month": [1, 2, None], "<b>": ["<i>", None, "x" * 300]})
    tree = root(t=table(content), bad=table(b"x"), parts=table(content, b"y"))
    digest = people.ann.push_tree("ann/p", tree, content, b"x", b"y")
    base = f"/packages/ann/p@{digest}"
    assert "Nobody has looked at this table yet" in look(people.ann, f"{base}/t").text
    work()
    page = look(people.ann, f"{base}/t")
    for words in ("Rows 3", "month int64 1 1 2", "<b> string", "First rows", "<i>", '"q_target": "pandas"'):
        assert words in page.text, words
    assert f"/api/object/ann/p@{digest}/t" in page.links
    assert "no sound Parquet file" in look(people.ann, f"{base}/bad").text
    parts = look(people.ann, f"{base}/parts")
    assert f"/api/object/ann/p@{digest}/parts?fragment=1" in parts.links


def test_a_file_is_shown_as_it_begins(people):
    files = {"text": b"<script>alert(1)</script>\n", "long": b"abc " * 3000, "raw": b"\x00\x01", "empty": b""}
    digest = people.ann.push("ann/p", files)
    base = f"/packages/ann/p@{digest}"
    assert "Text <script>alert(1)</script>" in look(people.ann, f"{base}/text").text
    assert "How it begins abc abc" in look(people.ann, f"{base}/long").text
    assert "Text" not in look(people.ann, f"{base}/raw").text
    assert "0 B" in look(people.ann, f"{base}/empty").text


def test_private_pages_are_for_those_who_signed_in(app, people, settings):
    people.ann.push("ann/p", {"a": b"1"})
    for path in ("/packages/ann/p", "/packages/ann/p/a", "/packages/", "/packages/ann/"):
        page = look(people.nobody, path, 401)
        assert f"/login?next={path}" in page.links
    settings(REGISTRY_ALLOW_PUBLIC=True)
    for path in ("/packages/ann/p", "/packages/ann/p/a", "/packages/ann/none"):
        page = look(people.nobody, path, 404)
        assert "Package ann/" in page.text
        assert f"/login?next={path}" in page.links
        assert look(people.bob, path, 404).text.count("Sign in") == 0

    page = look(people.nobody, "/packages/ann/n%C3%A9?page=2", 404)
    (target,) = {link for link in page.links if link.startswith("/login")}
    assert 'value="/packages/ann/n%C3%A9?page=2"' in people.nobody.get(target).text

    browser = app.test_client()
    signed_in = browser.post("/sessions", json={"username": "ann", "password": "correct horse 1!"})
    assert signed_in.status_code == 200
    assert "Signed in as ann" in Page(browser.get("/packages/ann/p", headers=BROWSER)).text
    assert browser.get("/packages/ann/p/a", headers=BROWSER).status_code == 200
    digest = db.session.query(Revision.digest).scalar()
    assert browser.get(f"/api/object/ann/p@{digest}/a").status_code == 302


def test_programs_get_errors_as_json(people):
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        answer = people.ann.get("/packages/ann/none", headers=headers)
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_packages_are_listed_and_found(people, public_site):
    for name, readme, more in (("flights", b"# Of 2013", {"is_public": True}), ("weather", b"<b>", {})):
        digest = people.ann.push(f"ann/{name}", {"README": readme}, **more)
        people.ann.put(f"/api/tag/ann/{name}/latest", json={"hash": digest})
    people.ann.push("ann/untagged", {})

    page = look(people.ann, "/packages/")
    assert "2 packages" in page.text
    assert "ann/flights public # Of 2013 ann/weather private <b>" in page.text
    found = look(people.ann, "/packages/?q=2013+%3Cb%3E")
    assert "Packages with 2013 <b>" in found.text
    assert "/packages/ann/flights" not in found.links
    assert "/packages/ann/flights" in look(people.ann, "/packages/?q=flight").links
    assert "1 package " in look(people.nobody, "/packages/").text
    own = look(people.ann, "/packages/ann/")
    assert {"/packages/ann/flights", "/packages/ann/untagged", "/packages/ann/weather"} <= set(own.links)
    assert "0 packages" in look(people.ann, "/packages/nobody_here/").text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("ann/p?page=0", 400),
        ("ann/p?page=99999999999999999999", 400),
        ("ann/p?page=1000000", 200),
        ("ann/p?pushes=1000000", 200),
        ("ann/p?x=1", 400),
        ("ann/p@none", 404),
        ("ann/p@", 404),
        ("ann/p/none", 404),
        ("ann/p/a/b", 404),
        ("ann/p/%00", 404),
        ("ann/p/%ff", 404),
        ("ann/%00", 404),
        ("%00/p", 404),
        ("ann/" + "x" * 3000, 404),
        ("?q=" + "x" * 1025, 400),
        ("?page=0", 400),
    ],
)
def test_strange_addresses_are_answered(people, path, status):
    people.ann.push("ann/p", {"a": b"1"})
    look(people.ann, f"/packages/{path}", status)


def test_a_damaged_tree_leaves_a_page(app, people):
    people.ann.push("ann/p", {"README": b"hello", "a": b"1"})
    backend = app.extensions["pulsar_storage"].store.backend
    backend.local_path(db.session.query(Revision.tree).scalar()).unlink()
    page = look(people.ann, "/packages/ann/p")
    assert "hello" in page.text
    assert "The stored tree of this revision is damaged." in page.text
    look(people.ann, "/packages/ann/p/a", 503)


def rendered(text):
    return render(text, lambda path: f"/in/{path}").strip()


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# a\n\n##### b", "<h3>a</h3>\n<h6>b</h6>"),
        ("<b onclick='x'>a</b>", "<p>&lt;b onclick='x'&gt;a&lt;/b&gt;</p>"),
        ("<!-- x -->", "<p>&lt;!-- x --&gt;</p>"),
        ("[a](javascript:alert(1))", "<p>[a](javascript:alert(1))</p>"),
        ("[a](JaVaScRiPt:alert(1))", "<p>[a](JaVaScRiPt:alert(1))</p>"),
        ("[a](x:y)", "<p><a>a</a></p>"),
        ("[a](vbscript:x) <javascript:x>", "<p>[a](vbscript:x) &lt;javascript:x&gt;</p>"),
        ("![a](data:image/png;base64,AAAA)", "<p><a>a</a></p>"),
        ("[a](//evil.example)", "<p><a>a</a></p>"),
        ("[a](/logout)", "<p><a>a</a></p>"),
        ("[a](\\\\evil.example)", '<p><a href="/in/\\evil.example" REL>a</a></p>'),
        ("[a](../../x)", "<p><a>a</a></p>"),
        ("[a](x/../../y)", "<p><a>a</a></p>"),
        ("[a](./x/../y%20z?q#f)", '<p><a href="/in/y z" REL>a</a></p>'),
        ("[a](%2e%2e/x)", "<p><a>a</a></p>"),
        ('[a](b"onclick=x)', '<p><a href="/in/b&quot;onclick=x" REL>a</a></p>'),
        ("[a](https://example.org 'x')", '<p><a href="https://example.org" REL>a</a></p>'),
        ("<mailto:a@b.c>", '<p><a href="mailto:a@b.c" REL>mailto:a@b.c</a></p>'),
        ("![x](https://tracker.example/p.gif)", '<p><a href="https://tracker.example/p.gif" REL>x</a></p>'),
        ("![](a.png)", '<p><a href="/in/a.png" REL>image</a></p>'),
        ("```js\nalert('<x>')\n```", "<pre><code class=\"language-js\">alert('&lt;x&gt;')\n</code></pre>"),
        ("[r]\n\n[r]: javascript:x", "<p>[r]</p>\n<p>[r]: javascript:x</p>"),
        ("&lt;script&gt;&#60;b&#62;", "<p>&lt;script&gt;&lt;b&gt;</p>"),
    ],
)  # fmt: skip
def test_a_readme_can_do_nothing(text, html):
    assert rendered(text).replace('rel="nofollow noopener noreferrer"', "REL") == html


PIECES = ("[", "![", "](", "*a ", "**a", "> ", "- ", "- a\n", "`", "<a ", "&", "~~a", "|", "# a\n", "*_")


@pytest.mark.parametrize("piece", PIECES)
def test_a_readme_that_nests_without_end_is_rendered(piece):
    assert rendered(piece * (2000 // len(piece)))


def test_a_long_readme_is_shown_as_it_is(people):
    people.ann.push("ann/p", {"README": b"# Title\n" + b"x" * 40_000})
    assert "# Title xxx" in look(people.ann, "/packages/ann/p").text
