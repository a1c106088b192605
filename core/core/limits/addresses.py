"""Whose address an address is."""

from ipaddress import IPv6Address, ip_address

__all__ = ["network_of"]


def network_of(address: str) -> str:
    """``address``; of IPv6 the /64, of which a single machine has all addresses.

    An IPv4 caller at a socket that takes both (``::ffff:192.0.2.1``) is the IPv4 caller.
    """
    if ":" not in address:
        return address
    try:
        parsed = ip_address(address.partition("%")[0])  # what follows is an interface of this machine
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
