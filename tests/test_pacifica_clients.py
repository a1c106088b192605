"""Pacifica's own clients, unmodified, and curl, against a site whose files are in its archive interface."""

import hashlib
import json
import os
import subprocess
import tarfile
from urllib.request import Request, urlopen

import pytest
from old_pythons import NotInstalled
from pacifica_clients import archive_interface, installed

LIMIT = 120  # s
FILES = {
    "101": ("sub/dir", "one.bin", os.urandom(300_000)),
    "102": ("", "two.txt", b"two\n"),
    "103": ("sub", "\u00e9", b""),
}
DOWNLOADER = """
import json, sys
from pacifica.downloader import Downloader
url, target, event, *user = sys.argv[1:]
auth = {"auth": tuple(user)} if user else {}
Downloader(cart_api_url=url, auth=auth).cloudevent(target, json.load(open(event)))
"""


@pytest.fixture
def commands():
    try:
        return installed()
    except NotInstalled as exc:
        pytest.skip(f"the published clients were not tried: {exc}")


@pytest.fixture
def site(commands, start_site, tmp_path):
    """A site with the cart, and the files in its archive."""
    with archive_interface(tmp_path / "archive") as url:
        for name, (_, _, data) in FILES.items():
            headers = {"Content-Type": "application/octet-stream"}
            with urlopen(Request(url + name, data, headers, method="PUT"), timeout=30) as answer:
                assert answer.status == 201
        yield start_site(
            PULSAR_PLUGINS='["cart"]',
            ARCHIVE_INTERFACE_URL=url.removeprefix("http://"),
            PULSAR_CART_ARCHIVE_CONNECTIONS="1",
        )


@pytest.fixture
def event(tmp_path):
    """What Pacifica's notifications say of the files, as both clients read it."""
    objects = [
        {
            "destinationTable": "Files", "_id": int(name), "subdir": folder, "name": file,
            "hashtype": "md5", "hashsum": hashlib.md5(data).hexdigest(),
        }
        for name, (folder, file, data) in FILES.items()
    ]  # fmt: skip
    path = tmp_path / "event.json"
    path.write_text(json.dumps({"data": objects}))
    return path


def test_the_downloader_the_command_line_and_curl(site, commands, event, tmp_path):
    wanted = {f"data/{folder}/{file}".replace("//", "/"): data for folder, file, data in FILES.values()}
    key = site.key_of_new_user("ann")

    with_downloader = tmp_path / "downloader"
    run(
        [commands / "python", "-c", DOWNLOADER, f"{site.url}/cart", with_downloader, event, "ann", key],
        tmp_path,
    )
    assert read_tree(with_downloader) == wanted

    with_cli = tmp_path / "cli"
    run(
        [commands / "pacifica-cli", "download", "--cloudevent", event, "--destination", with_cli],
        tmp_path,
        DOWNLOAD_URL=f"{site.url}/cart",
        AUTHENTICATION_TYPE="basic",
        AUTHENTICATION_USERNAME="ann",
        AUTHENTICATION_PASSWORD=key,
    )
    assert read_tree(with_cli) == wanted

    document = [
        {"id": name, "path": f"/{folder}/{file}", "hashtype": "md5", "hashsum": hashlib.md5(data).hexdigest()}
        for name, (folder, file, data) in FILES.items()
    ]
    (tmp_path / "foo.json").write_text(json.dumps({"fileids": document}))
    cart = f"{site.url}/cart/36a"
    user = ["-sS", "-u", f"ann:{key}"]
    run(["curl", *user, "-X", "POST", "--upload-file", "foo.json", cart], tmp_path)
    assert "X-Pacifica-Status: ready" in run(["curl", *user, "-I", cart], tmp_path)  # all of it is known
    run(["curl", *user, "-O", "-J", f"{cart}?filename=my_cart.tar"], tmp_path)
    with tarfile.open(tmp_path / "my_cart.tar") as tar:
        found = {one.name: tar.extractfile(one).read() for one in tar}
    assert found == {path.replace("data/", "my_cart/", 1): data for path, data in wanted.items()}
    assert '"path": ' in run(["curl", "-f", *user, f"{cart}/manifest"], tmp_path)
    assert run(["curl", "-f", *user, f"{cart}/manifest?format=sha256sum"], tmp_path).endswith("\n")
    assert "Deleted" in run(["curl", *user, "-X", "DELETE", cart], tmp_path)


def test_at_the_root_of_a_site_that_asks_for_no_login(commands, start_site, event, tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    for name, (_, _, data) in FILES.items():
        (files / name).write_bytes(data)
    site = start_site(
        PULSAR_PLUGINS='["cart"]',
        PULSAR_URL_PREFIXES='{"cart": "/"}',
        PULSAR_CART_ANONYMOUS="true",
        PULSAR_CART_DIRECTORY=str(files),
        PULSAR_CART_DEFAULT_SOURCE="directory",
    )
    target = tmp_path / "target"
    run([commands / "python", "-c", DOWNLOADER, site.url, target, event], tmp_path)
    assert read_tree(target) == {
        f"data/{folder}/{file}".replace("//", "/"): data for folder, file, data in FILES.values()
    }
    (tmp_path / "foo.json").write_text('{"fileids": []}')
    run(["curl", "-sS", "-f", "-X", "POST", "--upload-file", "foo.json", f"{site.url}/36a"], tmp_path)
    assert "X-Pacifica-Status: ready" in run(["curl", "-sS", "-I", f"{site.url}/36a"], tmp_path)


def test_the_command_line_downloads_a_package_by_its_number(commands, start_site, tmp_path):
    site = start_site(PULSAR_PLUGINS='["registry", "cart"]', PULSAR_CART_DEFAULT_SOURCE="registry")
    ann = site.person("ann", tmp_path / "home")
    source = tmp_path / "source"
    for folder, file, data in FILES.values():
        (source / folder).mkdir(parents=True, exist_ok=True)
        (source / folder / file).write_bytes(data)
    ann.does("build", "ann/flights", source)
    ann.does("push", "ann/flights")
    (pushed,) = json.loads(ann.does("log", "ann/flights", "--json"))

    def download(user, key):
        target = tmp_path / user
        command = [commands / "pacifica-cli", "download", "--destination", target]
        run(
            [*command, "--transaction-id", pushed["number"]],
            tmp_path,
            DOWNLOAD_URL=f"{site.url}/cart",
            DOWNLOAD_POLICY_URL=f"{site.url}/cart/status/transactions/by_id",
            AUTHENTICATION_TYPE="basic",
            AUTHENTICATION_USERNAME=user,
            AUTHENTICATION_PASSWORD=key,
        )
        return read_tree(target)

    assert download("ann", ann.key) == {f"data/{path}": data for path, data in read_tree(source).items()}
    with pytest.raises(AssertionError, match="status_code == 200"):
        download("bob", site.key_of_new_user("bob"))


def read_tree(folder):
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def run(command, folder, **environment):
    done = subprocess.run(
        list(map(str, command)), cwd=folder, text=True, capture_output=True, timeout=LIMIT,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
