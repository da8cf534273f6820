"""Client certificates (TAXII 2.1 §8.3.1): whose one is, as the connection or a trusted proxy says (RFC 9440).

Whoever speaks TLS with the client has validated it. Here it is only a fingerprint, and a key that has it.
"""

import base64
import hashlib
import re
import ssl
import urllib.parse
from asyncio import Transport
from collections.abc import Sequence

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

    NOBODYS for what is neither, and for several: then the proxy has passed on what somebody else said.
    """
    if not values or list(values) in ([b""], [b"::"]):
        return None
    value, *others = values
    try:
        if value.startswith(b":") and value.endswith(b":") and not others:
            return _of(base64.b64decode(value[1:-1], validate=True))
        pem = _PEM.fullmatch(urllib.parse.unquote(value.decode("ascii")).strip())
        if pem and not others:
            return _of(_der(pem[1]))
    except ValueError:
        pass
    return NOBODYS


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


def _of(der: bytes) -> Fingerprint:
    return Fingerprint(hashlib.sha256(der).digest())
