"""The only clock, and the text forms of STIX and TAXII time (STIX 2.1 §2.16, TAXII 2.1 §2)."""

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+\- ])(\d\d):?(\d\d))", re.ASCII
)


def now() -> datetime:
    """The present instant, aware, UTC."""
    return datetime.now(UTC)


def taxii(instant: datetime) -> str:
    """TAXII timestamp: exactly six decimals and Z."""
    utc = (
        instant if instant.tzinfo is UTC else instant.astimezone(UTC)
    )  # which most are, and this is asked all the time
    return utc.isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"


def stix(instant: datetime) -> str:
    """STIX timestamp as we write it ourselves: three decimals and Z."""
    utc = instant.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


def read(text: str) -> datetime:
    """Any RFC 3339 instant, with Z or an offset and any number of decimals, cut down to microseconds.

    A blank in place of the offset's sign is read as `+`, which is what a query string makes of it. A leap second is the
    last microsecond of its minute. Raises ValueError for anything else, naive times included.
    """
    found = _RFC3339.fullmatch(text)
    if not found:
        raise ValueError(f"not an RFC 3339 timestamp: {text[:40]!r}")
    year, month, day, hour, minute, second, fraction, zulu, sign, off_hours, off_minutes = found.groups()
    micro = int((fraction or "")[:6].ljust(6, "0"))
    if second == "60":
        second, micro = "59", 999_999
    instant = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), micro, tzinfo=UTC)
    if not zulu:
        if int(off_hours) > 23 or int(off_minutes) > 59:
            raise ValueError(f"not an RFC 3339 timestamp: {text[:40]!r}")
        offset = timedelta(hours=int(off_hours), minutes=int(off_minutes))
        try:
            instant = instant + offset if sign == "-" else instant - offset
        except OverflowError as error:
            raise ValueError(f"beyond the years 1 to 9999: {text[:40]!r}") from error
    return instant


def from_nanoseconds(nanoseconds: int) -> datetime:
    """The instant that many nanoseconds after 1970, cut down to microseconds."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def not_before(nanoseconds: int) -> datetime:
    """The first instant that is not before so many nanoseconds after 1970."""
    return from_nanoseconds(nanoseconds + 999)


def nanoseconds(instant: datetime) -> int:
    """Nanoseconds since 1970."""
    return (instant - _EPOCH) // timedelta(microseconds=1) * 1000
