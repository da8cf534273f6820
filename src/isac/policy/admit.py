"""Whether a version may enter, given what is known of its id: new, newer, late, known, or not its poster's to publish.

STIX 2.1 §3.6 (only the creator makes versions) and the release log's rule 4: versions move together; giving may wait
for an analyst, taking away never does.
"""

import enum
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from isac.policy.actors import MANAGERS, Actor, Audience, Role, covers, may_read, may_release
from isac.policy.release import Erased, Facts, Grant, Version, permitted, possible, reaches, winner
from isac.stix.markings import TLP


class Arrival(NamedTuple):
    """One version on its way in: what the log keeps of it. A tuple, because imports send it between processes."""

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
    #: nanoseconds since 1970
    valid_until: int | None
    raw: bytes


@dataclass(frozen=True, slots=True)
class Poster:
    """Who hands an object in, and for whom it speaks."""

    actor: Actor
    #: the identities as which it may publish, as database keys of producers: its own, a steward the ISAC's, too
    producers: frozenset[int]
    #: the organizations behind them
    organizations: frozenset[int]
    #: it hands in what a source lists, by itself: whatever its role, nobody here has looked
    source: bool
    #: the sandbox's: no ownership, no TLP gate, nothing waits
    free: bool = False

    def may_release(self, audience: Audience) -> bool:
        return self.free or may_release(self.actor, audience)

    def decides(self, audience: Audience) -> bool:
        """Is an object for this audience its deliberate act, and not just the next delivery?"""
        return self.free or (self.is_manager and not self.source and may_release(self.actor, audience))

    @property
    def is_manager(self) -> bool:
        return self.actor.role in MANAGERS or self.actor.role is Role.STEWARD

    def may_see(self, grants: tuple[Grant, ...]) -> bool:
        return self.free or any(may_read(self.actor.scope, grant.audience) for grant in grants)


class Move(enum.Enum):
    """What becomes of a version."""

    #: stored; goes to all the object's grants, and the audience that it was posted to gets one
    RELEASE = "release"
    #: stored; goes to all the object's grants, and to no other audience
    UPDATE = "update"
    #: stored; history at the audience, never live
    HISTORY = "history"
    #: known already; the audience that it was posted to gets a grant
    GRANT = "grant"
    #: known already, and was deleted at this audience's own grant: it is back
    RETURN = "return"
    #: known already, and the audience has it
    REPEAT = "repeat"
    HOLD = "hold"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Admission:
    """The verdict on one arrival."""

    move: Move
    #: why an analyst has to see it, short and fixed; empty where nobody has to
    rule: str = ""
    #: what the poster may read
    reason: str = ""
    #: of a stored version, its database key
    version: int | None = None
    #: a newer version that is held, but whose marking rules from now on
    rules: bool = False


#: for everybody alike: to hold it would keep it
ERASED = Admission(
    Move.REFUSE,
    reason="This object was erased here and does not come back. What may be shared of it needs a new id.",
)
_REVIEW = Admission(Move.HOLD, "review", "An analyst has to look at this object before it can be released.")
_WITHDRAWN = Admission(
    Move.HOLD, "withdrawn", "This object was withdrawn; an analyst has to decide whether it comes back."
)
_CREATOR = Admission(Move.HOLD, "creator", "created_by_ref names another member of this ISAC, who has to confirm it.")


def first_submitter(
    arrival: Arrival, producer: int, facts: Facts, poster: Poster, same: Mapping[int, bool]
) -> int | None:
    """Whose it is, if it names no creator and somebody else's object, which the poster sees, is the very same.

    `same` says of the producers who have a stored version with this `modified` whether theirs is identical. What has no
    version of its own may be anybody's: observables name values.
    """
    if producer in same or arrival.version is None or poster.free:
        return None
    twins = [other for other, identical in same.items() if identical]
    return next((twin for twin in twins if poster.may_see(facts.of(twin))), None)


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
    if facts.erased and was_erased(facts.erased, hashlib.sha256(arrival.raw).digest(), arrival.modified, producer):
        return ERASED
    if not facts.versions:
        return _CREATOR if member and not poster.free else _first(arrival, producer, facts, audience, poster, None)
    stored = next((v for v in facts.versions if v.producer == producer and v.modified == arrival.modified), None)
    grants = facts.of(producer)
    told = poster.may_see(grants) or producer in poster.producers
    if stored and not same:
        own = producer in poster.producers or stored.publisher == poster.actor.organization
        reason = "Other content is already stored under this id and modified; a change needs a later modified."
        return Admission(Move.REFUSE, reason=reason) if own and told else _REVIEW
    if stored and _is_known(stored, grants):
        return _again(stored, facts, grants, audience, poster, member=member)
    if member and not poster.free:
        return _CREATOR
    pk = stored.pk if stored else None
    newest = facts.newest(producer)
    if newest is None:
        return _first(arrival, producer, facts, audience, poster, pk)
    if newest.created != arrival.created:
        reason = "created differs from that of the stored versions; it never changes (STIX 2.1 §3.6)."
        return Admission(Move.REFUSE, reason=reason) if told else _REVIEW
    if arrival.modified < newest.modified:
        # Nothing may follow a revocation, so one that comes late contradicts what stands: somebody has to look.
        return _REVIEW if arrival.revoked else _late(arrival.tlp, grants, audience, poster, pk)
    if newest.revoked:
        reason = "This object is revoked; nothing newer can be published under its id. Use a new id."
        return Admission(Move.REFUSE, reason=reason) if told else _REVIEW
    return _newer(arrival, newest, facts, audience, poster, producer, pk)


def was_erased(erased: Iterable[Erased], digest: bytes, modified: int, producer: int | None) -> bool:
    """Told by whose it is and its version, or by its very bytes, whoever brings them. A producer of None: anybody's."""
    return any(
        digest in each.digests
        or ((each.producer is None or producer in (None, each.producer)) and each.modified in (None, modified))
        for each in erased
    )


def _is_known(stored: Version, grants: tuple[Grant, ...]) -> bool:
    """A version that was deleted at every grant counts as never received: it may come again."""
    if stored.deleted:
        return False
    return not grants or any(stored.pk not in grant.without for grant in grants)


def _again(
    known: Version, facts: Facts, grants: tuple[Grant, ...], audience: Audience, poster: Poster, *, member: bool
) -> Admission:
    """The very same version once more: for a further audience a request for a grant, never a silent success."""
    own = facts.granted(known.producer, audience)
    newest = facts.newest(known.producer)
    if own is not None and known.pk in own.without:
        wider = any(covers(grant.audience, audience) for grant in grants)
        return Admission(Move.REPEAT if wider else Move.RETURN, version=known.pk)
    if own is not None and (known == newest or facts.stands(known.pk, audience)):
        return Admission(Move.REPEAT, version=known.pk)
    if facts.stands(known.pk, audience) and known != newest:
        return Admission(Move.REPEAT, version=known.pk)
    if member and not poster.free:
        return _CREATOR
    if known != newest:
        return _late(known.tlp, grants, audience, poster, known.pk)
    if not (poster.free or (possible(known.tlp, audience) and permitted(facts, Grant(0, known.producer, audience)))):
        return _no_recipient(known.tlp)
    if not poster.may_release(audience):
        return _REVIEW
    return _withdrawn(known.revoked, facts, audience, poster) or Admission(Move.GRANT, version=known.pk)


def _withdrawn(revoked: bool, facts: Facts, audience: Audience, poster: Poster) -> Admission | None:
    """What was taken back comes again by somebody's decision only: else the next run of a feed would undo it.

    Asked of each producer's object under the id, for a notice names the id. Revocations pass: they take away.
    """
    if revoked or not facts.notices or winner(facts.grants, audience) or poster.decides(audience):
        return None
    lost = [notice.audience for notice in facts.notices]
    near = [place for place in lost if reaches(place, audience) or covers(audience, place)]
    if not near:
        return None
    return _WITHDRAWN if any(may_read(poster.actor.scope, place) for place in near) else _REVIEW


def _no_recipient(tlp: TLP) -> Admission:
    reason = f"TLP:{str(tlp).upper()} may not go to this collection; an analyst has to name its recipients."
    return Admission(Move.HOLD, "tlp", reason)


def _first(
    arrival: Arrival, producer: int, facts: Facts, audience: Audience, poster: Poster, pk: int | None
) -> Admission:
    """The producer's first version of this id, which belongs to its first submitter where no creator is named."""
    if not poster.free and not possible(arrival.tlp, audience):
        return _no_recipient(arrival.tlp)
    if arrival.revoked and not (poster.free or poster.is_manager or producer in poster.producers):
        # Nothing could follow it: a false one, from whoever relays it, would block the id.
        return _REVIEW
    others = tuple(grant for grant in facts.grants if grant.producer != producer)
    if arrival.anonymous and arrival.version is not None and others and not poster.free and poster.may_see(others):
        reason = (
            "Somebody else handed this id in first, and it names no creator, so it is theirs. Hand it in as the same"
            " source, or publish it under a new id with a derived-from relationship."
        )
        return Admission(Move.REFUSE, reason=reason)
    return _withdrawn(arrival.revoked, facts, audience, poster) or Admission(Move.RELEASE, version=pk)


def _late(tlp: TLP, grants: tuple[Grant, ...], audience: Audience, poster: Poster, pk: int | None) -> Admission:
    """An older version is history at or below a grant; elsewhere it would be a skeleton key to the newer one."""
    if winner(grants, audience) and (poster.free or possible(tlp, audience)):
        return Admission(Move.HISTORY, version=pk)
    return _REVIEW


def _newer(
    arrival: Arrival,
    newest: Version,
    facts: Facts,
    audience: Audience,
    poster: Poster,
    producer: int,
    pk: int | None,
) -> Admission:
    """To all grants, or whole to triage. A revocation goes out, and a stricter marking rules, at once.

    But only from its producer, from who handed the object in, or from a steward: else any member that relays a forged
    version could take an object from the whole nation.
    """
    grants = facts.of(producer)
    elsewhere = tuple(grant for grant in grants if not poster.may_release(grant.audience))
    everywhere = not elsewhere
    trusted = (
        everywhere
        or producer in poster.producers
        or newest.publisher == poster.actor.organization
        or poster.actor.role is Role.STEWARD
    )
    if trusted and arrival.revoked and grants:
        return Admission(Move.UPDATE, version=pk)
    later = [w for w in facts.waiting if w.producer == producer and w.modified > arrival.modified]
    fits = all(possible(tlp, audience) for tlp in (arrival.tlp, *(waiting.tlp for waiting in later)))
    withdrawn = _withdrawn(arrival.revoked, facts, audience, poster)
    if withdrawn and not grants:
        return replace(withdrawn, rules=trusted)
    if everywhere and not withdrawn and (poster.free or fits):
        return Admission(Move.RELEASE, version=pk)
    if everywhere:
        # Stored, so that its marking rules, and shown wherever that allows; for this audience it waits.
        return replace(withdrawn or _no_recipient(arrival.tlp), move=Move.UPDATE, version=pk)
    if not poster.may_see(elsewhere):
        return replace(_REVIEW, rules=trusted)
    reason = "This object stands before a wider audience; its newer version waits for an analyst there."
    return Admission(Move.HOLD, "newer version", reason, rules=trusted)
