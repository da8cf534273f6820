"""The words in which the log's tests speak: the model, the worlds, the stories."""

from dataclasses import dataclass, field
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


@dataclass
class Grant:
    """The decision that an object, with all its versions, is for an audience."""

    key: Key
    audience: str
    #: order of granting: between two producers at the same audience the first is shown
    since: int
    #: versions deleted here (DELETE of one version); a newer release of the version removes it from the list
    without: set[int] = field(default_factory=set)


@dataclass
class Row:
    seq: int
    audience: str
    key: Key
    modified: int
    #: left the default view
    ended_seq: int | None = None
    #: left every view
    shut_seq: int | None = None

    @property
    def seen(self) -> Seen:
        return Seen(self.key.stix_id, self.key.producer, self.modified)


@dataclass
class Notice:
    seq: int
    audience: str
    stix_id: str
    ended_seq: int | None = None
