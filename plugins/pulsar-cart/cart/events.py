"""What happens to carts, for the audit log, webhooks and listeners."""

from core.events import EventsEnum

__all__ = ["CartEvents"]


class CartEvents(EventsEnum):
    """Events of the cart. The target is the cart: ``cart:<uid>``."""

    CREATED = "cart.created", "A cart was made."
    READY = "cart.ready", "All files of a cart are here."
    FAILED = "cart.failed", "A cart cannot be made ready."
    DELETED = "cart.deleted", "A cart was deleted, or replaced by a new one of its name."
    EVICTED = "cart.evicted", "A cart was deleted because others need the space."
