"""The words in which the log's tests speak: of the model, of the worlds, of the stories."""

from typing import Literal, NamedTuple

Tlp = Literal["clear", "green", "amber", "amber+strict", "red"]
Verdict = Literal["accept", "hold", "refuse"]

#: the ISAC: the producer of objects «of ours», and the one poster who may release everywhere («free»)
ISAC = "isac"
#: what the ISAC reads by itself: may release everywhere, too, but decides nothing
FEED = "feed"
#: before an audience's name: somebody who hands in there, and neither below nor as a decision
CLERK = "clerk of "


class Key(NamedTuple):
    """An object: one STIX id of one producer (F17)."""

    stix_id: str
    producer: str


class Version(NamedTuple):
    modified: int
    tlp: Tlp
    revoked: bool = False


class Seen(NamedTuple):
    """A version of an object as a reader meets it."""

    stix_id: str
    producer: str
    modified: int


class Line(NamedTuple):
    """A line of a collection as a poller meets it: an object's version, or a notice (producer empty, modified 0)."""

    kind: Literal["object", "notice"]
    stix_id: str
    producer: str = ""
    modified: int = 0
