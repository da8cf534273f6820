"""The audiences of the log's tests: a small tree, two groups, two organizations."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Place:
    """An audience: a node of the tree, a group, or an organization."""

    name: str
    kind: Literal["node", "group", "organization"]
    #: nodes only; None at the root
    parent: str | None = None
    #: groups only: the members are fixed and named
    frozen: bool = False


#: The world of the tests. Group «open» has members by rule, so it is not frozen.
PLACES: tuple[Place, ...] = (
    Place("public", "node"),
    Place("us", "node", "public"),
    Place("us-oh", "node", "us"),
    Place("us-tx", "node", "us"),
    Place("us-oh-39049", "node", "us-oh"),
    Place("us-oh-39035", "node", "us-oh"),
    Place("us-tx-48201", "node", "us-tx"),
    Place("group-g", "group", frozen=True),
    Place("group-open", "group"),
    Place("org-a", "organization"),
    Place("org-b", "organization"),
)
