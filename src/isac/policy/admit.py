"""Whether a version may enter, given what is known of its id: new, newer, late, known, or not its poster's to publish.

STIX 2.1 §3.6 (only the creator makes versions) and the release log's rule 4: versions move together; giving may wait
for an analyst, taking away never does.
"""

import enum
from dataclasses import dataclass
from datetime import datetime

from isac.policy.actors import Actor, Audience, Role, may_read, may_release
from isac.policy.release import Facts, Grant, Version, possible, reaches, winner
from isac.stix.markings import TLP


@dataclass(frozen=True, slots=True)
class Arrival:
    """One version on its way in: what the log keeps of it."""

    stix_id: str
    type: str
    #: STIX id of its creator; its poster's own where it names none
    producer: str
    #: it names no creator
    anonymous: bool
    #: nanoseconds since 1970; 0 for what has neither modified nor created
    modified: int
    created: int | None
    #: the text of `modified`, else of `created`
    version: str | None
    tlp: TLP
    revoked: bool
    valid_until: datetime | None
    raw: bytes


@dataclass(frozen=True, slots=True)
class Poster:
    """Who hands an object in, and for whom it speaks."""

    actor: Actor
    #: the identities as which it may publish, as database keys of producers: its own, a steward the ISAC's, too
    producers: frozenset[int]
    #: the organizations behind them
    organizations: frozenset[int]
    #: the sandbox's: no ownership, no TLP gate, nothing waits
    free: bool = False

    def may_release(self, audience: Audience) -> bool:
        return self.free or may_release(self.actor, audience)

    def may_see(self, grants: tuple[Grant, ...]) -> bool:
        return self.free or any(may_read(self.actor.scope, grant.audience) for grant in grants)


class Move(enum.Enum):
    """What becomes of a version."""

    #: stored; goes to all the object's grants, and to the audience it was posted to
    RELEASE = "release"
    #: stored as history only
    HISTORY = "history"
    #: known already; the audience it was posted to gets a grant
    GRANT = "grant"
    #: known already, and the audience has it
    REPEAT = "repeat"
    HOLD = "hold"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Admission:
    """The verdict on one arrival."""

    move: Move
    #: the hold's rule, short and fixed
    rule: str = ""
    #: what the poster may read
    reason: str = ""
    #: of a known version, its database key
    version: int | None = None
    #: grants that a stricter marking takes away at once, though the version itself waits
    drops: tuple[Grant, ...] = ()


_REVIEW = Admission(Move.HOLD, "review", "An analyst has to look at this object before it can be released.")


def admit(
    arrival: Arrival,
    producer: int,
    facts: Facts,
    audience: Audience,
    poster: Poster,
    *,
    member: bool,
    same: bool | None,
) -> Admission:
    """Judge one arrival for an audience.

    `producer` is the database key of the arrival's creator, `member` whether that is another of our organizations,
    `same` whether the stored version with this `modified` is identical (None: there is none). What the poster may not
    see is never told: where the true answer would tell, the version is held for review.
    """
    known = next((v for v in facts.versions if v.producer == producer and v.modified == arrival.modified), None)
    grants = tuple(grant for grant in facts.grants if grant.producer == producer)
    told = poster.may_see(grants)
    if known and same:
        return _again(known, facts, grants, audience, poster, held=member and not poster.free)
    if member and not poster.free:
        return Admission(
            Move.HOLD, "creator", "created_by_ref names another organization of this ISAC; it has to confirm."
        )
    if not poster.free and not possible(arrival.tlp, audience):
        return Admission(
            Move.HOLD,
            "tlp",
            f"TLP:{str(arrival.tlp).upper()} may not go to this collection; name its recipients instead.",
        )
    if known:
        own = producer in poster.producers or known.publisher == poster.actor.organization
        if not own or not told:
            return _REVIEW
        return Admission(
            Move.REFUSE,
            reason="Other content is already stored under this id and modified; a change needs a later modified.",
        )
    newest = facts.newest(producer, audience)
    if newest is None:
        return _first(arrival, producer, facts, poster)
    if newest.created != arrival.created:
        reason = "created differs from that of the stored versions; it never changes (STIX 2.1 §3.6)."
        return Admission(Move.REFUSE, reason=reason) if told else _REVIEW
    if arrival.modified < newest.modified:
        return _late(grants, audience)
    if newest.revoked:
        reason = "This object is revoked; nothing newer can be published under its id. Use a new id."
        return Admission(Move.REFUSE, reason=reason) if told else _REVIEW
    return _newer(arrival, newest, grants, poster, own=producer in poster.producers)


def _again(
    known: Version, facts: Facts, grants: tuple[Grant, ...], audience: Audience, poster: Poster, *, held: bool
) -> Admission:
    """The very same version once more: for a further audience a request for a grant."""
    newest = facts.newest(known.producer, audience)
    stands = any(row.version == known.pk and reaches(row.audience, audience) for row in facts.rows)
    granted = any(grant.audience.pk == audience.pk for grant in grants)
    older = newest is not None and newest.modified > known.modified
    if not facts.deleted(known.pk, audience) and (stands if older else granted):
        return Admission(Move.REPEAT, version=known.pk)
    if held:
        return Admission(
            Move.HOLD, "creator", "created_by_ref names another organization of this ISAC; it has to confirm."
        )
    if older:
        return _late(grants, audience, known.pk)
    if not poster.free and not possible(known.tlp, audience):
        return Admission(Move.HOLD, "tlp", f"TLP:{str(known.tlp).upper()} may not go to this collection.")
    if not poster.may_release(audience):
        return _REVIEW
    return Admission(Move.GRANT, version=known.pk)


def _first(arrival: Arrival, producer: int, facts: Facts, poster: Poster) -> Admission:
    """The producer's first version of this id. Of a versioned object without creator the first submitter owns the
    id."""
    others = tuple(grant for grant in facts.grants if grant.producer != producer)
    if arrival.anonymous and arrival.version is not None and others and not poster.free and poster.may_see(others):
        return Admission(
            Move.REFUSE,
            reason="This id belongs to its first submitter. Publish under a new id with a derived-from relationship.",
        )
    return Admission(Move.RELEASE)


def _late(grants: tuple[Grant, ...], audience: Audience, known: int | None = None) -> Admission:
    """An older version is history at or below a grant; elsewhere it would be a skeleton key to the newer one."""
    if winner(grants, audience):
        return Admission(Move.HISTORY, version=known)
    return _REVIEW


def _newer(arrival: Arrival, newest: Version, grants: tuple[Grant, ...], poster: Poster, *, own: bool) -> Admission:
    if all(poster.may_release(grant.audience) for grant in grants):
        return Admission(Move.RELEASE)
    trusted = own or newest.publisher == poster.actor.organization or poster.actor.role is Role.STEWARD
    if trusted and arrival.revoked:
        return Admission(Move.RELEASE)
    drops = tuple(grant for grant in grants if trusted and not possible(arrival.tlp, grant.audience))
    return Admission(
        Move.HOLD,
        "newer version",
        "This object stands before a wider audience; its newer version waits for an analyst there.",
        drops=drops,
    )
