"""Every set of the plugins of this repository is a site: it migrates from nothing, starts and answers."""

import json
from itertools import combinations
from pathlib import Path
from urllib.request import urlopen

import pytest

from core.plugins import find_plugins

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = sorted(
    name
    for name, plugin in find_plugins().items()
    if name != "core" and plugin.package.is_relative_to(ROOT / "plugins")
)
SUBSETS = [subset for size in range(len(PLUGINS) + 1) for subset in combinations(PLUGINS, size)]


def get(url):
    with urlopen(url, timeout=10) as answer:
        return json.load(answer)


def test_there_are_plugins():
    assert "registry" in PLUGINS


@pytest.mark.parametrize("subset", SUBSETS, ids=lambda subset: "+".join(subset) or "core")
def test_a_site_with_this_set_of_plugins_starts_migrates_and_answers(subset, start_site):
    plugins = json.dumps(list(subset))
    site = start_site(PULSAR_PLUGINS=plugins)

    health = get(f"{site.url}/health")
    assert health["status"] == "success"
    assert health["response"]["migrations"] == "ok"

    spec = get(f"{site.url}/api/spec.json")
    assert spec["openapi"].startswith("3.1")
    assert "/users/me" in spec["paths"]
    assert ("/api/capabilities" in spec["paths"]) == ("registry" in subset)

    listed = site.run("flask", "plugin", "list", "--json", PULSAR_PLUGINS=plugins)
    assert listed.returncode == 0, listed.stderr
    enabled = {plugin["name"] for plugin in json.loads(listed.stdout) if plugin["state"] == "enabled"}
    assert enabled - {"core"} == set(subset)
