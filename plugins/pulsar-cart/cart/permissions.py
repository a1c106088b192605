"""The rights that the cart asks for. What a cart may hold is the business of each source."""

from core.permissions import PermissionsEnum

__all__ = ["CartPermissions"]


class CartPermissions(PermissionsEnum):
    """Rights of the cart."""

    CREATE = "cart_create", "Make carts, and have the files in them fetched.", True
    READ = "cart_read", "See and download one's own carts.", True
    DELETE = "cart_delete", "Delete one's own carts.", True
    VIEW_OTHERS = "cart_view_others", "See, download and delete the carts of others.", False
