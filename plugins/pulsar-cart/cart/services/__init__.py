"""What can be done with carts. Services know nothing of HTTP."""
