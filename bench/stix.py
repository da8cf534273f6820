"""Made-up STIX 2.1 for measuring: the same seed gives the same bytes, and every value is a reserved one.

Addresses are of RFC 5737 and RFC 3849, names end in `.example` (RFC 2606), so nothing here can name anybody.
"""

import hashlib
import random
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import orjson

_BEGIN = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
_GREEN = "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb"
_NETWORKS = ("192.0.2", "198.51.100", "203.0.113")
_KINDS = ("anonymization", "benign", "compromised", "malicious-activity", "attribution")
_PHASES = ("reconnaissance", "delivery", "exploitation", "command-and-control", "actions-on-objectives")
_REASONS = (
    "Seen in the log of a mail gateway, where several accounts got the same message within one hour.",
    "Answers for a page that looks like the sign-in of a voter registration portal.",
    "Called by a file that came as an invoice for ballot paper.",
    "Tried names and passwords against the remote access of a county office.",
)
#: one of so many is malware, so that a filter by type has something to leave out
EVERY = 50


def objects(count: int, seed: int, kinds: int = 6) -> Iterator[bytes]:
    """So many objects, each as its bytes: indicators, and one malware in EVERY.

    `kinds` is how many kinds of patterns there are; with 1 they are hashes, which need no reserved values.
    """
    rng = random.Random(seed)
    producer = f"identity--{uuid.UUID(int=rng.getrandbits(128), version=4)}"
    for number in range(count):
        made = _malware(rng, number) if number % EVERY == EVERY - 1 else _indicator(rng, number, seed, kinds)
        yield orjson.dumps({"type": made["type"], "spec_version": "2.1", **_common(rng, number, producer), **made})


def envelope(members: Sequence[bytes]) -> bytes:
    """A TAXII envelope."""
    return b'{"objects":[%b]}' % b",".join(members)


def bundle(members: Sequence[bytes]) -> bytes:
    """A STIX bundle."""
    return b'{"type":"bundle","id":"bundle--%b","objects":[%b]}' % (str(uuid.uuid4()).encode(), b",".join(members))


def _common(rng: random.Random, number: int, producer: str) -> dict[str, object]:
    created = _BEGIN + timedelta(seconds=number)
    return {
        "created_by_ref": producer,
        "created": _text(created),
        "modified": _text(created + timedelta(milliseconds=rng.randrange(1, 900_000))),
        "object_marking_refs": [_GREEN],
    }


def _indicator(rng: random.Random, number: int, seed: int, kinds: int) -> dict[str, object]:
    kind, pattern = _pattern(rng, number, seed, kinds)
    return {
        "type": "indicator",
        "id": f"indicator--{uuid.UUID(int=rng.getrandbits(128), version=4)}",
        "name": f"{kind} {number} of run {seed}",
        "description": rng.choice(_REASONS),
        "indicator_types": [rng.choice(_KINDS)],
        "pattern": pattern,
        "pattern_type": "stix",
        "valid_from": _text(_BEGIN + timedelta(seconds=number)),
        "confidence": rng.randrange(30, 100),
        "kill_chain_phases": [
            {"kill_chain_name": "lockheed-martin-cyber-kill-chain", "phase_name": rng.choice(_PHASES)}
        ],
        "external_references": [
            {
                "source_name": "Example report",
                "url": f"https://reports.example/{seed}/{number}",
                "description": "Where this was first told; made up, like everything in this collection.",
            }
        ],
    }


def _malware(rng: random.Random, number: int) -> dict[str, object]:
    return {
        "type": "malware",
        "id": f"malware--{uuid.UUID(int=rng.getrandbits(128), version=4)}",
        "name": f"Example family {number}",
        "description": rng.choice(_REASONS),
        "malware_types": ["downloader"],
        "is_family": True,
    }


def _pattern(rng: random.Random, number: int, seed: int, kinds: int) -> tuple[str, str]:
    match number % kinds:
        case 0:
            digest = hashlib.sha256(f"{seed}/{number}".encode()).hexdigest()
            return "File", f"[file:hashes.'SHA-256' = '{digest}']"
        case 1:
            path = rng.getrandbits(40)
            return "Page", f"[url:value = 'https://login-{number}.run-{seed}.example/sign-in/{path:x}']"
        case 2:
            return "Address", f"[ipv6-addr:value = '2001:db8:{seed:x}:{number >> 16:x}::{number & 0xFFFF:x}']"
        case 3:
            address = f"{rng.choice(_NETWORKS)}.{rng.randrange(1, 255)}"
            return "Address", f"[ipv4-addr:value = '{address}']"
        case 4:
            return "Sender", f"[email-addr:value = 'clerk-{number}@run-{seed}.example']"
        case _:
            return "Name", f"[domain-name:value = 'host-{number}.run-{seed}.example']"


def _text(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03d}Z"
