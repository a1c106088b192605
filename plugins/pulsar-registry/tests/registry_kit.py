"""Trees, packs and callers for the tests of the registry."""

import gzip
import hashlib
import io
import json
import struct
import threading
from urllib.parse import urlsplit

import pyarrow
import pyarrow.parquet

from registry.manifest import top_hash


def sha(content):
    return hashlib.sha256(content).hexdigest()


def leaf(*contents, **more):
    return {"type": "FILE", "hashes": [sha(content) for content in contents], **more}


def table(*contents, **more):
    return leaf(*contents, metadata={"q_target": "pandas", "q_ext": "csv"}, **more)


def group(**children):
    return {"type": "GROUP", "children": children}


def parquet(columns, **options):
    """The bytes of a Parquet file with ``{name: values}``."""
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file, **options)
    return file.getvalue()


def root(**children):
    return {"type": "ROOT", "children": children}


def local(url):
    """A link of the site as the test client wants it."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def pack(contents, digests=None):
    digests = digests or [sha(content) for content in contents]
    return b"".join(
        bytes.fromhex(digest) + struct.pack(">Q", len(content)) + content
        for digest, content in zip(digests, contents, strict=True)
    )


def unpack(data):
    found, stream = {}, io.BytesIO(data)
    while head := stream.read(40):
        found[head[:32].hex()] = stream.read(int.from_bytes(head[32:]))
    return found


class Person:
    """A caller: the calls a client makes, in short."""

    def __init__(self, name, client):
        self.name, self.client = name, client
        for method in ("get", "put", "post", "delete", "head", "patch"):
            setattr(self, method, getattr(client, method))

    def send(self, *contents):
        answer = self.post("/api/objects/pack", data=pack(contents))
        assert answer.status_code == 200, answer.text
        return answer

    def request_push(self, handle, contents, sizes=None, digest=None, **more):
        body = {"description": "", "contents": contents, "sizes": sizes or {}, **more}
        return self.put(
            f"/api/package/{handle}/{digest or top_hash(contents)}",
            data=gzip.compress(json.dumps(body).encode()),
            headers={"Content-Encoding": "gzip", "Content-Type": "application/json"},
        )

    def push(self, handle, files, **more):
        """Push ``{name: bytes}``; the top hash."""
        tree = root(**{name: leaf(content) for name, content in files.items()})
        return self.push_tree(handle, tree, *files.values(), **more)

    def push_tree(self, handle, tree, *contents, **more):
        """Push a tree and the objects it needs; the top hash."""
        if contents:
            self.send(*contents)
        answer = self.request_push(handle, tree, sizes_of(contents), **more)
        assert answer.status_code == 200, answer.text
        return answer.json["package_hash"]


def sizes_of(contents):
    return {sha(content): len(content) for content in contents}


def run_at_once(*tasks):
    """Run ``tasks`` in threads that start together; what each returned or raised."""
    barrier = threading.Barrier(len(tasks))
    results = [None] * len(tasks)

    def run(index, task):
        barrier.wait()
        try:
            results[index] = task()
        except BaseException as exc:
            results[index] = exc

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
