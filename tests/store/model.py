"""The release log as its rules tell it: slow, obvious, in memory. The oracle of the store's tests.

Facts are versions, grants, deletions and expiries. After each deed `settle` asks of every grant and every row, one by
one, what the rules say of it. No index, no shortcut, no code shared with the store. «R1» … «R8» are the rules of
the log, «F1» … «F30» its known hard cases.
"""

from collections.abc import Iterable, Sequence

from tests.store.places import PLACES, Place
from tests.store.words import CLERK, FEED, ISAC, Grant, Key, Line, Notice, Row, Seen, Tlp, Verdict, Version


class Model:
    """One log. Deeds answer with a verdict; «refuse» leaves everything as it was."""

    def __init__(self, places: Sequence[Place] = PLACES) -> None:
        self.places = {place.name: place for place in places}
        self.seq = 0
        self.granted = 0
        self.versions: dict[Key, dict[int, Version]] = {}
        #: who handed a version over
        self.publishers: dict[tuple[Key, int], str] = {}
        #: newer versions held because their poster may not release at every grant; their markings rule already
        self.waiting: dict[Key, dict[int, Version]] = {}
        self.expired: set[tuple[Key, int]] = set()
        self.grants: list[Grant] = []
        self.rows: list[Row] = []
        self.notices: list[Notice] = []
        #: ids under which nothing comes in any more
        self.erased: set[str] = set()

    # ---- audiences

    def path(self, audience: str) -> list[str]:
        """The audience and everything above it, root first; also the list of audiences of the collection named so."""
        place = self.places[audience]
        return [*(self.path(place.parent) if place.parent else []), audience]

    def at_or_above(self, wide: str, narrow: str) -> bool:
        """Only a node covers others: those below it. Groups and organizations stand alone (F7)."""
        return wide in self.path(narrow)

    def above(self, wide: str, narrow: str) -> bool:
        return wide != narrow and self.at_or_above(wide, narrow)

    def tlp_permits(self, tlp: Tlp, audience: str) -> bool:
        """The TLP gate."""
        place = self.places[audience]
        if tlp == "clear":
            return True
        if tlp in ("green", "amber"):
            return audience != "public"
        if tlp == "amber+strict":
            return place.kind == "organization" or (place.kind == "group" and place.frozen)
        return place.kind == "organization"

    def may_release(self, poster: str, audience: str) -> bool:
        """The ISAC and its feeds everywhere; somebody named as an audience there and below; its clerk there alone."""
        return self.decides(poster, audience) or poster in (FEED, CLERK + audience)

    def decides(self, poster: str, audience: str) -> bool:
        """Is it a deliberate act? Not a feed's, nor a clerk's."""
        return poster == ISAC or (poster in self.places and self.at_or_above(poster, audience))

    # ---- facts

    def grants_of(self, key: Key) -> list[Grant]:
        return [grant for grant in self.grants if grant.key == key]

    def grant_at(self, key: Key, audience: str) -> Grant | None:
        return next((grant for grant in self.grants_of(key) if grant.audience == audience), None)

    def has_grant_at_or_above(self, key: Key, audience: str) -> bool:
        return any(self.at_or_above(grant.audience, audience) for grant in self.grants_of(key))

    def id_granted_at_or_above(self, stix_id: str, audience: str) -> bool:
        """Of whatever producer: covering goes by id."""
        return any(g.key.stix_id == stix_id and self.at_or_above(g.audience, audience) for g in self.grants)

    def id_granted_above(self, stix_id: str, audience: str) -> bool:
        return any(g.key.stix_id == stix_id and self.above(g.audience, audience) for g in self.grants)

    def is_revoked(self, key: Key) -> bool:
        return any(version.revoked for version in self.versions.get(key, {}).values())

    def newest_at(self, grant: Grant) -> Version:
        """The newest version that was not deleted at this grant. Every grant has one: `delete_version` sees to it."""
        return max(v for v in self.versions[grant.key].values() if v.modified not in grant.without)

    def newest(self, key: Key) -> Version:
        """The newest version that some grant gives; of an object without grants the newest we know."""
        given = [self.newest_at(grant) for grant in self.grants_of(key)]
        return max(given or self.versions[key].values())

    def is_known(self, key: Key, modified: int) -> bool:
        """A version deleted at every grant that there is counts as never received: it may come again."""
        grants = self.grants_of(key)
        stored = modified in self.versions.get(key, {})
        return stored and (not grants or any(modified not in grant.without for grant in grants))

    def is_permitted(self, grant: Grant) -> bool:
        """R3: the newest version's TLP rules; a newer one that still waits rules too, if only by taking away (R4)."""
        newest = self.newest_at(grant)
        waiting = [v for v in self.waiting.get(grant.key, {}).values() if v.modified > newest.modified]
        ruling = [newest, max(waiting)] if waiting else [newest]
        return all(self.tlp_permits(version.tlp, grant.audience) for version in ruling)

    def new_grant(self, key: Key, audience: str, wanted: int | None = None) -> Grant:
        """Not yet a fact. It lacks what all standing grants lack and what a grant above lacks, not what is wanted."""
        standing = self.grants_of(key)
        everywhere = set.intersection(*(g.without for g in standing)) if standing else set()
        higher = [g.without for g in standing if self.above(g.audience, audience)]
        return Grant(key, audience, self.granted + 1, everywhere.union(*higher) - {wanted})

    def add_grant(self, grant: Grant) -> None:
        self.granted = grant.since
        self.grants.append(grant)

    def drop_forbidden(self, key: Key) -> list[Grant]:
        """R3: the newest version's TLP drops, for good, the grants that it forbids (F3)."""
        dropped = [grant for grant in self.grants_of(key) if not self.is_permitted(grant)]
        self.grants = [grant for grant in self.grants if grant not in dropped]
        return dropped

    def is_covered(self, grant: Grant) -> bool:
        """Another grant of the same id stands wider, or as wide and first (F7, F17)."""
        return any(
            self.above(other.audience, grant.audience)
            or (other.audience == grant.audience and other.since < grant.since)
            for other in self.grants
            if other.key.stix_id == grant.key.stix_id
        )

    def shown_at(self, stix_id: str, audience: str) -> Grant | None:
        """The grant that decides what an audience meets under an id: the widest on its path, then the first."""
        on_path = [g for g in self.grants if g.key.stix_id == stix_id and self.at_or_above(g.audience, audience)]
        return min(on_path, key=lambda g: (len(self.path(g.audience)), g.since), default=None)

    # ---- settle

    def wanted(self) -> list[tuple[Grant, int]]:
        """R3: each grant that no other covers has one live row, of the newest version; none while that is expired."""
        found = [(grant, self.newest_at(grant).modified) for grant in self.grants if not self.is_covered(grant)]
        return [(grant, modified) for grant, modified in found if (grant.key, modified) not in self.expired]

    def settle(
        self, told: Iterable[Grant] = (), untold: Iterable[Grant] = (), deleted: tuple[Key, int, str] | None = None
    ) -> None:
        """Write ends, notices, new rows, as the facts ask. `told` lost their grant with a notice, `untold` without."""
        told, untold = list(told), list(untold)
        self.forget_waiting()
        wanted = self.wanted()
        live = [row for row in self.rows if row.ended_seq is None]
        new = [
            (grant, modified)
            for grant, modified in wanted
            if not any((row.audience, row.key, row.modified) == (grant.audience, grant.key, modified) for row in live)
        ]
        lost = [(grant.key, grant.audience) for grant in [*told, *untold]]
        open_rows = [r for r in self.rows if r.shut_seq is None and r.audience in self.places]
        gone = [row for row in open_rows if self.has_left(row, lost) or self.is_deleted(row, deleted)]
        staying = [row for row in open_rows if row not in gone]
        gone += [row for row in staying if self.stands_wider_or_anew(row, staying, new)]
        for row in self.rows:
            unwanted = (row.audience, row.key, row.modified) not in [(g.audience, g.key, m) for g, m in wanted]
            self.end(row, leaves_default=unwanted or row in gone, leaves_all=row in gone)
        for notice in self.notices:
            if notice.ended_seq is None and self.id_granted_at_or_above(notice.stix_id, notice.audience):
                notice.ended_seq = self.next_seq()
        for grant in told:
            if not self.id_granted_at_or_above(grant.key.stix_id, grant.audience):
                self.notices.append(Notice(self.next_seq(), grant.audience, grant.key.stix_id))
        for grant, modified in new:
            self.rows.append(Row(self.next_seq(), grant.audience, grant.key, modified))

    def has_left(self, row: Row, lost: list[tuple[Key, str]]) -> bool:
        """R5: its audience lost the grant, or meets nothing more under the id, or another producer's object."""
        shown = self.shown_at(row.key.stix_id, row.audience)
        return (row.key, row.audience) in lost or shown is None or shown.key != row.key

    def is_deleted(self, row: Row, deleted: tuple[Key, int, str] | None) -> bool:
        """A version deleted at an audience is gone there and below."""
        return (
            deleted is not None
            and (row.key, row.modified) == deleted[:2]
            and self.at_or_above(deleted[2], row.audience)
        )

    def stands_wider_or_anew(self, row: Row, staying: list[Row], new: list[tuple[Grant, int]]) -> bool:
        """R5: its version stands in a wider row, or in a new row at the same audience (F7)."""
        wider_row = any(
            (other.key, other.modified) == (row.key, row.modified) and self.above(other.audience, row.audience)
            for other in staying
        )
        new_row = any(
            (grant.key, modified) == (row.key, row.modified) and self.at_or_above(grant.audience, row.audience)
            for grant, modified in new
        )
        return wider_row or new_row

    def end(self, row: Row, *, leaves_default: bool, leaves_all: bool) -> None:
        """R2: every end takes a seq, and leaving both views at once takes one."""
        ends = leaves_default and row.ended_seq is None
        shuts = leaves_all and row.shut_seq is None
        if ends or shuts:
            seq = self.next_seq()
            row.ended_seq = seq if ends else row.ended_seq
            row.shut_seq = seq if shuts else row.shut_seq

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def add_history(self, key: Key, modified: int, audience: str) -> None:
        """A late older version: one row, born ended; none where it stands already or another producer's is shown."""
        shown = self.shown_at(key.stix_id, audience)
        stands = any(
            (row.key, row.modified) == (key, modified)
            and row.shut_seq is None
            and self.at_or_above(row.audience, audience)
            for row in self.rows
        )
        if shown is not None and shown.key == key and not stands:
            for row in (row for row in self.rows if row.audience in self.places):  # R5: it now stands wider
                if (row.key, row.modified) == (key, modified) and self.above(audience, row.audience):
                    self.end(row, leaves_default=True, leaves_all=True)
            seq = self.next_seq()
            self.rows.append(Row(seq, audience, key, modified, ended_seq=seq))

    # ---- deeds: giving

    def release(self, key: Key, version: Version, audience: str, poster: str) -> Verdict:
        """Somebody hands over a version for an audience at which he may release."""
        if key.stix_id in self.erased:
            return "refuse"
        stored = self.versions.get(key, {})
        waiting = self.waiting.get(key, {})
        if stored.get(version.modified, waiting.get(version.modified, version)) != version:
            return "refuse"  # a second content under one (id, modified): one TLP for each version (F16, F17)
        if not stored:
            return self.release_first(key, version, audience, poster)
        if self.is_known(key, version.modified):
            return self.release_known(key, version, audience, poster)
        if version > self.newest(key):
            return self.release_newer(key, version, audience, poster)
        return self.release_late(key, version, audience, poster)

    def was_taken_back(self, key: Key, audience: str, poster: str) -> bool:
        """A notice stands there, above or below, no grant reaches the audience, and nobody decides that it is over."""
        near = [
            notice
            for notice in self.notices
            if (notice.stix_id, notice.ended_seq) == (key.stix_id, None)
            and (self.at_or_above(notice.audience, audience) or self.above(audience, notice.audience))
        ]
        reached = self.id_granted_at_or_above(key.stix_id, audience)
        return bool(near) and not reached and not self.decides(poster, audience)

    def release_first(self, key: Key, version: Version, audience: str, poster: str) -> Verdict:
        if not self.tlp_permits(version.tlp, audience):
            return "refuse"
        if version.revoked and poster == CLERK + audience:
            return "hold"  # nothing could follow a false one
        if not version.revoked and self.was_taken_back(key, audience, poster):
            return "hold"
        self.store(key, version, poster)
        self.add_grant(self.new_grant(key, audience))
        self.settle()
        return "accept"

    def release_known(self, key: Key, version: Version, audience: str, poster: str) -> Verdict:
        """A repeat changes nothing; at a further audience, a covered one too, it asks for a grant (F17), an older
        version in vain (F10), but below a grant for its history."""
        own = self.grant_at(key, audience)
        if own is not None and version.modified in own.without:
            self.undelete(key, version.modified, audience)
            return "accept"
        if version != self.newest(key):
            if not self.has_grant_at_or_above(key, audience) or not self.tlp_permits(version.tlp, audience):
                return "hold"
            self.settle()
            self.add_history(key, version.modified, audience)
            return "accept"
        if own is not None:
            return "accept"
        if not self.is_permitted(self.new_grant(key, audience, version.modified)):
            return "refuse"
        if not version.revoked and self.was_taken_back(key, audience, poster):
            return "hold"
        return self.grant_anew(key, audience, wanted=version.modified)

    def undelete(self, key: Key, modified: int, audience: str) -> None:
        """Released again at the audience that deleted it, a version is back there and below."""
        own = self.grant_at(key, audience)
        wider = any(self.above(grant.audience, audience) for grant in self.grants_of(key))
        if own is None or wider or modified not in own.without:
            return
        for grant in self.grants_of(key):
            if self.at_or_above(audience, grant.audience):
                grant.without.discard(modified)
        self.settle()
        self.add_history(key, modified, audience)

    def release_newer(self, key: Key, version: Version, audience: str | None, poster: str) -> Verdict:
        """R4: a newer version goes to all grants or waits whole; a revocation by its producer never waits (F9)."""
        if self.is_revoked(key):
            return "refuse"
        may = all(self.may_release(poster, grant.audience) for grant in self.grants_of(key))
        if not may and not (version.revoked and self.is_trusted(key, poster)):
            if self.is_trusted(key, poster):
                self.waiting.setdefault(key, {})[version.modified] = version
                self.settle(told=self.drop_forbidden(key))
            return "hold"
        waits = audience is not None and not version.revoked and self.was_taken_back(key, audience, poster)
        if waits and not self.grants_of(key):
            if self.is_trusted(key, poster):
                self.waiting.setdefault(key, {})[version.modified] = version
            return "hold"
        self.store(key, version, poster)
        for grant in self.grants_of(key):
            grant.without.discard(version.modified)
        dropped = self.drop_forbidden(key)
        if audience is not None and not waits and self.grant_at(key, audience) is None:
            grant = self.new_grant(key, audience, wanted=version.modified)
            if self.is_permitted(grant):
                self.add_grant(grant)
        self.settle(told=dropped)
        return "accept"

    def is_trusted(self, key: Key, poster: str) -> bool:
        """Whose taking away never waits: the producer, who handed the newest version over, the ISAC. Were it anybody,
        one county that relays a forged version could take an object from the nation."""
        return poster in (key.producer, ISAC, FEED, self.publishers[key, self.newest(key).modified])

    def release_late(self, key: Key, version: Version, audience: str, poster: str) -> Verdict:
        """R4: history at or below a grant, else held (F10). Never live: it enters no grant that stands at an older."""
        if not self.has_grant_at_or_above(key, audience) or not self.tlp_permits(version.tlp, audience):
            return "hold"
        for grant in self.grants_of(key):
            if self.newest_at(grant) < version:
                grant.without.add(version.modified)
            elif self.at_or_above(grant.audience, audience):
                grant.without.discard(version.modified)
        self.store(key, version, poster)
        self.add_history(key, version.modified, audience)
        return "accept"

    def store(self, key: Key, version: Version, poster: str) -> None:
        self.versions.setdefault(key, {})[version.modified] = version
        self.publishers[key, version.modified] = poster

    def grant_anew(self, key: Key, audience: str, wanted: int | None = None) -> Verdict:
        grant = self.new_grant(key, audience, wanted)
        if not self.is_permitted(grant):
            return "refuse"
        self.add_grant(grant)
        self.settle()
        return "accept"

    def widen(self, key: Key, to: str) -> Verdict:
        """A grant at a wider audience; the narrow one stays, covered."""
        if not any(self.at_or_above(to, g.audience) or self.at_or_above(g.audience, to) for g in self.grants_of(key)):
            return "refuse"
        if self.grant_at(key, to) is not None:
            return "accept"
        return self.grant_anew(key, to)

    # ---- deeds: taking away

    def narrow(self, key: Key, wide: str, narrow: str) -> Verdict:
        """The wide grant goes, with notice; the narrow one stands or is made (F1)."""
        lost, new = self.grant_at(key, wide), self.new_grant(key, narrow)
        if lost is None or not self.is_narrower(narrow, wide) or not self.is_permitted(new):
            return "refuse"
        if self.grant_at(key, narrow) is None:
            self.add_grant(new)
        self.grants.remove(lost)
        self.settle(told=[lost])
        return "accept"

    def is_narrower(self, narrow: str, wide: str) -> bool:
        """A node below; else fewer bodies: node > group > organization."""
        kinds = ["node", "group", "organization"]
        sizes = [kinds.index(self.places[name].kind) for name in (wide, narrow)]
        return self.above(wide, narrow) or sizes[0] < sizes[1]

    def withdraw(self, key: Key, audience: str, at: int) -> Verdict:
        """R6: ours to take back. `at`: the `modified` of the revoked version, should one be due."""
        lost = self.grant_at(key, audience)
        if lost is None:
            return "refuse"
        if key.producer == ISAC and self.grants_of(key) == [lost]:
            if not self.is_revoked(key):
                self.release_newer(key, Version(at, self.newest(key).tlp, revoked=True), None, ISAC)
            return "accept"
        self.grants.remove(lost)
        self.settle(told=[lost])
        return "accept"

    def revoke(self, key: Key, version: Version, poster: str) -> Verdict:
        """R6: the producer's version with `revoked: true`; afterwards nothing newer is accepted."""
        if key in self.versions and self.versions[key].get(version.modified) == version:
            return "accept"
        if key not in self.versions or version <= self.newest(key) or version.modified in self.versions[key]:
            return "refuse"
        return self.release_newer(key, version, None, poster)

    def expire(self, key: Key) -> Verdict:
        """R6: an end, no version. One life cycle: what is revoked does not expire any more."""
        if key not in self.versions or self.is_revoked(key):
            return "refuse"
        standing = [self.newest_at(grant) for grant in self.grants_of(key)] or [self.newest(key)]
        self.expired |= {(key, version.modified) for version in standing}
        self.settle()
        return "accept"

    def erase(self, stix_id: str) -> Verdict:
        """R8: of all producers; what it was seq by seq does not change, and it does not come in again."""
        lost = [grant for grant in self.grants if grant.key.stix_id == stix_id]
        self.grants = [grant for grant in self.grants if grant not in lost]
        for key in [key for key in self.versions if key.stix_id == stix_id]:
            del self.versions[key]
        self.waiting = {key: versions for key, versions in self.waiting.items() if key.stix_id != stix_id}
        self.erased.add(stix_id)
        self.settle(untold=lost)
        return "accept"

    def delete(self, key: Key, audience: str) -> Verdict:
        """DELETE of an object (F19): 404 afterwards, no notice; «refuse»: 403 under a wider grant, 404 without one."""
        lost = self.grant_at(key, audience)
        if lost is None or self.id_granted_above(key.stix_id, audience):
            return "refuse"
        self.grants.remove(lost)
        self.settle(untold=[lost])
        self.forget(key)
        return "accept"

    def forget(self, key: Key) -> None:
        """What was deleted at every grant counts as never received, but for a revocation of ours, which is for ever."""
        grants, ours = self.grants_of(key), key.producer == ISAC
        kept = {
            modified: version
            for modified, version in self.versions[key].items()
            if (ours and version.revoked) or any(modified not in grant.without for grant in grants)
        }
        self.expired = {(who, modified) for who, modified in self.expired if who != key or modified in kept}
        self.publishers = {known: who for known, who in self.publishers.items() if known[0] != key or known[1] in kept}
        self.versions[key] = kept
        if not kept:
            del self.versions[key]
        self.forget_waiting()

    def delete_version(self, key: Key, modified: int, audience: str) -> Verdict:
        """DELETE of one version: the next older returns where it had stood; grants where none had go (F10)."""
        listed = any(
            (row.key, row.modified, row.audience, row.shut_seq) == (key, modified, audience, None) for row in self.rows
        )
        if not listed or self.id_granted_above(key.stix_id, audience) or self.versions[key][modified].revoked:
            return "refuse"
        dropped = []
        for grant in self.grants_of(key):
            if self.at_or_above(audience, grant.audience):
                was_newest = self.newest_at(grant).modified == modified
                grant.without.add(modified)
                if was_newest and not self.fall_back(grant):
                    dropped.append(grant)
        self.grants = [grant for grant in self.grants if grant not in dropped]
        self.settle(untold=dropped, deleted=(key, modified, audience))
        self.forget(key)
        return "accept"

    def forget_waiting(self) -> None:
        """A marking rules until a version at least as new is there, or the object is gone."""
        for key, versions in self.waiting.items():
            newest = self.newest(key).modified if key in self.versions else None
            for modified in [m for m in versions if newest is None or m <= newest]:
                del versions[modified]

    def fall_back(self, grant: Grant) -> bool:
        """Let the grant stand at the newest older version that had a row at its audience; say whether there is one."""
        left = [modified for modified in self.versions[grant.key] if modified not in grant.without]
        stood = {row.modified for row in self.rows if (row.key, row.audience) == (grant.key, grant.audience)}
        older = max((modified for modified in left if modified in stood), default=None)
        if older is None:
            return False
        grant.without |= {modified for modified in left if modified > older}
        return True

    def expire_notices(self) -> Verdict:
        """R6: 90 days have passed over every notice that stands."""
        for notice in self.notices:
            if notice.ended_seq is None:
                notice.ended_seq = self.next_seq()
        return "accept"

    def move_node(self, old: str, new: str, parent: str) -> Verdict:
        """A leaf is merged into another or gets a new parent: grants are copied, the old ends without notices (F15)."""
        leaving = [grant for grant in self.grants if grant.audience == old]
        self.places.setdefault(new, Place(new, "node", parent))
        for grant in leaving:
            if self.grant_at(grant.key, new) is None:
                self.grants.append(Grant(grant.key, new, grant.since, set(grant.without)))
        self.grants = [grant for grant in self.grants if grant.audience != old]
        for notice in self.notices:
            if notice.audience == old and notice.ended_seq is None:
                notice.ended_seq = self.next_seq()
        self.settle(untold=leaving)
        for row in self.rows:
            self.end(row, leaves_default=row.audience == old, leaves_all=row.audience == old)
        del self.places[old]
        return "accept"

    # ---- views

    def default_view(self, collection: str) -> list[Seen]:
        """The live rows, in log order."""
        return self.default_at(self.seq, collection)

    def history_view(self, collection: str) -> list[Seen]:
        """match[version]=all: every row that is not shut, in log order."""
        return self.history_at(self.seq, collection)

    def default_at(self, seq: int, collection: str) -> list[Seen]:
        """R2: the view at a seq never changes."""
        return [row.seen for row in self.rows_on(self.path(collection)) if stood_at(seq, row.seq, row.ended_seq)]

    def history_at(self, seq: int, collection: str) -> list[Seen]:
        return [row.seen for row in self.rows_on(self.path(collection)) if stood_at(seq, row.seq, row.shut_seq)]

    def rows_on(self, audiences: Sequence[str]) -> list[Row]:
        return [row for row in self.rows if row.audience in audiences]

    def notices_view(self, collection: str) -> list[str]:
        """The ids withdrawn, one entry for each notice that stands, in log order."""
        return [line.stix_id for line in self.timeline(collection) if line.kind == "notice"]

    def timeline(self, collection: str, after: int = 0) -> list[Line]:
        """What a poller gets who has read up to `after`: live rows and notices, in log order."""
        audiences = self.path(collection)
        lines = [(row.seq, Line("object", *row.seen)) for row in self.rows_on(audiences) if row.ended_seq is None]
        lines += [
            (notice.seq, Line("notice", notice.stix_id))
            for notice in self.notices
            if notice.audience in audiences and notice.ended_seq is None
        ]
        return [line for seq, line in sorted(lines) if seq > after]

    def may_read(self, collection: str, key: Key, modified: int) -> bool:
        """R7: the version has a row, not shut, at one of the collection's audiences."""
        return Seen(*key, modified) in self.history_view(collection)

    # ---- what must hold after every deed

    def view_by_facts(self, collection: str) -> set[Seen]:
        """The default view without looking at any row: what the grants alone say."""
        shown = [self.shown_at(key.stix_id, collection) for key in self.versions]
        found = [(grant.key, self.newest_at(grant).modified) for grant in shown if grant is not None]
        return {Seen(*key, modified) for key, modified in found if (key, modified) not in self.expired}

    def check(self) -> None:
        for collection in self.places:
            view, history = self.default_view(collection), self.history_view(collection)
            assert set(view) == self.view_by_facts(collection), f"R3: rows are what the grants say, {collection}"
            assert len({seen.stix_id for seen in view}) == len(view), f"R2: a quiet read shows each once, {collection}"
            assert len(set(history)) == len(history), f"F7: no version twice in the history of {collection}"
            assert set(view) <= set(history), f"a live row is history too, {collection}"
            assert len({s[:2] for s in history}) == len({s[0] for s in history}), f"F17: one producer, {collection}"
        for row in (row for row in self.rows if row.shut_seq is None and row.audience in self.places):
            tlp = self.versions[row.key][row.modified].tlp
            assert self.tlp_permits(tlp, row.audience), f"the TLP gate, {row}"
        for notice in self.notices:
            back = notice.audience in self.places and self.id_granted_at_or_above(notice.stix_id, notice.audience)
            assert notice.ended_seq is not None or not back, f"R6: a notice ends when the object is back, {notice}"
        stamps = [row.seq for row in self.rows] + [notice.seq for notice in self.notices]
        assert len(stamps) == len(set(stamps)), "R1: one order"


def stood_at(seq: int, put: int, left: int | None) -> bool:
    return put <= seq and (left is None or left > seq)
