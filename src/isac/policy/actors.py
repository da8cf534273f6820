"""Who asks, and what he may see, release and administer.

Everything here is answered from an audience's path, so no tree is needed: a node's path names every node above it, and
a group or an organization stands alone. What is not an actor's does not exist for it; the rooms above make «no» a 404.
"""

import enum
from dataclasses import dataclass

#: the kinds of audience that form the tree; `group` and `organization` stand outside it
NODES = frozenset({"public", "nation", "state", "local"})


class Role(enum.StrEnum):
    """What a key or a person may do; each is scoped to one organization and its home, but the steward."""

    POLLER = "poller"
    SUBMITTER = "submitter"
    ANALYST = "analyst"
    ADMIN = "admin"
    #: the ISAC's own
    STEWARD = "steward"


#: the roles that look down from their home to the nodes below it
MANAGERS = frozenset({Role.ANALYST, Role.ADMIN})


@dataclass(frozen=True, slots=True)
class Audience:
    """Whom an object is released to: a node of the tree public ⊃ nation ⊃ State ⊃ local, a group or an organization."""

    pk: int
    #: one of NODES, `group` or `organization`
    kind: str
    #: keys from the root `public` down to and with `pk`; `(pk,)` for groups and organizations
    path: tuple[int, ...]
    #: a label to show; never decides anything
    code: str
    #: a group fixed to its named members: AMBER+STRICT may go there
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """What an actor may see, in the three terms that decide which collections there are for an actor."""

    #: up the path of its home, its groups, its own organization
    audiences: frozenset[int]
    #: the node whose descendants an analyst or admin reads as well
    below: int | None
    #: the ISAC's stewards
    everything: bool


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """SHA-256 of a client certificate's DER; no plain bytes, so that it never passes for the hash of a secret."""

    sha256: bytes


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever performs this request."""

    #: database key of the credential
    key: int
    #: its public half, for logs and the audit
    key_id: str
    #: database key of the organization that the credential belongs to
    organization: int
    #: STIX id of that organization
    identity: str
    role: Role
    #: audience of its jurisdiction; None for vendors and federal partners without one, never `public`
    home: int | None
    #: audience of its organization
    own: int
    #: audiences of the groups that it is a member of
    groups: frozenset[int]
    scope: Scope
    #: its product reads an empty answer only as an empty list of objects (L-9)
    empty_objects: bool = False


def scope_of(role: Role, home: Audience | None, groups: frozenset[int], own: int) -> Scope:
    """What somebody in this role sees.

    An organization without a jurisdiction passes the `public` audience as its home (None: it sees its groups and itself
    only). Nobody but a steward looks down from `public`: it is everybody's root and nobody's jurisdiction.
    """
    looks_down = role in MANAGERS and home is not None and home.kind in NODES - {"public"}
    return Scope(
        audiences=frozenset(home.path if home else ()) | groups | {own},
        below=home.pk if home is not None and looks_down else None,
        everything=role is Role.STEWARD,
    )


def may_read(scope: Scope, audience: Audience) -> bool:
    """Is what was released to this audience within the scope?

    Below a node there are only nodes: nobody but a steward reads another organization's or another group's audience.
    """
    return scope.everything or audience.pk in scope.audiences or _is_or_is_below(audience, scope.below)


def may_release(actor: Actor, audience: Audience) -> bool:
    """May the actor give an object to this audience? Never to one above its node: a wider release is an approval."""
    if actor.role is Role.STEWARD:
        return True
    if actor.role is Role.POLLER:
        return False
    is_its_home = audience.pk == actor.home and audience.kind != "public"
    return is_its_home or _is_its_area(actor, audience) or _is_its_own(actor, audience)


def administers(actor: Actor, audience: Audience) -> bool:
    """May the actor manage this audience: its members, their keys, deleting what others put there?

    A group is nobody's but the ISAC's: else each member's admin could delete what the others share in it.
    """
    if actor.role is Role.STEWARD:
        return True
    return actor.role is Role.ADMIN and (_is_its_area(actor, audience) or audience.pk == actor.own)


def covers(a: Audience, b: Audience) -> bool:
    """Is `a` strictly wider than `b`? Only a node covers others: those below it. A strict partial order."""
    return a.pk != b.pk and _is_or_is_below(b, a.pk)


def _is_its_area(actor: Actor, audience: Audience) -> bool:
    # The scope's `below` is its home where its role looks down, and None for everybody else.
    return _is_or_is_below(audience, actor.scope.below)


def _is_its_own(actor: Actor, audience: Audience) -> bool:
    return audience.pk == actor.own or audience.pk in actor.groups


def _is_or_is_below(audience: Audience, node: int | None) -> bool:
    # Only nodes lie below a node, whatever a wrong path may say.
    return node is not None and audience.kind in NODES and node in audience.path
