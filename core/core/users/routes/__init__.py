"""What callers can do with accounts."""
