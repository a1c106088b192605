"""``/cart``: the protocol of Pacifica's cart daemon, and what we add to it. Its quirks live here alone."""

from cart.errors import format_error
from cart.routes import carts, downloads, transactions
from core.blueprint import Blueprint

__all__ = ["bp"]

bp = Blueprint(
    "cart",
    __name__,
    envelope=False,
    error_formatter=format_error,
    auth_schemes=("token", "bearer", "basic"),
    max_body_bytes="CART_MAX_BODY_BYTES",
    rate_limits="CART_RATE_LIMIT",
)

for module in (carts, downloads, transactions):
    bp.register_blueprint(module.bp)
