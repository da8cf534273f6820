"""Settings: ISAC_* in the environment, read once, frozen. `docs/settings.md` lists every one."""

import dataclasses
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isac.errors import Invalid

_PREFIX = "ISAC_"


def _whole(default: int, least: int, most: int) -> Any:
    """A whole number within these bounds."""
    return dataclasses.field(default=default, metadata={"bounds": (least, most)})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator may set; every setting has a default, so that `isac serve` runs with none."""

    # Empty: PostgreSQL out of the wheel, for trying and testing. Production names its own, ≥ 16.
    database_url: str = ""

    # Where the embedded PostgreSQL keeps its data: beside where one works, so that two checkouts do not meet.
    home: Path = Path("var")

    # Loopback, because without a certificate TLS is the reverse proxy's.
    host: str = "127.0.0.1"

    port: int = _whole(8000, 0, 65_535)

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
    workers: int = _whole(1, 1, 64)

    # Of a POST body, in octets (TAXII 2.1 §4.2.1): an ATT&CK bundle has 50 MB. Bodies are held in memory; an object of
    # a gigabyte would be more than PostgreSQL takes.
    max_content_length: int = _whole(100 * 1024 * 1024, 1, 1024 * 1024 * 1024)

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
    archive_days: int = _whole(400, 0, 36_500)

    # Empty: none; only `isac submit` has one. Never shown.
    key: str = dataclasses.field(default="", repr=False)

    # Empty: the key stands in the variable itself.
    key_file: str = ""

    # May whoever has no key read the public collection? An operator has to want that.
    public_collection: bool = False


def settings() -> Settings:
    """What the environment says. Raises Invalid for a value that cannot be."""
    given = {}
    for field in dataclasses.fields(Settings):
        name = _PREFIX + field.name.upper()
        if name in os.environ:
            given[field.name] = _read(name, os.environ[name], field)
    return Settings(**given)


def environment(database_url: str) -> dict[str, str]:
    """That of a child that works on the same database."""
    return os.environ | {f"{_PREFIX}DATABASE_URL": database_url}


def secret(name: str) -> str | None:
    """The value of a variable that a feed's definition names."""
    return os.environ.get(name)


def _read(name: str, text: str, field: dataclasses.Field[Any]) -> Any:
    if field.type is bool:
        return _yes_or_no(name, text)
    if field.type is int:
        return _number(name, text, *field.metadata["bounds"])
    return Path(text) if field.type is Path else text


_WORDS = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)


def _yes_or_no(name: str, text: str) -> bool:
    found = _WORDS.get(text.strip().lower())
    if found is None:
        raise Invalid(f"{name} is {text!r}, and has to be 1 or 0, for yes or no. See docs/settings.md.")
    return found


def _number(name: str, text: str, least: int, most: int) -> int:
    # No more digits than any bound has: Python refuses to read thousands.
    if not re.fullmatch(r"[0-9]{1,15}", text.strip(), re.ASCII) or not least <= int(text) <= most:
        raise Invalid(
            f"{name} is {text[:40]!r}, and has to be a whole number from {least} to {most}. See docs/settings.md."
        )
    return int(text)
