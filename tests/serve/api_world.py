"""Everybody at the API of one server, and what they hand in: names that nobody has named before."""

import json
import uuid
from typing import Any

import httpx2
import psycopg
from psycopg import sql
from tests.conftest import Person, Running

from isac.serve import problems
from isac.store import database, tables

SUBMISSIONS, EXTRACT = "/api/v1/submissions", "/api/v1/extract"
JANUARY = "2026-01-01T00:00:00.000Z"


class World:
    """A server, and everybody who has a key; the tests of this file share it."""

    def __init__(self, url: str, server: Running, people: dict[str, Person]) -> None:
        self.url, self.server, self.people = url, server, dict(people)
        self._clients: dict[str, httpx2.Client] = {}

    def ask(self, name: str) -> httpx2.Client:
        if name not in self._clients:
            person = self.people[name]
            auth = (person.key_id, person.secret)
            self._clients[name] = httpx2.Client(base_url=self.server.base, auth=auth, trust_env=False, timeout=60)
        return self._clients[name]

    def post(self, content: bytes, by: str = "franklin_submitter", **params: Any) -> httpx2.Response:
        return self.ask(by).post(SUBMISSIONS, content=content, params=params)

    def patterns(self, by: str, collection: str) -> set[str]:
        """Names of all that somebody reads there over TAXII."""
        shown: set[str] = set()
        query: dict[str, Any] = {"limit": 1000}
        while True:
            answer = self.ask(by).get(f"/elections/collections/{collection}/objects/", params=query)
            if answer.status_code == 404:
                return set()
            page = answer.json()
            shown |= {each.get("name", "") for each in page.get("objects", [])}
            if not page.get("more"):
                return shown
            query["next"] = page["next"]

    def rows(self) -> dict[str, Any]:
        """Number and content of all rows of all tables, but for what records polls."""
        content = sql.SQL("SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {} t")
        with psycopg.connect(self.url) as conn:
            return {
                name: conn.execute(content.format(sql.Identifier(database.SCHEMA, name))).fetchone()
                for name in tables.metadata.tables
                if not name.startswith("poll")
            }

    def fetch(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(database.conninfo(self.url)) as conn:
            return conn.execute(query.encode(), values).fetchall()

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


def host() -> str:
    """A name that nobody has named before."""
    return f"host-{uuid.uuid4().hex[:12]}.example"


def indicator(name: str, **more: Any) -> dict[str, Any]:
    head = {"type": "indicator", "spec_version": "2.1", "id": f"indicator--{uuid.uuid4()}", "name": name}
    times = {"created": JANUARY, "modified": JANUARY, "valid_from": JANUARY}
    return {**head, **times, "pattern": f"[domain-name:value = '{name}']", "pattern_type": "stix", **more}


def bundle(*objects: dict[str, Any]) -> bytes:
    return json.dumps({"type": "bundle", "id": f"bundle--{uuid.uuid4()}", "objects": objects}).encode()


def is_problem(answer: httpx2.Response, status: int) -> bool:
    told = answer.json()
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert told["type"] == f"urn:isac:problem:{problems.TYPES[status]}"
    assert (told["status"], bool(told["title"]), bool(told["detail"])) == (status, True, True)
    return bool(uuid.UUID(told["error_id"]))


def misp(name: str) -> bytes:
    attribute = {"uuid": str(uuid.uuid4()), "type": "domain", "category": "Network activity", "to_ids": True}
    quiet = {**attribute, "uuid": str(uuid.uuid4()), "to_ids": False, "value": "quiet.example"}
    event = {"uuid": str(uuid.uuid4()), "info": "An invented event", "date": "2026-01-01"}
    tags = [{"name": "tlp:green"}]
    return json.dumps({"Event": {**event, "Tag": tags, "Attribute": [{**attribute, "value": name}, quiet]}}).encode()
