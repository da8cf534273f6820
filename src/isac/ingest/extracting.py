"""What stands in a text for people, and what to look at before any of it is handed in. Nothing is stored.

Nothing is held for any of this yet.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from isac.formats import documents, prose
from isac.formats.prose import Mention
from isac.policy import privacy, values
from isac.policy.values import Facts
from isac.stix.observables import Observable
from isac.store import warninglists
from isac.store.database import Connection

#: values that the lists are asked for at once
_PORTION = 2000
#: mail addresses that are no private ones, since the text means them as indicators
_MOST_SPARED = 100


@dataclass(frozen=True, slots=True)
class Extract:
    """What was found in a text."""

    mentions: Sequence[Mention]
    #: what looks like somebody's own, masked
    personal: Sequence[privacy.Finding]

    @property
    def taken(self) -> list[Observable]:
        return [each.observable for each in self.mentions if each.observable and not each.reason]


def read(content: bytes) -> Extract:
    """Raises Invalid if it is no text for people, or a list of very many values."""
    mentions = prose.read(content)
    found = Extract(mentions, ())
    mails = islice((each for each in found.taken if each.kind == "email-addr"), _MOST_SPARED)
    text = "\n".join(line.text for line in documents.read(content).lines if not line.closed)
    return Extract(mentions, privacy.in_text(text, "text", tuple(mails)))


async def remarks(conn: Connection | None, taken: Sequence[Observable]) -> dict[Observable, list[values.Finding]]:
    """What the rules for values say of each, those left out of which they say nothing.

    Without a connection only what a value is by itself, and not what lists say.
    """
    found: dict[Observable, list[values.Finding]] = {}
    for start in range(0, len(taken), _PORTION):
        some = taken[start : start + _PORTION]
        facts = Facts(listed=await warninglists.listed(conn, some)) if conn else Facts()
        found |= await asyncio.to_thread(_said, some, facts)
    return found


def _said(some: Sequence[Observable], facts: Facts) -> dict[Observable, list[values.Finding]]:
    return {value: said for value in some if (said := values.of_value(value, facts))}


def lines(extract: Extract, said: dict[Observable, list[values.Finding]], name: str) -> Iterator[str]:
    """All of it for whoever decides."""
    notes = {value: [each.reason for each in findings] for value, findings in said.items()}
    yield from prose.preview(name, extract.mentions, notes)
    if extract.personal:
        yield "personal data, so it seems: take it out before you hand this in or pass it on"
        for each in extract.personal:
            yield f"  {privacy.KINDS[each.kind]}  ({each.shown})"
