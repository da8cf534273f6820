"""One spelling for each value that can be seen on a network or a disk: canonical form and defang.

`(kind, value)` is the joint on which look-up, correlation, assets, warninglists and exports meet, so two spellings of
one value must become one text here. Values follow STIX 2.1 §6 (`ipv4-addr`, `domain-name`, …), RFC 5952 for IPv6 and
the WHATWG URL standard for URLs; host names are in their ASCII form (IDNA).
"""

import re
import string
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

import ada_url

from isac.stix.fangs import refang

#: Every kind, in the words of STIX; ours are `cve`, for vulnerabilities, `x509-…`, for certificates by their
#: fingerprint, and `file-name`. Networks are addresses with a prefix length.
KINDS = (
    "ipv4-addr",
    "ipv6-addr",
    "domain-name",
    "url",
    "email-addr",
    "md5",
    "sha-1",
    "sha-256",
    "sha-512",
    "x509-md5",
    "x509-sha-1",
    "x509-sha-256",
    "autonomous-system",
    "mac-addr",
    "file-name",
    "windows-registry-key",
    "cve",
)
# In these the signs by which others are defanged, and characters that nobody sees, are part of the value.
_VERBATIM = frozenset({"file-name", "windows-registry-key"})

#: Longer than any address, and nearly what a pattern of ours may hold (4 KiB).
MAX_CHARACTERS = 4000


class Observable(NamedTuple):
    """A value in canonical form. `kind` is one of KINDS; an autonomous system is written `AS64496`."""

    kind: str
    value: str


# --- defang ----------------------------------------------------------------------------------------


def defang(observable: Observable) -> str:
    """The value as people may read it: nothing in a mail or a document makes a link of it. `refang` undoes it."""
    kind, value = observable.kind, observable.value
    if kind in ("domain-name", "ipv4-addr"):
        return value.replace(".", "[.]")
    if kind == "ipv6-addr":
        return value.replace(":", "[:]")
    if kind == "email-addr":
        local, _, domain = value.rpartition("@")
        # `{[@]` would be read as one bracket.
        return f"{local}{'@' if local.endswith('{') else '[@]'}{domain.replace('.', '[.]')}"
    if kind == "url":
        scheme, _, rest = value.partition("://")
        authority = _AUTHORITY.match(rest)
        if not authority:
            raise ValueError(f"«{_shown(value)}» is no canonical URL")
        name = authority[2].replace(".", "[.]")
        return f"{_MASKED.get(scheme, scheme)}://{authority[1]}{name}{rest[authority.end() :]}"
    return value


# What stands before the host, and the host with its port.
_AUTHORITY = re.compile(r"((?:[^/?#]*@)?)([^/?#@]*)")
_MASKED = {"http": "hxxp", "https": "hxxps", "ftp": "fxp"}


# --- from text to observable ----------------------------------------------------------------------


def recognize(text: str, kind: str | None = None) -> Observable:
    """The observable that a person or a list wrote: refanged, typed unless `kind` says what it is, and canonical.

    `kind` is one of KINDS or a wish: `ip`, `domain`, `hash`, `email`, `asn`; also `ip:port` and `domain:port`, of which
    only the host is kept. A host and path without a scheme is read as `http`, as browsers do. Host bits of a network
    are cleared. Raises ValueError, with words for the person who wrote it.
    """
    _short_enough(Observable("", text))
    value = text.strip() if kind in _VERBATIM else refang(text)
    if not value:
        raise ValueError("no value is written here")
    if kind not in _VERBATIM and ("…" in value or value.endswith("...")):
        raise ValueError(f"«{_shown(value)}» is cut off: the whole value is needed")
    if kind is None:
        return _short_enough(_guess(value))
    reader = _READERS.get(kind)
    if reader is None:
        raise ValueError(f"«{_shown(kind)}» is no kind of observable; the kinds are {', '.join(KINDS)}")
    return _short_enough(reader(value))


def read(kind: str, value: str) -> Observable | None:
    """The canonical form of a value that stands in a STIX object or pattern; nothing is refanged.

    None if it has no canonical form but may still mean something (`domain-name` `localhost`). Raises ValueError if it
    is plainly wrong: what can never match, such as an `ipv4-addr` that is no address.
    """
    try:
        return _LENIENT_READERS.get(kind, _READERS[kind])(value)
    except ValueError:
        if kind not in _VERBATIM and refang(value) != value:
            raise ValueError(f"«{_shown(value)}» is defanged: it matches nothing") from None
        raise


def host(observable: Observable) -> Observable | None:
    """Where a URL or an e-mail address leads: an address or a domain. None for other kinds and hosts of one word."""
    if observable.kind == "email-addr":
        name = observable.value.rpartition("@")[2]
    elif observable.kind == "url":
        authority = re.split(r"[/?#]", observable.value.partition("://")[2], maxsplit=1)[0]
        name = re.sub(r":[0-9]*\Z", "", authority.rpartition("@")[2])
    else:
        return None
    try:
        return _address(name[1:-1]) if name.startswith("[") else _ip_or_domain(name)
    except ValueError:
        return None


_DOCUMENTATION_NETWORKS = re.compile(r"(192\.0\.2\.|198\.51\.100\.|203\.0\.113\.)|2001:db8:|3fff:[0-9a-f]{0,3}:")
_DOCUMENTATION_DOMAINS = re.compile(r"(?:\A|\.)(?:example\.(?:com|net|org)|example|test|invalid)\Z")


def documentation(observable: Observable) -> bool:
    """Is it a value that accuses nobody?

    RFC 5737, 3849 and 9637 addresses, RFC 5398 autonomous systems, RFC 9542 MAC addresses, RFC 2606 and 6761 names, and
    what lies below them.
    """
    kind, value = observable.kind, observable.value
    if kind in ("url", "email-addr"):
        where = host(observable)
        return where is not None and documentation(where)
    if kind == "domain-name":
        return _DOCUMENTATION_DOMAINS.search(value) is not None
    if kind in ("ipv4-addr", "ipv6-addr"):
        found = _DOCUMENTATION_NETWORKS.match(value)
        length = value.partition("/")[2]
        needed = 24 if found and found[1] else 20 if value.startswith("3fff") else 32
        return found is not None and (not length or int(length) >= needed)
    if kind == "autonomous-system":
        return 64496 <= int(value[2:]) <= 64511 or 65536 <= int(value[2:]) <= 65551
    return kind == "mac-addr" and value.startswith("00:00:5e:00:53:")


#: Where the value of each kind stands in a STIX pattern.
PATHS = {
    "ipv4-addr": "ipv4-addr:value",
    "ipv6-addr": "ipv6-addr:value",
    "domain-name": "domain-name:value",
    "url": "url:value",
    "email-addr": "email-addr:value",
    "md5": "file:hashes.MD5",
    "sha-1": "file:hashes.'SHA-1'",
    "sha-256": "file:hashes.'SHA-256'",
    "sha-512": "file:hashes.'SHA-512'",
    "x509-md5": "x509-certificate:hashes.MD5",
    "x509-sha-1": "x509-certificate:hashes.'SHA-1'",
    "x509-sha-256": "x509-certificate:hashes.'SHA-256'",
    "mac-addr": "mac-addr:value",
    "file-name": "file:name",
    "windows-registry-key": "windows-registry-key:key",
}


def pattern(observable: Observable) -> str:
    """The STIX pattern for this one value. Raises ValueError for a CVE, which no pattern detects."""
    if observable.kind == "autonomous-system":
        return f"[autonomous-system:number = {observable.value[2:]}]"
    if observable.kind not in PATHS:
        raise ValueError(f"{observable.value} is not something that a pattern can detect")
    literal = observable.value.replace("\\", "\\\\").replace("'", "\\'")
    return f"[{PATHS[observable.kind]} = '{literal}']"


# --- readers, one for each kind: canonical or ValueError ------------------------------------------

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?:{_OCTET}\.){{3}}{_OCTET}")
# URLs and addresses have the same canonical form, which costs a quarter this way.
_IPV6 = re.compile(r"(?=.*:)[0-9a-fA-F:.]+")
_ADDRESS_LIKE = re.compile(r"[0-9.]+(?:/[0-9.]+)?|[0-9a-fA-F.]*:[0-9a-fA-F.]*:[0-9a-fA-F:.]*(?:/[0-9]+)?")
_IPV4_MAPPED = IPv6Network("::ffff:0:0/96")
_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+):([0-9]{1,5})")
_DOMAIN = re.compile(
    r"(?=.{3,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+(?:[a-z]{2,63}|xn--[a-z0-9-]{0,58}[a-z0-9])"
)
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}")
_AS_NUMBER = re.compile(r"(?:AS[Nn]?)?[ \t]?([0-9]{1,10})", re.I)
_CVE = re.compile(r"CVE-([0-9]{4}-[0-9]{4,19})", re.I)
_HEX = re.compile(r"[0-9a-fA-F]+")
_MAC = re.compile(r"[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}", re.I)
_MAC_OTHERWISE = re.compile(r"[0-9a-f]{12}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}", re.I)
_NO_FILE_NAME = re.compile(r"[\x00-\x1f\x7f]|\A\.{0,2}\Z")
_PRINT = re.compile(r"(?:[0-9a-fA-F]{2}[: ])+[0-9a-fA-F]{2}")
_HIVES = {
    "hkcc": "HKEY_CURRENT_CONFIG",
    "hkcr": "HKEY_CLASSES_ROOT",
    "hkcu": "HKEY_CURRENT_USER",
    "hklm": "HKEY_LOCAL_MACHINE",
    "hkpd": "HKEY_PERFORMANCE_DATA",
    "hku": "HKEY_USERS",
}
_HIVES |= {name.lower(): name for name in _HIVES.values()}
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_HASH_BY_LENGTH = {32: "md5", 40: "sha-1", 64: "sha-256", 128: "sha-512"}
# A URL that the WHATWG algorithm would give back as it is: no need to ask it (6 µs). A test compares the two.
_PLAIN_URL = re.compile(
    r"https?://(?:[a-z0-9](?:[a-z0-9]|-(?!-))*\.)+[a-z]{2,63}(?::(?!80/|443/)[1-9][0-9]{0,3})?"
    r"(?:/(?!\.)[A-Za-z0-9_~!$&()*+,;=:@.-]*)+(?:\?[A-Za-z0-9_~!$&()*+,;=:@./?%-]*)?"
)
_HOST_NAME = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
_URL_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# Endings of file names that are no top-level domains: a bare `invoice.pdf` is no place on the network.
_FILE_ENDINGS = frozenset(
    re.findall(
        r"\w+",
        """apk asp aspx bat bin cfg chm cmd conf cpl csv dat db dll dmg doc docm docx elf eml exe gif gz hta htm html
        ini iso jar jpeg jpg js json jsp lnk log msi pcap pdf php png ppt pptx rar rtf scr sys tar tmp txt vbs wsf xls
        xlsm xlsx xml yaml yml""",
    )
)


def _shown(value: str) -> str:
    """The value as a message may carry it: short and printable."""
    return "".join(char if char.isprintable() else "?" for char in value[:80]) + ("…" if len(value) > 80 else "")


def _short_enough(observable: Observable) -> Observable:
    """The same. Letters beyond ASCII grow ninefold in a URL, so the length counts before and after."""
    if len(observable.value) > MAX_CHARACTERS:
        raise ValueError(f"«{_shown(observable.value)}» is longer than {MAX_CHARACTERS} characters")
    return observable


def _refusal(value: str, what: str) -> ValueError:
    return ValueError(f"«{_shown(value)}» is not {what}")


def _guess(value: str) -> Observable:
    if "://" in value:
        return _url(value)
    if _CVE.fullmatch(value):
        return _cve(value)
    if len(value) in _HASH_BY_LENGTH and _HEX.fullmatch(value):
        return _hash(value)
    if value[:2] in ("AS", "as") and _AS_NUMBER.fullmatch(value):
        return _autonomous_system(value)
    if _MAC.fullmatch(value):
        return _mac(value)
    if _ADDRESS_LIKE.fullmatch(value):
        return _address(value)
    if "@" in value:
        return _email(value)
    try:
        if "/" in value:
            return _url(value)
        named = _ip_or_domain(_without_port(value))
    except ValueError:
        raise _refusal(value, "an address, domain, URL, hash or e-mail address") from None
    if named.kind == "domain-name" and named.value.rpartition(".")[2] in _FILE_ENDINGS:
        raise ValueError(f"«{_shown(value)}» is a file name, not a domain")
    return named


def _address(value: str) -> Observable:
    if _IPV4.fullmatch(value):
        return Observable("ipv4-addr", value)
    if "%" in value:
        raise ValueError(f"«{_shown(value)}» names a network interface: it means something on one machine only")
    if _IPV6.fullmatch(value):
        try:
            text = ada_url.normalize_url(f"http://[{value}]/")[len("http://[") : -len("]/")]
        except ValueError:
            raise _refusal(value, "an IP address or network") from None
        if not text.startswith("::ffff:"):
            return Observable("ipv6-addr", text)
    try:
        network = ip_network(value, strict=False) if "/" in value else None
        address = network.network_address if network else ip_address(value)
    except ValueError:
        raise _refusal(value, "an IP address or network") from None
    if isinstance(network, IPv6Network) and network.subnet_of(_IPV4_MAPPED):
        return _address(f"{network.network_address.ipv4_mapped}/{network.prefixlen - 96}")
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        # The same host as its IPv4 address; as a kind of its own it would slip past every list of IPv4 addresses.
        address = address.ipv4_mapped
    whole = network is None or network.prefixlen == network.max_prefixlen
    return Observable("ipv4-addr" if address.version == 4 else "ipv6-addr", str(address if whole else network))


def _ipv4(value: str) -> Observable:
    found = _address(value)
    if found.kind != "ipv4-addr":
        raise _refusal(value, "an IPv4 address or network")
    return found


def _ipv6(value: str) -> Observable:
    if ":" not in value:
        raise _refusal(value, "an IPv6 address or network")
    return _address(value)


def _without_port(value: str) -> str:
    found = _PORT.fullmatch(value)
    if not found:
        return value
    if int(found[2]) > 65535:
        raise ValueError(f"«{_shown(value)}» ends in {found[2]}, which is no port")
    return found[1].strip("[]")


def _host_and_port(value: str) -> Observable:
    return _ip_or_domain(_without_port(value))


def _ip_or_domain(value: str) -> Observable:
    return _address(value) if _ADDRESS_LIKE.fullmatch(value) else _domain(value)


def _ip(value: str) -> Observable:
    return _address(_without_port(value))


def _domain(value: str) -> Observable:
    name = _without_port(value)
    if not name.isascii():
        try:
            name = ada_url.idna_to_ascii(name).decode()
        except ValueError:
            raise _refusal(value, "a domain name") from None
    name = name.lower().removesuffix(".")
    if not _DOMAIN.fullmatch(name):
        raise _refusal(value, "a domain name")
    return Observable("domain-name", name)


def _email(value: str) -> Observable:
    local, _, domain = value.removeprefix("mailto:").rpartition("@")
    if not _LOCAL_PART.fullmatch(local):
        raise _refusal(value, "an e-mail address")
    try:
        name = _domain(domain) if ":" not in domain else None
    except ValueError:
        name = None
    if name is None:
        raise _refusal(value, "an e-mail address")
    return Observable("email-addr", f"{local.lower()}@{name.value}")


def _url(value: str) -> Observable:
    if _PLAIN_URL.fullmatch(value):
        return Observable("url", value)
    if any(char.isspace() for char in value):
        raise ValueError(f"«{_shown(value)}» has a blank inside: a URL writes it as %20")
    found = _lenient_url(value)
    if found is None:
        raise _refusal(value, "a URL with a host")
    # The canonical form may read as defanged once more (`/a[%0A.]b`): go on until nothing changes.
    return found if refang(found.value) == found.value else _url(refang(found.value))


def _hash(value: str) -> Observable:
    kind = _HASH_BY_LENGTH.get(len(value))
    if kind is None or not _HEX.fullmatch(value):
        raise _refusal(value, "an MD5, SHA-1, SHA-256 or SHA-512 hash in hexadecimal")
    return Observable(kind, value.lower())


def _hash_reader(kind: str) -> Callable[[str], Observable]:
    length = next(length for length, name in _HASH_BY_LENGTH.items() if kind.endswith(name))

    def reader(value: str) -> Observable:
        if len(value) != length or not _HEX.fullmatch(value):
            raise _refusal(value, f"a hash of kind {kind}: {length} hexadecimal digits")
        return Observable(kind, value.lower())

    return reader


def _print_reader(kind: str) -> Callable[[str], Observable]:
    """Of certificates the hash is also written as browsers and openssl show it, `AB:CD:…`."""
    reader = _hash_reader(kind)
    return lambda value: reader(re.sub("[: ]", "", value) if _PRINT.fullmatch(value) else value)


def _autonomous_system(value: str) -> Observable:
    found = _AS_NUMBER.fullmatch(value)
    if not found or int(found[1]) > 0xFFFFFFFF:
        raise _refusal(value, "the number of an autonomous system")
    return Observable("autonomous-system", f"AS{int(found[1])}")


def _mac(value: str) -> Observable:
    if not _MAC.fullmatch(value) and not _MAC_OTHERWISE.fullmatch(value):
        raise _refusal(value, "a MAC address such as 02:00:5e:10:00:01")
    digits = re.sub("[.:-]", "", value).lower()
    return Observable("mac-addr", ":".join(re.findall("..", digits)))


def _file_name(value: str) -> Observable:
    """Case, brackets and invisible characters are kept: names that differ in them are different names."""
    if "/" in value or "\\" in value:
        raise ValueError(f"«{_shown(value)}» is a path: a file name has no slash")
    if _NO_FILE_NAME.search(value) or len(value) > 255:
        raise _refusal(value, "a file name")
    return Observable("file-name", value)


def _registry_key(value: str) -> Observable:
    """Windows knows no case in keys. The hive is written out (STIX 2.1 §6.17), the rest in lower case, as to ASCII."""
    hive, *steps = [step for step in value.split("\\") if step]  # a key has no empty step
    if hive.lower() == "computer" and steps:
        hive, *steps = steps  # as the registry editor copies it
    known = _HIVES.get(hive.lower())
    if not known or not value.isprintable():
        raise _refusal(value, "a registry key, which begins with a hive such as HKEY_LOCAL_MACHINE")
    return Observable("windows-registry-key", "\\".join([known, *(step.translate(_LOWER) for step in steps)]))


def _cve(value: str) -> Observable:
    found = _CVE.fullmatch(value)
    if not found:
        raise _refusal(value, "a CVE number")
    return Observable("cve", f"CVE-{found[1]}")


# --- lenient readers for what already stands in STIX ----------------------------------------------

_NEVER_IN_DOMAIN = re.compile(r"[\s/\\:@\[\](){}<>\"'…,;]|\A\Z")


def _lenient_domain(value: str) -> Observable | None:
    if _DOMAIN.fullmatch(value):
        return Observable("domain-name", value)
    if _NEVER_IN_DOMAIN.search(value):
        raise _refusal(value, "a domain name")
    try:
        # Addresses stand in `domain-name` patterns of good sources: they are known by what they are.
        return _ip_or_domain(value)
    except ValueError:
        return None


def _lenient_url(value: str) -> Observable | None:
    if _PLAIN_URL.fullmatch(value):
        return Observable("url", value)
    if "…" in value:
        raise ValueError(f"«{_shown(value)}» is cut off: the whole value is needed")
    scheme = _URL_SCHEME.match(value)
    if not scheme or value[scheme.end() : scheme.end() + 2].replace("\\", "/") != "//":
        try:
            _host_and_port(re.split(r"[/\\?#]", value, maxsplit=1)[0])
        except ValueError:
            if scheme:
                return None  # `mailto:` and other places that have no host
            raise _refusal(value, "a URL") from None
        value = f"http://{value}"
    try:
        parsed = ada_url.URL(value)
    except ValueError:
        raise _refusal(value, "a URL") from None
    if parsed.hostname != parsed.hostname.lower():
        # Only http and its like are lowered by the standard; hosts know no case anywhere.
        parsed.hostname = parsed.hostname.lower()
    named = parsed.host_type == ada_url.HostType.DEFAULT and not parsed.hostname.startswith("[")
    if not parsed.hostname or (named and not _HOST_NAME.fullmatch(parsed.hostname)):
        raise _refusal(value, "a URL: its host is not a name")
    return Observable("url", parsed.href)


def _lenient_email(value: str) -> Observable | None:
    local, at, domain = value.rpartition("@")
    if not at or not local or not domain or any(char.isspace() for char in domain):
        raise _refusal(value, "an e-mail address")
    try:
        return _email(value)
    except ValueError:
        return None


def _lenient_file_name(value: str) -> Observable | None:
    """A whole path in the place of a name may mean something to its producer."""
    try:
        return _file_name(value)
    except ValueError:
        return None


def _lenient_registry_key(value: str) -> Observable | None:
    """So may a key below a hive of another notation."""
    try:
        return _registry_key(value)
    except ValueError:
        return None


_READERS: dict[str, Callable[[str], Observable]] = {
    "ipv4-addr": _ipv4,
    "ipv6-addr": _ipv6,
    "domain-name": _domain,
    "url": _url,
    "email-addr": _email,
    "md5": _hash_reader("md5"),
    "sha-1": _hash_reader("sha-1"),
    "sha-256": _hash_reader("sha-256"),
    "sha-512": _hash_reader("sha-512"),
    "x509-md5": _print_reader("x509-md5"),
    "x509-sha-1": _print_reader("x509-sha-1"),
    "x509-sha-256": _print_reader("x509-sha-256"),
    "autonomous-system": _autonomous_system,
    "mac-addr": _mac,
    "file-name": _file_name,
    "windows-registry-key": _registry_key,
    "cve": _cve,
    # wishes
    "ip": _ip,
    "ip:port": _host_and_port,
    "domain:port": _host_and_port,
    "domain": _domain,
    "hash": _hash,
    "email": _email,
    "asn": _autonomous_system,
}


_LENIENT_READERS: dict[str, Callable[[str], Observable | None]] = {
    "domain-name": _lenient_domain,
    "url": _lenient_url,
    "email-addr": _lenient_email,
    **{kind: _hash_reader(kind) for kind in ("x509-md5", "x509-sha-1", "x509-sha-256")},
    "file-name": _lenient_file_name,
    "windows-registry-key": _lenient_registry_key,
}
