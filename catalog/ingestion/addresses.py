"""Which IP addresses are on the public internet.

Addresses of media come from users of the providers, so they may name any host. What is asked from inside an
operator's network must not reach that network: not the machine itself, its neighbours, or the services of a
cloud.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

_SPECIAL_V4 = (
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
)  # protocol assignments, 6to4 relays
_UNICAST_V6 = IPv6Network("2000::/3")  # all that is assigned for global use
_DOCUMENTATION_V6 = IPv6Network("3fff::/20")  # which older Pythons do not know
_TRANSLATED = IPv6Network("64:ff9b::/96")  # NAT64: the last 32 bits are an IPv4 address


def is_global(address: str | Address) -> bool:
    """Whether an address is one of the public internet's, for a single host.

    An IPv6 address that stands for an IPv4 address (mapped, 6to4, Teredo, NAT64) is what that one is.

    Args:
        address: In the ordinary notation; an IPv6 address without brackets, with or without a zone.

    Raises:
        ValueError: It is no address.
    """
    found = ip_address(address) if isinstance(address, str) else address
    if isinstance(found, IPv4Address):
        return found.is_global and not found.is_multicast and not any(found in net for net in _SPECIAL_V4)
    if inner := _embedded(found):
        return all(map(is_global, inner))
    return found in _UNICAST_V6 and found not in _DOCUMENTATION_V6 and found.is_global


def _embedded(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that an IPv6 address leads to."""
    if address.ipv4_mapped:
        return (address.ipv4_mapped,)
    if address.sixtofour:
        return (address.sixtofour,)
    if address.teredo:
        return address.teredo
    if address in _TRANSLATED:
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    return ()
