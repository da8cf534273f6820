"""Patterns that nobody would write: seeds of ours, cut, doubled and crossed at random, the same each time."""

import random
import re
import time
from collections.abc import Iterator
from contextlib import suppress

from isac.stix.patterns import canonical

SHA256 = "0123456789abcdef" * 4
SEEDS = [
    "[domain-name:value = 'a.example']",
    "[ipv4-addr:value IN ('192.0.2.1', '192.0.2.0/24') OR ipv6-addr:value ISSUBSET '2001:db8::/32']",
    r"[url:value = 'http://example.com/\'a\\'] AND [email-message:from_ref.value = 'clerk@example.com']",
    f"[file:hashes.'SHA-256' = '{SHA256}' AND (file:size > 5 OR file:size <= -7.5)]",
    f"[file:hashes.md5 = '{SHA256[:32]}' OR file:name LIKE 'ballot%.pdf']",
    r"([windows-registry-key:key = 'HKLM\\Run'] FOLLOWEDBY [process:name MATCHES '^a+$']) WITHIN 300 SECONDS",
    "[network-traffic:dst_ref.value = '192.0.2.1'] REPEATS 5 TIMES WITHIN 1800.5 SECONDS",
    "[x:b[*].c NOT = 1 AND x:b[0].'d-e' != true AND NOT EXISTS x:f] OR ([x:g = h'ffd8'] AND [x:h = b'AAEC'])",
    "[a:b = 1] START t'2024-01-01T00:00:00Z' STOP t'2025-01-01T00:00:00.5Z'",
    "[(a:b = 1 OR a:c = 1) AND (a:b = 1 OR a:d = 1) AND a:e NOT IN (1, 2, 3)] // seen twice",
    "[autonomous-system:number = 64500 AND a:b = 'é\u202e\U0001f5f3'] /* of a mail */",
]
_TOKEN = re.compile(r"'[^']*'|[\w-]+|\s+|.", re.S)
_ODD = [
    *("'", "\\", "[", "]", "(", ")", "((((", "))))", " AND ", " OR ", " FOLLOWEDBY ", " NOT ", "[*]", "[-1]", "/*"),
    *("//", "\0", "\n", "\u2028", "\ud800", "007", "1e9", "99999999999999999999.0", "t'", "h'0'", "IN ()", ":", "''"),
    *(".", "EXISTS "),
]
#: seconds of the processor that one pattern may take
MOST = 0.05


def patterns(seed: int) -> Iterator[str]:
    """Endlessly many."""
    rng = random.Random(seed)
    while True:
        text = rng.choice(SEEDS)
        for _ in range(rng.choice([1, 1, 1, 2, 2, 5])):
            text = _changed(rng, text)
        # Longer ones are taken unread, and would be most of all.
        yield text[:5000]


def _changed(rng: random.Random, text: str) -> str:
    tokens = _TOKEN.findall(text) or [""]
    start = rng.randrange(len(tokens))
    end = min(len(tokens), start + rng.randrange(1, 9))
    match rng.randrange(8):
        case 0:
            del tokens[start:end]
        case 1:
            tokens[start:end] *= rng.choice([2, 2, 3, 30])
        case 2:
            tokens[start] = rng.choice(_ODD)
        case 3:
            tokens.insert(start, rng.choice(_ODD))
        case 4:
            other = _TOKEN.findall(rng.choice(SEEDS))
            tokens[start:] = other[rng.randrange(len(other)) :]
        case 5:
            return f"({text}){rng.choice([' AND ', ' OR ', ' FOLLOWEDBY '])}({rng.choice(SEEDS)})"
        case 6:
            inner = text.strip("[]")
            return f"[({inner}){rng.choice([' AND ', ' OR '])}(a:b = {rng.randrange(5)} OR a:c IN (1, 2))]"
        case _:
            rng.shuffle(tokens[start:end])
            place = rng.randrange(len(text) + 1)
            return text[:place] + chr(rng.choice([rng.randrange(128), rng.randrange(0x3000)])) + text[place + 1 :]
    return "".join(tokens)


def seconds(text: str) -> tuple[float, str | None]:
    """Of the processor, for one pattern; and its canonical text. ValueError is an answer too."""
    begun = time.thread_time()
    found = None
    with suppress(ValueError):
        found = canonical(text)
    return time.thread_time() - begun, found
