"""Client certificates (TAXII 2.1 §8.3.1): whose one is, as the connection or a trusted proxy says (RFC 9440).

Whoever speaks TLS with the client has validated it. Here it is only a fingerprint, a key that has it, and the time
within which it is valid: connections and TLS sessions of a proxy may be older than the end of a certificate.
"""

import base64
import functools
import hashlib
import re
import ssl
import urllib.parse
from asyncio import Transport
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from starlette.types import Scope

from isac import times
from isac.errors import Invalid
from isac.policy.actors import Fingerprint

#: the extension of an ASGI scope that holds the Fingerprint of the client's certificate
CERTIFICATE = "isac.certificate"


#: of what is there but must not count: no key has it
NOBODYS = Fingerprint(b"")

_BEGIN = "-----BEGIN CERTIFICATE-----"
_PEM = re.compile(rf"{_BEGIN}([^-]+)-----END CERTIFICATE-----")


def of_request(scope: Scope) -> Fingerprint | None:
    """The certificate that a request comes with."""
    found: Fingerprint | None = (scope.get("extensions") or {}).get(CERTIFICATE)
    return found


def of_connection(transport: Transport) -> tuple[Fingerprint, float] | None:
    """The certificate that the client of a TLS connection has shown, and the seconds until it expires.

    A session that is resumed is not validated again, so they may be over.
    """
    tls = transport.get_extra_info("ssl_object")
    der = tls.getpeercert(binary_form=True)
    if der is None:
        return None
    return _of(der), ssl.cert_time_to_seconds(tls.getpeercert()["notAfter"]) - times.now().timestamp()


def of_header(values: Sequence[bytes]) -> Fingerprint | None:
    """The certificate that a proxy names: base64 of its DER between colons (RFC 9440 §2.1), or its PEM in URL escapes.

    NOBODYS for what is neither, for one that is not valid yet or any more, and for several: then the proxy has passed
    on what somebody else said.
    """
    if not values or list(values) in ([b""], [b"::"]):
        return None
    named = _named(values[0]) if len(values) == 1 else None
    return named.fingerprint if named and named.begins <= times.now() <= named.ends else NOBODYS


@dataclass(frozen=True, slots=True)
class _Named:
    fingerprint: Fingerprint
    begins: datetime
    ends: datetime


@functools.lru_cache(maxsize=2048)  # a member's is the same each time
def _named(value: bytes) -> _Named | None:
    """What a header's value holds; None where that is no certificate."""
    try:
        if value.startswith(b":") and value.endswith(b":"):
            der = base64.b64decode(value[1:-1], validate=True)
        else:
            pem = _PEM.fullmatch(urllib.parse.unquote(value.decode("ascii")).strip())
            der = _der(pem[1]) if pem else b""
        return _Named(_of(der), *_validity(der))
    except (ValueError, IndexError):
        return None


def of_file(name: str, text: str) -> Fingerprint:
    """The certificate in a PEM file. Raises Invalid for a file that does not hold one, and one alone."""
    found = _PEM.findall(text)
    if len(found) != 1 or text.count(_BEGIN) != 1:
        raise Invalid(
            f"{name} holds {len(found) or 'no'} certificates in PEM. Leave the client's own in it, and no other."
        )
    try:
        der = _der(found[0])
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=der)
    except (ValueError, ssl.SSLError) as error:
        raise Invalid(f"{name} looks like a certificate, but is none. Ask for it once more.") from error
    return _of(der)


def _der(text: str) -> bytes:
    # Python's own reading of PEM passes over what is no base64, and over a second certificate.
    return base64.b64decode("".join(text.split()), validate=True)


def _validity(der: bytes) -> tuple[datetime, datetime]:
    """Its first and last instant (RFC 5280 §4.1). Raises ValueError, IndexError for what is no certificate.

    Certificate { TBSCertificate { [version], serialNumber, signature, issuer, validity { notBefore, notAfter }, … } … }
    """
    (_, certificate), *behind = _members(der)
    if behind:
        raise ValueError("more than a certificate")
    (_, signed), *_ = _members(certificate)
    fields = list(_members(signed))
    begins, ends = _members(fields[4 if fields[0][0] == _VERSION else 3][1])
    return _time(*begins), _time(*ends)


#: tags of DER
_VERSION, _UTC_TIME = 0xA0, 0x17


def _members(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each, one after the other."""
    while der:
        tag, size, start = der[0], der[1], 2
        if size > 127:
            start += size - 128
            size = int.from_bytes(der[2:start])
        if len(der) < start + size:
            raise ValueError("cut off")
        yield tag, der[start : start + size]
        der = der[start + size :]


def _time(tag: int, text: bytes) -> datetime:
    # Two digits of a year are 1950 to 2049 (RFC 5280 §4.1.2.5.1).
    century = (b"19" if text >= b"50" else b"20") if tag == _UTC_TIME else b""
    return datetime.strptime(f"{(century + text).decode('ascii')}+0000", "%Y%m%d%H%M%SZ%z")


def _of(der: bytes) -> Fingerprint:
    return Fingerprint(hashlib.sha256(der).digest())
