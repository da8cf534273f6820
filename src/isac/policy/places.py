"""What an address or a name is by itself, whoever has it: reserved, too wide, or a suffix below which all register.

Reserved are the registries of IANA for special purposes (RFC 6890); suffixes are those of the Public Suffix List.
"""

import functools
import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from publicsuffixlist import PublicSuffixList

#: by the kind of an address: networks shorter than this say nothing of one machine or one member
WIDEST = {"ipv4-addr": 16, "ipv6-addr": 32}

_RESERVED = tuple(
    (ip_network(network), what)
    for network, what in (
        ("0.0.0.0/8", "an address that no machine can have"),
        ("10.0.0.0/8", "a private address"),
        ("172.16.0.0/12", "a private address"),
        ("192.168.0.0/16", "a private address"),
        ("100.64.0.0/10", "an address inside a provider's network, shared by its customers (carrier-grade NAT)"),
        ("127.0.0.0/8", "the address by which a machine calls itself"),
        ("169.254.0.0/16", "a link-local address, which machines give themselves"),
        ("192.0.0.0/24", "an address for protocols (RFC 6890)"),
        ("192.88.99.0/24", "an address for protocols (RFC 7526)"),
        ("198.18.0.0/15", "an address for measuring devices (RFC 2544)"),
        ("224.0.0.0/4", "an address for groups of machines (multicast)"),
        ("255.255.255.255/32", "the address of everybody (broadcast)"),
        ("240.0.0.0/4", "an address that is given to nobody"),
        ("::/128", "an address that no machine can have"),
        ("::1/128", "the address by which a machine calls itself"),
        ("fe80::/10", "a link-local address, which machines give themselves"),
        ("fc00::/7", "a private address"),
        ("fec0::/10", "a private address"),
        ("ff00::/8", "an address for groups of machines (multicast)"),
        ("2001::/23", "an address for protocols (RFC 2928)"),
        ("2002::/16", "an IPv4 address in another form (6to4)"),
        ("64:ff9b::/32", "an IPv4 address in another form (NAT64)"),
        ("::/3", "an address that is given to nobody"),
        ("4000::/2", "an address that is given to nobody"),
        ("8000::/1", "an address that is given to nobody"),
    )
)
# The few that have to be compared: a network costs 5 µs to read, and nearly all are as good as others.
_PERHAPS = re.compile(
    r"(?:0|10|100|127|169|172|192|198|2[2-5][0-9])\.|(?![23][0-9a-f]{3}:)[0-9a-f]*:|2001:(?::|[0-9a-f]{1,3}:)|2002:|.*/"
)


def single(address: str) -> bool:
    """Is an address in canonical form one that any machine on the Internet may have? No network is."""
    return not _PERHAPS.match(address)


def reserved(network: IPv4Network | IPv6Network) -> str | None:
    """What a network, or a part of it, is reserved for: «a private address»; None for the Internet's.

    Documentation addresses are the Internet's here, since they accuse nobody.
    """
    return next((what for each, what in _RESERVED if overlap(network, each)), None)


def overlap(one: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    """Do they have an address in common?"""
    return one.version == other.version and one.overlaps(other)


@functools.cache
def _suffixes(only_icann: bool = False) -> PublicSuffixList:
    """The public suffix list, read when it is first needed (60 ms)."""
    return PublicSuffixList(only_icann=only_icann)


def registrable(domain: str) -> str | None:
    """What somebody registered of a canonical domain: `example.co.uk` of `www.example.co.uk`. None for a suffix itself
    (`oh.us`, `github.io`).
    """
    found: str | None = _suffixes().privatesuffix(domain)
    return found


def suffix(domain: str) -> Literal["registry", "host"] | None:
    """Is a canonical domain a public suffix: a registry's (`co.uk`), or the host of strangers' pages (`github.io`)?"""
    if _suffixes().publicsuffix(domain) != domain:
        return None
    return "registry" if _suffixes(only_icann=True).publicsuffix(domain) == domain else "host"
