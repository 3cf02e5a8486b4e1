"""The hosts of URLs, and which IP addresses are public.

The URLs of media come from the users of providers, so they may name any host. A request that is sent from an
operator's network must not reach that network: neither the machine itself, nor its neighbours, nor the
metadata services of a cloud.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

Address = IPv4Address | IPv6Address

# Protocol assignments and 6to4 relays.
_SPECIAL_V4 = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
_UNICAST_V6 = IPv6Network("2000::/3")  # the whole range assigned for global use
_DOCUMENTATION_V6 = IPv6Network("3fff::/20")  # unknown to older Python versions
_TRANSLATED = IPv6Network("64:ff9b::/96")  # NAT64: the last 32 bits are an IPv4 address


def host_of(url: str) -> str:
    """Return the host of a URL in lower case; "" if there is none.

    The URL is parsed as urllib3 parses it, because other parsers may find another host in a crafted URL.
    """
    try:
        return (parse_url(url).host or "").lower().strip("[]").rstrip(".")
    except LocationParseError:
        return ""


def is_global(address: str | Address) -> bool:
    """Return whether an address belongs to a single host on the public internet.

    An IPv6 address that embeds an IPv4 address (mapped, 6to4, Teredo, NAT64) is judged by the latter.

    Args:
        address: An address in standard notation; IPv6 without brackets, with or without a zone.

    Raises:
        ValueError: The string is not an IP address.
    """
    ip = ip_address(address) if isinstance(address, str) else address
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast and not any(ip in net for net in _SPECIAL_V4)
    if inner := _embedded(ip):
        return all(map(is_global, inner))
    return ip in _UNICAST_V6 and ip not in _DOCUMENTATION_V6 and ip.is_global


def _embedded(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses that are embedded in an IPv6 address."""
    if address.ipv4_mapped:
        return (address.ipv4_mapped,)
    if address.sixtofour:
        return (address.sixtofour,)
    if address.teredo:
        return address.teredo
    if address in _TRANSLATED:
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    return ()
