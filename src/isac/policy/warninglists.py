"""What it means to stand on a warninglist. Lists differ: `policy/values.py` judges by this.

How far a list reaches is ours to say, since its source only says what is on it.
"""

import enum
import re
from typing import Literal, NamedTuple

from isac.stix.observables import Observable

#: the list of public authorities' own sites, which the States fill
PORTALS = "isac-portals"

#: how an entry names a value: it is that value; the value lies inside or below it; it lies inside or below the value
How = Literal["same", "inside", "around"]


class Listed(NamedTuple):
    """One warninglist names a value."""

    #: the list's
    name: str
    title: str
    how: How
    #: the entry; of several the first
    entry: str
    #: it names the host of a URL or an e-mail address, not the whole
    by_host: bool = False


class Reach(enum.Enum):
    """Whom a list holds back."""

    #: the value, what lies below or inside, what contains it, and every URL and mailbox there
    ALL = "all"
    #: the same, but a URL or mailbox passes: only the host is everybody's
    HOST = "host"
    #: the very name, and what contains it; what lies below is somebody's own, and so is a URL
    NAME = "name"
    #: networks; an address in it is one tenant's
    NETWORK = "network"
    #: nobody: it is worth knowing
    NOTE = "note"


#: lists of names below which strangers have their own host, page or short link: the rule is `shared host`
SHARED = re.compile(r"isac-shared-hosts|dynamic-dns|lots-project|url-shortener|link-in-bio|public-ipfs-gateways")
#: By the names of lists, the first that fits. What is not named here is HOST: held, but for URLs.
_REACH = tuple(
    (re.compile(names), reach)
    for names, reach in (
        # Programs ask these by themselves: whoever blocks them cuts himself off, or hears an alarm from every machine.
        # So a URL there (DNS over HTTPS, a check of a certificate, a captive portal) is no indicator either, and what
        # stands on an authority's own site has to be looked at.
        (rf"{PORTALS}|isac-resolvers|public-dns-.*|captive-portals|crl-.*|microsoft-win10-.*", Reach.ALL),
        # Hashes and certificates that are everywhere: an empty file, a system's own programs, trusted authorities.
        (r"empty-hashes|eicar\.com|common-ioc-false-positive|nioc-filehash|ti-falsepositives|mozilla-.*", Reach.ALL),
        # What reports link to: analyses are references, not indicators.
        # (Not `security-provider-blogpost`, which has all of github.com on it.)
        (r"automated-malware-analysis|microsoft-attack-simulator", Reach.ALL),
        # The rule `reserved` says it already, and knows samples.
        (r"rfc\d+|multicast|ipv6-linklocal", Reach.NOTE),
        # Popular names. Of a million many have been broken into, and anybody may have a page or a host below them.
        (r"tranco.*|google-chrome-crux.*|cisco_top.*|cloudflare-top.*|alexa|majestic.*|moz-top.*", Reach.NAME),
        (SHARED.pattern, Reach.NAME),
        (r"second-level-tlds|tlds", Reach.NAME),
        # Computers for rent: most servers of criminals stand there, each at its own address.
        (r"amazon-aws|microsoft-azure.*|google-gcp|oracle-oci|ovh-cluster|digitalocean.*|linode.*", Reach.NETWORK),
        # True of the value, and no reason to spare it.
        (r".*-scanning|.*-scanner|vpn-.*|tor-.*|parking-.*|sinkholes|disposable-email|censys.*|shodan.*", Reach.NOTE),
        (r"openai-gptbot|icloud-private-relay|tenable-.*|palo-alto-.*|umich-.*|check-host-net", Reach.NOTE),
    )
)


def reach(name: str) -> Reach:
    """How far the list of this name reaches."""
    return next((each for names, each in _REACH if names.fullmatch(name)), Reach.HOST)


def holds(found: Listed, value: Observable) -> bool:
    """Does a list hold back a value that it names so?"""
    whom = reach(found.name)
    if whom is Reach.NOTE:
        return False
    if whom is Reach.NETWORK:
        return value.kind in ("ipv4-addr", "ipv6-addr") and "/" in value.value
    if whom is Reach.NAME and found.how == "inside" and value.value != f"www.{found.entry}":
        return False
    return whom is Reach.ALL or not found.by_host
