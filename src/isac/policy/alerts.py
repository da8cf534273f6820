"""What a member is told when something names an asset of its, in words for a county clerk, and what it is never told.

An object that the member may read is named with its id, its source and its audience. Of any other, held or released
elsewhere, the member learns that a value names its asset, which value and when; not whose it is, not its text, not even
its id. Where the marking is AMBER+STRICT or RED, not the value either: those are for named recipients.
"""

from dataclasses import dataclass
from datetime import datetime

from isac.policy.lookalikes import KINDS as LOOKALIKES
from isac.stix.markings import TLP

#: how a value concerns an asset → in words, with {value} and {asset}
HOW = {
    "same": "{value} is your {asset}",
    "below": "{value} is a host below your {asset}",
    "above": "{value} is the domain above your {asset}",
    "url": "{value} is the address of a page on your {asset}",
    "mail": "{value} is a mail address on your {asset}",
    "inside": "{value} lies in your {asset}",
    "around": "{value} is a network that holds your {asset}",
    "named": "{value} is a weakness that names your {asset}",
    "ending": "{value} has the name of your {asset} with another ending",
    "hyphen": "{value} differs from your {asset} in hyphens only",
    "letters": "{value} is written with letters that look like those of your {asset}",
    "dots": "{value} has the name of your {asset} with its dots left out",
    "typo": "{value} differs from your {asset} by one typo",
    "words": "{value} has the name of your {asset} with words around it",
    "host": "{value} has your {asset} as a host of somebody else's domain",
}

_OURS = (
    "It may have been broken into or be misused, or it was named by mistake.",
    "Look at its logs around that time. If it is yours and clean, tell the ISAC at once: others may be blocking it.",
)
_AROUND = (
    "Who blocks it blocks you as well.",
    "Tell the ISAC at once that it holds something of yours.",
)
_NAMED = (
    "It may be open to attack where you use it.",
    "Ask who looks after it whether your version is affected, and do what its vendor says.",
)
_LOOKALIKE = (
    "Somebody may pass it off as yours, to your voters or to your staff. It may also be somebody else's by chance.",
    "Do not open it. Look for it in the logs of mail and web, warn your staff, and tell the ISAC if it is misused.",
)
_GUIDES = {"named": _NAMED, "above": _AROUND, "around": _AROUND, **dict.fromkeys(LOOKALIKES, _LOOKALIKE)}


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert, as its organization may read it."""

    #: UUIDv4
    id: str
    #: code of the organization whose it is
    organization: str
    at: datetime
    #: kind and value of the asset
    about_kind: str
    about: str
    #: one of HOW
    how: str
    #: of the value that names it
    kind: str
    #: None: it is for named recipients
    value: str | None
    #: type, id and source of the object, and the code of its audience; None where the organization may not read it
    type: str | None
    stix_id: str | None
    source: str | None
    audience: str | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    note: str | None


def shows_value(tlp: TLP) -> bool:
    """May who cannot read the object know which value of it names its asset?"""
    return tlp < TLP.AMBER_STRICT


def told(alert: Alert) -> tuple[str, str, str]:
    """What happened, what it may mean, and what to do first."""
    value = alert.value or f"A value ({alert.kind})"
    happened = HOW[alert.how].format(value=value, asset=f"{alert.about_kind} {alert.about}")
    if alert.stix_id is None:
        named = "Something that the ISAC received, and that is not for you to read, names it."
    else:
        of = f" of {alert.source}" if alert.source else ""
        named = (
            f"It is named by {_article(alert.type or '')}{of} that was released to {alert.audience}: {alert.stix_id}."
        )
    means, first = _GUIDES.get(alert.how, _OURS)
    return f"{happened}. {named}", means, first


def _article(kind: str) -> str:
    return f"an {kind}" if kind[:1] in "aeiou" else f"a {kind}"
