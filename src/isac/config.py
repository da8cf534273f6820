"""Settings: ISAC_* in the environment, read once, frozen. `docs/settings.md` lists every one."""

import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from isac.errors import Invalid

_PREFIX = "ISAC_"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may set; every setting has a default, so that `isac serve` runs with none."""

    # Empty: PostgreSQL out of the wheel, for trying and testing. Production names its own, ≥ 16.
    database_url: str = ""

    # Where the embedded PostgreSQL keeps its data: beside where one works, so that two checkouts do not meet.
    home: Path = Path("var")

    # Loopback, because without a certificate TLS is the reverse proxy's.
    host: str = "127.0.0.1"

    port: Annotated[int, Meta(ge=0, le=65535)] = 8000

    # Empty: no TLS, for a reverse proxy has it.
    tls_certificate: str = ""

    # Empty: the key stands in the certificate's file.
    tls_key: str = ""

    # Empty: no client is asked for a certificate, since a key is enough.
    tls_client_ca: str = ""

    # Whose X-Forwarded-For is believed: a proxy on this machine, and nobody from elsewhere.
    trusted_proxies: str = "127.0.0.1"

    # Empty: none is believed, since only a proxy that sets the header itself may be.
    client_certificate_header: str = ""

    # One worker serves 1,150 members that poll every minute many times over; more use more cores.
    workers: Annotated[int, Meta(ge=1, le=64)] = 1

    # Of a POST body, in octets (TAXII 2.1 §4.2.1): an ATT&CK bundle has 50 MB.
    max_content_length: Annotated[int, Meta(gt=0)] = 100 * 1024 * 1024

    # Empty: the definitions that come with the program.
    feeds: str = ""

    # Feeds are read and what is over ends, in a process beside the server's; off where `isac worker` runs elsewhere.
    jobs: bool = True

    # Private networks that feeds may be fetched from, separated by commas: none, since names may lead anywhere.
    outbound_allow: str = ""

    # Empty: connections go out directly.
    outbound_proxy: str = ""

    # Empty: the system's authorities alone.
    outbound_ca: str = ""

    # How long payloads are kept as they came; 0: for ever, as a legal hold asks.
    archive_days: Annotated[int, Meta(ge=0, le=36_500)] = 400

    # May whoever has no key read the public collection? An operator has to want that.
    public_collection: bool = False


def settings() -> Settings:
    """What the environment says. Raises Invalid for a value that cannot be."""
    names = {_PREFIX + field.upper(): field for field in Settings.__struct_fields__}
    given = {field: os.environ[name] for name, field in names.items() if name in os.environ}
    try:
        return msgspec.convert(given, Settings, strict=False, dec_hook=_other)
    except msgspec.ValidationError as error:
        # «Expected `int`, got `str` - at `$.port`»
        wanted, _, place = str(error).partition(" - at `$.")
        field = place.rstrip("`")
        name = _PREFIX + field.upper()
        raise Invalid(f"{name} is {given[field]!r}: {wanted}. See docs/settings.md.") from error


def environment(database_url: str) -> dict[str, str]:
    """That of a child that works on the same database."""
    return os.environ | {f"{_PREFIX}DATABASE_URL": database_url}


def secret(name: str) -> str | None:
    """The value of a variable that a feed's definition names."""
    return os.environ.get(name)


def _other(kind: type, value: Any) -> Any:
    """What msgspec does not know by itself: paths."""
    return kind(value)
