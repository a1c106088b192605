"""The cart is a plugin like any other."""

import cart
from core.testing import check_plugin


def test_the_cart_keeps_the_contract():
    assert check_plugin(cart) == []
