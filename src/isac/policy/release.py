"""What the release log says of an object: which rows end and which are written (the log's rules 2 to 6).

Grants are the facts; rows are derived from them by one function, `settle`. Facts are those of one STIX id, of all its
producers: ids of observables name values, so two producers may use one id, and a collection shows one of their objects.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from isac.policy.actors import NODES, Audience, covers
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
    #: deleted wherever it stood: as if it had never come, and it may come again
    deleted: bool = False
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
    #: versions that were deleted here
    without: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A newer version that is held: its marking rules already, for taking away never waits."""

    producer: int
    modified: int
    tlp: TLP


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased under an id, and does not come in again: these versions of this producer, and these bytes."""

    #: None: everybody's
    producer: int | None
    #: None: every version
    modified: int | None
    #: SHA-256 of each object's bytes
    digests: frozenset[bytes]


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


class Put(NamedTuple):
    """A new row. A tuple, for an import makes one of each object."""

    version: int
    audience: Audience
    #: history from the start: a late older version
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of one STIX id."""

    versions: tuple[Version, ...] = ()
    grants: tuple[Grant, ...] = ()
    rows: tuple[Row, ...] = ()
    notices: tuple[Notice, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    erased: tuple[Erased, ...] = ()

    def of(self, producer: int) -> tuple[Grant, ...]:
        """The producer's grants."""
        return tuple(grant for grant in self.grants if grant.producer == producer)

    def granted(self, producer: int, audience: Audience) -> Grant | None:
        """The producer's grant at exactly this audience."""
        return next((grant for grant in self.of(producer) if grant.audience.pk == audience.pk), None)

    def newest_at(self, grant: Grant) -> Version | None:
        """The newest version that was not deleted at this grant."""
        there = [v for v in self.versions if v.producer == grant.producer and not (v.deleted or v.pk in grant.without)]
        return max(there, key=_modified, default=None)

    def newest(self, producer: int) -> Version | None:
        """The newest version that some grant gives; of an object without grants the newest that is stored."""
        given = [newest for grant in self.of(producer) if (newest := self.newest_at(grant)) is not None]
        stored = [v for v in self.versions if v.producer == producer and not v.deleted]
        return max(given or stored, key=_modified, default=None)

    def overtaken(self) -> tuple[Waiting, ...]:
        """What waits no more: a version at least as new is stored, or the object was deleted."""
        newest = {waiting.producer: self.newest(waiting.producer) for waiting in self.waiting}
        return tuple(w for w in self.waiting if (v := newest[w.producer]) is None or v.modified >= w.modified)

    def stands(self, version: int, audience: Audience) -> bool:
        """Does the audience meet this version, be it as history?"""
        return any(row.version == version and reaches(row.audience, audience) for row in self.rows)


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
    puts: tuple[Put, ...] = ()


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


def permitted(facts: Facts, grant: Grant) -> bool:
    """Does the TLP of the grant's newest version, and of a newer one that is held, let the grant stand?"""
    newest = facts.newest_at(grant)
    since = newest.modified if newest else 0
    held = [w for w in facts.waiting if w.producer == grant.producer and w.modified > since]
    ruling = [newest.tlp] if newest else []
    if held:
        ruling.append(max(held, key=lambda waiting: waiting.modified).tlp)
    return all(possible(tlp, grant.audience) for tlp in ruling)


def new_grant(facts: Facts, ordinal: int, producer: int, audience: Audience, wanted: int | None = None) -> Grant:
    """A grant to add; it lacks what a grant above it lacks, but not the version that is wanted there."""
    lacking = frozenset[int]().union(*(g.without for g in facts.of(producer) if covers(g.audience, audience)))
    return Grant(ordinal, producer, audience, lacking - {wanted})


def winner(grants: Iterable[Grant], audience: Audience) -> Grant | None:
    """The one grant that shows the object to an audience: the widest on its path, of equals the first."""
    above = [grant for grant in grants if reaches(grant.audience, audience)]
    return min(above, key=lambda grant: (len(grant.audience.path), grant.ordinal), default=None)


def reaches(wide: Audience, narrow: Audience) -> bool:
    """Is what is given to the one given to the other, too?"""
    return wide.pk == narrow.pk or covers(wide, narrow)


def is_narrower(narrow: Audience, wide: Audience) -> bool:
    """Would it give to fewer: a node below, a group or an organization instead of a node, one of a group?"""
    if wide.kind in NODES:
        return covers(wide, narrow) or narrow.kind not in NODES
    return wide.kind == "group" and narrow.kind == "organization"


def settle(
    facts: Facts,
    lost: Sequence[Grant] = (),
    history: Sequence[Put] = (),
    deleted: Sequence[tuple[int, Audience]] = (),
    *,
    every_tlp: bool = False,
) -> Settlement:
    """Derive the rows from the facts as the deed left them.

    `lost` are the grants that it took away, `history` the rows of late older versions, `deleted` the versions that are
    gone at an audience and below. The newest version's TLP drops, for good, the grants that it forbids; each grant that
    no other covers has one live row, of the newest version, none while that is expired; no other row is live.
    `every_tlp` is the sandbox's: TLP drops nothing.
    """
    forbidden = () if every_tlp else tuple(grant for grant in facts.grants if not permitted(facts, grant))
    grants = tuple(grant for grant in facts.grants if grant not in forbidden)
    wanted = _wanted(facts, grants)
    live = {(row.version, row.audience.pk) for row in facts.rows if not row.ended}
    puts = [put for put in wanted if (put.version, put.audience.pk) not in live]
    late = [put for put in history if _has_place(put, facts, grants, puts)]
    over = [notice for notice in facts.notices if winner(grants, notice.audience)]
    return Settlement(
        dropped=forbidden,
        leaving=(
            *_leaving(facts, grants, wanted, [*puts, *late], [*lost, *forbidden], deleted),
            *((notice.seq, True) for notice in over),
        ),
        notices_ended=tuple(notice.version for notice in over),
        notices=tuple(_notices(facts, grants, [*lost, *forbidden])),
        puts=(*puts, *late),
    )


def _has_place(late: Put, facts: Facts, grants: Sequence[Grant], puts: Iterable[Put]) -> bool:
    """May a late older version stand as history: its producer is shown there, and it does not stand or come live?"""
    shows = winner(grants, late.audience)
    producer = next(version.producer for version in facts.versions if version.pk == late.version)
    coming = any(put.version == late.version and reaches(put.audience, late.audience) for put in puts)
    return (
        shows is not None
        and shows.producer == producer
        and not coming
        and not facts.stands(late.version, late.audience)
    )


def _wanted(facts: Facts, grants: Sequence[Grant]) -> list[Put]:
    """The live rows that should be: one for each grant that no other covers."""
    wanted = []
    for grant in grants:
        newest = facts.newest_at(grant)
        if winner(grants, grant.audience) is grant and newest and not newest.expired:
            wanted.append(Put(newest.pk, grant.audience))
    return wanted


def _leaving(
    facts: Facts,
    grants: Sequence[Grant],
    wanted: Iterable[Put],
    new: Sequence[Put],
    lost: Sequence[Grant],
    deleted: Sequence[tuple[int, Audience]],
) -> list[tuple[int, bool]]:
    """The rows that go, and whether history loses them too."""
    keep = {(put.version, put.audience.pk) for put in wanted}
    gone = [row for row in facts.rows if _lost(row, grants, lost, deleted) or _comes_again(row, new)]
    staying = [row for row in facts.rows if row not in gone]
    leaving = [(row.seq, True) for row in gone]
    for row in staying:
        if any(other.version == row.version and covers(other.audience, row.audience) for other in staying):
            leaving.append((row.seq, True))  # the same version stands wider: a view shows it once
        elif not row.ended and (row.version, row.audience.pk) not in keep:
            leaving.append((row.seq, False))
    return leaving


def _lost(row: Row, grants: Sequence[Grant], lost: Iterable[Grant], deleted: Iterable[tuple[int, Audience]]) -> bool:
    """Did the audience lose its grant, or is nobody's grant left, is another producer's shown there, is it deleted?"""
    shows = winner(grants, row.audience)
    if shows is None or shows.producer != row.producer:
        return True
    if any((grant.producer, grant.audience.pk) == (row.producer, row.audience.pk) for grant in lost):
        return True
    return any(version == row.version and reaches(audience, row.audience) for version, audience in deleted)


def _comes_again(row: Row, new: Iterable[Put]) -> bool:
    return any(put.version == row.version and reaches(put.audience, row.audience) for put in new)


def _notices(facts: Facts, grants: Sequence[Grant], lost: Iterable[Grant]) -> list[tuple[Audience, TLP]]:
    """One for each audience that lost the object and is not given it by another grant."""
    noticed: dict[int, tuple[Audience, TLP]] = {}
    for grant in lost:
        audience = grant.audience
        if winner(grants, audience) is None and audience.pk not in noticed:
            stood = [row for row in facts.rows if row.audience.pk == audience.pk]
            tlp = max(stood, key=lambda row: row.seq).tlp if stood else TLP.CLEAR
            noticed[audience.pk] = (audience, tlp)
    return list(noticed.values())


def _modified(version: Version) -> int:
    return version.modified


# ------------------------------------------------------------------------------- facts, as a deed changes them


def ungranted(facts: Facts, lost: Sequence[Grant]) -> Facts:
    """The facts after these grants were taken."""
    taken = {(grant.producer, grant.audience.pk) for grant in lost}
    return replace(facts, grants=tuple(g for g in facts.grants if (g.producer, g.audience.pk) not in taken))


def deleted_versions(
    facts: Facts, gone: Sequence[Version], audience: Audience, stood: Iterable[tuple[int, int]]
) -> tuple[Facts, list[Grant]]:
    """The facts after these versions of one producer were deleted at an audience, and the grants that go with them.

    Where the newest goes, the next older returns if it had stood at that grant's audience; `stood` are all (version,
    audience) of rows, shut ones too. A grant at which no older version had stood is lost.
    """
    pks, had = {version.pk for version in gone}, set(stood)
    producer = gone[0].producer
    kept: list[Grant] = []
    lost: list[Grant] = []
    for grant in facts.grants:
        if grant.producer != producer or not reaches(audience, grant.audience):
            kept.append(grant)
            continue
        before = facts.newest_at(grant)
        after = replace(grant, without=grant.without | pks)
        while before and before.pk in pks and (newest := facts.newest_at(after)):
            if (newest.pk, grant.audience.pk) in had:
                break
            after = replace(after, without=after.without | {newest.pk})
        (kept if facts.newest_at(after) else lost).append(after)
    return forgotten(replace(facts, grants=tuple(kept)), producer), lost


def forgotten(facts: Facts, producer: int, *, relayed: bool = False) -> Facts:
    """Versions that were deleted at every grant count as never received, but for a revocation, which is for ever.

    Not one that was only `relayed`: nobody here can say that it is its producer's, and a false one blocks the id.
    """
    grants = facts.of(producer)
    versions = tuple(
        replace(v, deleted=True)
        if v.producer == producer and (relayed or not v.revoked) and all(v.pk in grant.without for grant in grants)
        else v
        for v in facts.versions
    )
    return replace(facts, versions=versions)


def returned(facts: Facts, version: int, audience: Audience) -> Facts:
    """A version that was deleted at an audience comes again: it is back there and below."""
    grants = tuple(
        replace(g, without=g.without - {version}) if reaches(audience, g.audience) else g for g in facts.grants
    )
    return replace(facts, grants=grants)


def remembered(facts: Facts, version: Version, *, live: bool, audience: Audience | None = None) -> Facts:
    """A version enters, new or come again: live at all grants, or as history, which no grant falls forward to."""
    known = replace(version, deleted=False)
    versions = (*(v for v in facts.versions if v.pk != version.pk), known)
    grants = []
    for grant in facts.grants:
        without = grant.without
        if grant.producer == version.producer:
            newest = facts.newest_at(grant)
            if live or (
                audience and reaches(grant.audience, audience) and newest and newest.modified > version.modified
            ):
                without = without - {version.pk}
            elif not live and newest and newest.modified < version.modified:
                without = without | {version.pk}
        grants.append(replace(grant, without=without) if without != grant.without else grant)
    return replace(facts, versions=versions, grants=tuple(grants))


def without(facts: Facts, gone: Sequence[Version], stood: Sequence[tuple[int, int]]) -> tuple[Facts, list[Grant]]:
    """The facts as if these versions had never been, wherever they stood, and the grants that go with them.

    Where the newest goes, the next older returns if it had stood there (`stood`), as where it is deleted.
    """
    lost: list[Grant] = []
    for producer in {version.producer for version in gone}:
        own = [version for version in gone if version.producer == producer]
        for grant in facts.of(producer):
            facts, more = deleted_versions(facts, own, grant.audience, stood)
            lost += more
    pks = {version.pk for version in gone}
    versions = tuple(version for version in facts.versions if version.pk not in pks)
    return replace(facts, versions=versions, rows=tuple(row for row in facts.rows if row.version not in pks)), lost


def moved(facts: Facts, grant: Grant, audience: Audience) -> Facts:
    """The facts with a grant copied to the node that its own was merged into; a grant there stays as it is."""
    if facts.granted(grant.producer, audience) is not None:
        return facts
    return replace(facts, grants=(*facts.grants, replace(grant, audience=audience)))
