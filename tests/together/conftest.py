"""A site with several plugins, for what they do together."""

import pytest

import cart
import registry
from core.conftest import *  # noqa: F403
from core.conftest import PLUGINS

PLUGINS.append(registry)
PLUGINS.append(cart)


@pytest.fixture
def settings(app):
    """``settings(CART_DEFAULT_SOURCE="registry")``, for the length of the test."""
    before = dict(app.config)
    yield app.config.update
    app.config.update(before)
