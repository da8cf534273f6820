"""Filters of a TAXII 2.1 server, tried in every combination and in every way that they can be wrong (§3.4)."""

import uuid

from tests.serve.conftest import Asking, mutex, tool, tools


def test_t54_a_type_named_twice_gives_its_objects_once(clerk: Asking) -> None:
    clerk.add(*tools("a", "b"))

    for version in ("last", "first", "all"):
        query = {"match[type]": "tool,tool", "match[version]": version}
        assert clerk.names(**query) == ["a", "b"]
        assert [len(page) for page in clerk.pages("manifest/", limit="1", **query)] == [1, 1]


def test_t10_thousands_of_types_cost_no_more_than_a_page(clerk: Asking) -> None:
    clerk.add(tool("a"), mutex("b"))
    types = ",".join(f"x-{n}" for n in range(5000))

    for version in ("last", "first", "all"):
        assert clerk.names(**{"match[type]": f"{types},tool", "match[version]": version}) == ["a"]
    assert clerk.get("objects/", {"match[type]": types}).json() == {}


def test_t10_thousands_of_ids_cost_no_more_than_a_page(clerk: Asking) -> None:
    a, b = tools("a", "b")
    clerk.add(a, b)
    others = ",".join(f"tool--{uuid.uuid4()}" for _ in range(1000))

    assert clerk.names(**{"match[id]": f"{others},{b['id']}"}) == ["b"]
