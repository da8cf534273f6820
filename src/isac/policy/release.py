"""What the release log says of an object: which rows end and which are written (design: «The release log», rules 2 to
6).

Grants are the facts; rows are derived from them by one function, `settle`. Facts are those of one STIX id, of all its
producers: ids of observables name values, so two producers may use one id, and a collection shows one of their objects.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isac.policy.actors import Audience, covers
from isac.stix.markings import TLP


@dataclass(frozen=True, slots=True)
class Version:
    """One (STIX id, producer, modified)."""

    pk: int
    producer: int
    #: nanoseconds since 1970; 0 for what is not versioned
    modified: int
    tlp: TLP
    revoked: bool = False
    #: its validity ended; a newer version brings the object back
    expired: bool = False
    #: nanoseconds since 1970, as `modified`
    created: int | None = None
    #: the organization that handed it in
    publisher: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """The decision that a producer's object is for an audience."""

    #: rises in the order of granting
    ordinal: int
    producer: int
    audience: Audience


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the log that stands in the default view, or (`ended`) in history only. Shut rows are no facts."""

    seq: int
    producer: int
    version: int
    audience: Audience
    ended: bool
    tlp: TLP


@dataclass(frozen=True, slots=True)
class Notice:
    """A note of ours that stands before an audience and says that the object was withdrawn."""

    seq: int
    version: int
    audience: Audience


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of one STIX id."""

    versions: tuple[Version, ...] = ()
    grants: tuple[Grant, ...] = ()
    rows: tuple[Row, ...] = ()
    notices: tuple[Notice, ...] = ()
    #: (version, audience): the version is gone for the audience and the nodes below it
    deletions: frozenset[tuple[int, int]] = frozenset()

    def newest(self, producer: int, audience: Audience) -> Version | None:
        """The producer's newest version that was not deleted for the audience."""
        return max(
            (v for v in self.versions if v.producer == producer and not self.deleted(v.pk, audience)),
            key=lambda v: v.modified,
            default=None,
        )

    def deleted(self, version: int, audience: Audience) -> bool:
        return any((version, node) in self.deletions for node in audience.path)


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one deed writes for one STIX id, in this order: the ends, the notices, the new rows."""

    #: grants that the newest version's TLP forbids
    dropped: tuple[Grant, ...] = ()
    #: (seq, shut): rows that leave the default view, or every view
    leaving: tuple[tuple[int, bool], ...] = ()
    #: notes of ours whose object is back
    notices_ended: tuple[int, ...] = ()
    #: audiences that lost the object, and the TLP it had there
    notices: tuple[tuple[Audience, TLP], ...] = ()
    puts: tuple["Put", ...] = ()


@dataclass(frozen=True, slots=True)
class Put:
    """A new row."""

    version: int
    audience: Audience
    #: history from the start: a late older version
    ended: bool = False


@dataclass(slots=True)
class _Draft:
    facts: Facts
    #: the grants that stay
    grants: list[Grant]
    #: the grants that this deed took away
    lost: list[Grant]
    puts: list[Put] = field(default_factory=list)


def possible(tlp: TLP, audience: Audience) -> bool:
    """May an object of this TLP be given to this audience at all? (FIRST TLP 2.0)

    CLEAR to anybody; GREEN and AMBER to any but the public; AMBER+STRICT to one organization or a group frozen to its
    named members; RED to organizations, named one by one.
    """
    if tlp is TLP.CLEAR:
        return True
    if tlp in (TLP.GREEN, TLP.AMBER):
        return audience.kind != "public"
    if tlp is TLP.AMBER_STRICT:
        return audience.kind == "organization" or (audience.kind == "group" and audience.frozen)
    return audience.kind == "organization"


def settle(
    facts: Facts, lost: Sequence[Grant] = (), history: Sequence[Put] = (), *, every_tlp: bool = False
) -> Settlement:
    """Derive the rows from the facts as the deed left them.

    `lost` are the grants that it took away, `history` the rows of late older versions.

    The newest version's TLP drops, for good, the grants that it forbids; each grant that no other covers has one live
    row, of the newest version, none while that is expired; no other row is live. `every_tlp` is the sandbox's: TLP
    drops nothing.
    """
    draft = _Draft(facts, list(facts.grants), list(lost))
    forbidden = () if every_tlp else tuple(grant for grant in facts.grants if _forbidden(facts, grant))
    draft.lost.extend(forbidden)
    draft.grants = [grant for grant in facts.grants if grant not in forbidden]
    wanted = _wanted(draft)
    live = {(row.version, row.audience.pk) for row in facts.rows if not row.ended}
    draft.puts = [*history, *(put for put in wanted if (put.version, put.audience.pk) not in live)]
    back = [put.audience for put in draft.puts if not put.ended]
    over = [notice for notice in facts.notices if any(reaches(audience, notice.audience) for audience in back)]
    return Settlement(
        dropped=forbidden,
        leaving=(*_leaving(draft, wanted), *((notice.seq, True) for notice in over)),
        notices_ended=tuple(notice.version for notice in over),
        notices=tuple(_notices(draft)),
        puts=tuple(draft.puts),
    )


def winner(grants: Iterable[Grant], audience: Audience) -> Grant | None:
    """The one grant that shows the object to an audience: the widest on its path, of equals the first."""
    above = [grant for grant in grants if reaches(grant.audience, audience)]
    return min(above, key=lambda grant: (len(grant.audience.path), grant.ordinal), default=None)


def reaches(wide: Audience, narrow: Audience) -> bool:
    """Is what is given to the one given to the other, too?"""
    return wide.pk == narrow.pk or covers(wide, narrow)


def _forbidden(facts: Facts, grant: Grant) -> bool:
    newest = facts.newest(grant.producer, grant.audience)
    return newest is not None and not possible(newest.tlp, grant.audience)


def _wanted(draft: _Draft) -> list[Put]:
    """The live rows that should be: one for each grant that no other covers."""
    wanted = []
    for grant in draft.grants:
        newest = draft.facts.newest(grant.producer, grant.audience)
        if winner(draft.grants, grant.audience) is grant and newest and not newest.expired:
            wanted.append(Put(newest.pk, grant.audience))
    return wanted


def _leaving(draft: _Draft, wanted: Iterable[Put]) -> list[tuple[int, bool]]:
    """The rows that go, and whether history loses them too."""
    keep = {(put.version, put.audience.pk) for put in wanted}
    leaving = []
    for row in draft.facts.rows:
        if _shut(draft, row):
            leaving.append((row.seq, True))
        elif not row.ended and (row.version, row.audience.pk) not in keep:
            leaving.append((row.seq, False))
    return leaving


def _shut(draft: _Draft, row: Row) -> bool:
    shows = winner(draft.grants, row.audience)
    if shows is None or shows.producer != row.producer:
        return True  # nobody's any more, or another producer's object is shown instead
    own = [grant for grant in draft.grants if (grant.producer, grant.audience.pk) == (row.producer, row.audience.pk)]
    if not own and any((grant.producer, grant.audience.pk) == (row.producer, row.audience.pk) for grant in draft.lost):
        return True  # the audience lost its grant
    if draft.facts.deleted(row.version, row.audience):
        return True
    # The same version stands wider, or comes again: a view shows a version once.
    return any(put.version == row.version and reaches(put.audience, row.audience) for put in draft.puts) or any(
        other.version == row.version and covers(other.audience, row.audience) for other in draft.facts.rows
    )


def _notices(draft: _Draft) -> list[tuple[Audience, TLP]]:
    """One for each audience that lost the object and is not given it by another grant."""
    noticed: dict[int, tuple[Audience, TLP]] = {}
    for grant in draft.lost:
        audience = grant.audience
        if winner(draft.grants, audience) is None and audience.pk not in noticed:
            stood = [row for row in draft.facts.rows if row.audience.pk == audience.pk]
            tlp = max(stood, key=lambda row: row.seq).tlp if stood else TLP.CLEAR
            noticed[audience.pk] = (audience, tlp)
    return list(noticed.values())
