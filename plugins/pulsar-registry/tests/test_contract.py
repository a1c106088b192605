"""The registry is a plugin like any other."""

import registry
from core.testing import check_plugin


def test_the_registry_keeps_the_contract():
    assert check_plugin(registry) == []
