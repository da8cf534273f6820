"""Lists become indicators of ours: one id for each source and value, and nothing new where nothing changed."""

import io
import tarfile
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from isac import times
from isac.errors import Invalid
from isac.formats import csv, misp, text
from isac.formats.found import Found, Unreadable
from isac.ingest import files
from isac.ingest.authoring import author
from isac.ingest.feeds import Feed
from isac.ingest.files import Payload, Reading
from isac.stix import authored, markings, objects
from isac.stix.markings import TLP
from isac.store import facts, log, members
from isac.store.database import Pool
from isac.store.facts import By, Subject
from isac.store.objects import Query, Versions, page
from isac.store.submissions import Counts

LIST = b"# hosts\nresults.example\n192.0.2.7\nhttps://results.example/login\nno value here\nRESULTS.example\n"
TABLE = {"value": "value", "description": "note", "first_seen": "seen"}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 2, 1, tzinfo=UTC)
PRODUCER = "identity--00000000-0000-4000-8000-0000000000a1"

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Reader:
    """Reads lists for the nation, as `isac ingest --sample` does, from a source that is called «a list»."""

    def __init__(self, pool: Pool, run: Run) -> None:
        self._pool, self._run = pool, run

    def take_in(
        self, data: bytes, feed: Feed | None = None, source: str = "a list", to: str = "us", tlp: TLP | None = None
    ) -> Reading:
        async def work() -> Reading:
            async with self._pool.connection() as conn, conn.transaction():
                shelf, asking = await members.shelf(conn, to), await members.source(conn, source)
            payload = Payload("list.txt", data)
            return await files.ingest(self._pool, payload, shelf, asking, source, feed=feed, tlp=tlp, sample=True)

        reading: Reading = self._run(work())
        return reading

    def author(
        self, listed: list[Found | Unreadable], tlp: TLP = TLP.GREEN, source: str = "a list"
    ) -> tuple[list[bytes], list[Unreadable]]:
        async def work() -> tuple[list[bytes], list[Unreadable]]:
            async with self._pool.connection() as conn:
                made = await author(conn, listed, producer=PRODUCER, source=source, tlp=tlp, default=TLP.GREEN, now=NOW)
                return [*made[0]], [*made[1]]

        made: tuple[list[bytes], list[Unreadable]] = self._run(work())
        return made

    def deed(self, stix_id: str, deed: Callable[..., Coroutine[Any, Any, Any]], *rest: Any) -> None:
        """One of the log's deeds on an object, of whoever is its producer."""

        async def work() -> None:
            async with self._pool.connection() as conn, conn.transaction():
                ((producer,),) = await facts.fetch(
                    conn,
                    "SELECT v.producer FROM versions v JOIN objects o ON o.pk = v.object WHERE o.stix_id = %s LIMIT 1",
                    (stix_id,),
                )
                places = [(await members.shelf(conn, code)).own for code in rest]
                await deed(conn, Subject(stix_id, producer), *places, By("test", times.now()))

        self._run(work())

    def organization(self) -> str:
        """The code of an organization's audience."""

        async def work() -> str:
            async with self._pool.connection() as conn:
                query = "SELECT a.code FROM audiences a WHERE a.kind = 'organization' ORDER BY a.pk LIMIT 1"
                ((code,),) = await facts.fetch(conn, query)
            return str(code)

        code: str = self._run(work())
        return code

    def waiting(self) -> tuple[int, int]:
        """How many objects wait, and how many lines of pending they have in a status."""

        async def work() -> tuple[int, int]:
            async with self._pool.connection() as conn:
                query = "SELECT (SELECT count(*) FROM held), (SELECT count(*) FROM pendings)"
                ((held, pending),) = await facts.fetch(conn, query)
            return held, pending

        counts: tuple[int, int] = self._run(work())
        return counts

    def stored(self, *, history: bool = False, code: str = "us") -> list[dict[str, Any]]:
        async def work() -> list[bytes]:
            async with self._pool.connection() as conn:
                wanted = Versions(last=False, all=True) if history else Versions()
                return (await page(conn, await members.shelf(conn, code), Query(limit=100, versions=wanted))).objects

        found = [orjson.loads(raw) for raw in self._run(work())]
        return [each for each in found if each["id"] not in markings.MARKINGS]


@pytest.fixture
def reader(pool: Pool, run: Run) -> Reader:
    return Reader(pool, run)


def table(*rows: str) -> bytes:
    return "\n".join(["value,note,seen", *rows, ""]).encode()


TABLE_FEED = Feed(
    name="a-table",
    path="list.csv",
    format="csv",
    columns=dict(TABLE),
    license="CC0-1.0",
    redistribute=True,
    sample=True,
)


def test_each_value_becomes_one_object_and_each_other_line_a_problem(reader: Reader) -> None:
    pieces, problems = reader.author(list(text.read(LIST)))
    made = [orjson.loads(piece) for piece in pieces]

    assert [each["pattern"] for each in made] == [
        "[domain-name:value = 'results.example']",
        "[ipv4-addr:value = '192.0.2.7']",
        "[url:value = 'https://results.example/login']",
    ]
    assert [problem.line for problem in problems] == [5]
    assert {each["created_by_ref"] for each in made} == {PRODUCER}
    assert {each["valid_from"] for each in made} == {"2026-01-01T00:00:00.000Z"}
    assert [objects.accept(piece).id for piece in pieces] == [each["id"] for each in made]


def test_ids_follow_from_source_and_value(reader: Reader) -> None:
    (piece,), _ = reader.author(list(text.read(b"results.example")))
    (again,), _ = reader.author(list(text.read(b"RESULTS[.]example")))
    (other,), _ = reader.author(list(text.read(b"results.example")), source="another list")

    assert piece == again
    assert orjson.loads(piece)["id"] == authored.indicator_id("a list", "results.example")
    assert orjson.loads(other)["id"] == authored.indicator_id("another list", "results.example")


def test_a_cve_becomes_a_vulnerability(reader: Reader) -> None:
    (piece,), _ = reader.author(list(csv.read(b"value\nCVE-2026-0001\n", {"value": "value"}, "cve")))
    made = orjson.loads(piece)

    assert (made["type"], made["name"]) == ("vulnerability", "CVE-2026-0001")
    assert made["id"] == authored.vulnerability_id("a list", "CVE-2026-0001")


@pytest.mark.parametrize("tlp", [TLP.CLEAR, TLP.GREEN, TLP.AMBER])
def test_they_carry_the_marking_of_their_source(reader: Reader, tlp: TLP) -> None:
    (piece,), _ = reader.author(list(text.read(b"results.example")), tlp=tlp)

    assert orjson.loads(piece)["object_marking_refs"] == markings.refs(tlp)


def test_a_list_for_an_organization_is_for_it_alone_unless_somebody_names_a_marking(reader: Reader) -> None:
    code = reader.organization()
    reader.take_in(b"results.example\n", to=code)
    reader.take_in(b"ballots.example\n", to=code, tlp=TLP.GREEN)
    reader.take_in(table("polls.example,a,"), TABLE_FEED, to=code)

    made = [each["object_marking_refs"] for each in reader.stored(code=code)]
    assert made == [markings.refs(tlp) for tlp in (TLP.AMBER_STRICT, TLP.GREEN, TLP.GREEN)]


def test_a_feed_marks_the_stix_that_comes_unmarked(reader: Reader) -> None:
    feed = TABLE_FEED.model_copy(update={"format": "stix", "tlp": TLP.CLEAR})
    reader.take_in(relayed(), feed, to="public")

    assert [each["type"] for each in reader.stored(code="public")] == ["tool"]


def test_a_list_for_an_organization_too_is_not_taken_from_the_nation(reader: Reader) -> None:
    code = reader.organization()
    reader.take_in(b"results.example\n")
    before = reader.stored()

    assert reader.take_in(b"results.example\n", to=code).outcome.counts == Counts(accepted=1)
    assert reader.stored() == reader.stored(code=code) == before
    assert reader.take_in(b"results.example\n", to=code, tlp=TLP.AMBER_STRICT).outcome.counts == Counts(accepted=1)
    assert [each["type"] for each in reader.stored()] == ["note"]


def event(*values: str, **rest: Any) -> bytes:
    attributes = [{"type": "domain", "value": value, "to_ids": value != "context.example"} for value in values]
    return orjson.dumps({"Event": {"info": rest.pop("info", "Lantern"), "Attribute": attributes, **rest}})


def test_an_event_of_misp_keeps_its_marking_and_leaves_context_out(reader: Reader) -> None:
    of_amber = event("results.example", "context.example", Tag=[{"name": "tlp:amber"}])
    reading = reader.take_in(of_amber, tlp=TLP.CLEAR)

    assert reading.outcome.counts == Counts(accepted=1)
    assert [each.left_out for each in reading.problems] == [True]
    (made,) = reader.stored()
    assert made["object_marking_refs"] == markings.refs(TLP.AMBER)
    assert made["external_references"] == [{"source_name": "misp", "description": "Lantern"}]
    assert reader.take_in(of_amber, tlp=TLP.CLEAR).outcome.counts == Counts(repeated=1)


def test_an_event_for_few_does_not_go_to_the_nation(reader: Reader) -> None:
    for_few = event("results.example", distribution="0")
    assert reader.take_in(for_few).outcome.counts == Counts(held=1)
    assert reader.stored() == []
    assert reader.take_in(for_few).outcome.counts == Counts(held=1)
    assert reader.waiting()[0] == 1, "what has not changed waits once"


@pytest.mark.parametrize(
    ("first", "second", "tlp"),
    [
        ({"distribution": "0"}, {"distribution": "3"}, TLP.GREEN),
        ({"distribution": "4"}, {"distribution": "1", "Tag": [{"name": "tlp:amber"}]}, TLP.AMBER),
        ({"Tag": [{"name": "tlp:red"}]}, {"Tag": [{"name": "tlp:clear"}]}, TLP.CLEAR),
        ({"Tag": [{"name": "tlp:red"}]}, {}, TLP.GREEN),
    ],
)
def test_an_event_that_is_for_more_now_goes_to_more(reader: Reader, first: Any, second: Any, tlp: TLP) -> None:
    assert reader.take_in(event("results.example", **first)).outcome.counts == Counts(held=1)
    assert reader.take_in(event("results.example", **second)).outcome.counts == Counts(accepted=1)
    (made,) = reader.stored()
    assert made["object_marking_refs"] == markings.refs(tlp)
    assert made["id"] == authored.indicator_id("a list", "results.example")
    assert made["created"] < made["modified"], "it is the same object as the one that waits"
    assert reader.take_in(event("results.example", **second)).outcome.counts == Counts(repeated=1)


def test_an_event_for_few_goes_to_an_organization_and_to_more_when_its_sender_widens_it(reader: Reader) -> None:
    code = reader.organization()
    for_few, wide = (event("results.example", distribution=number) for number in "03")
    assert reader.take_in(for_few).outcome.counts == Counts(held=1)
    assert reader.take_in(for_few, to=code).outcome.counts == Counts(accepted=1)
    assert [each["object_marking_refs"] for each in reader.stored(code=code)] == [markings.refs(TLP.AMBER_STRICT)]
    assert reader.stored() == []
    assert reader.take_in(wide, to=code).outcome.counts == Counts(repeated=1), "an organization's is for it alone"
    assert reader.take_in(wide).outcome.counts == Counts(accepted=1)
    assert [each["object_marking_refs"] for each in reader.stored()] == [markings.refs(TLP.GREEN)]
    assert reader.take_in(wide, to=code).outcome.counts == Counts(repeated=1), "and is not taken from the nation"
    assert [each["object_marking_refs"] for each in reader.stored()] == [markings.refs(TLP.GREEN)]


def test_a_marking_that_was_too_strict_once_is_not_kept(reader: Reader) -> None:
    values = b"results.example\n"
    for _ in range(2):
        assert reader.take_in(values, tlp=TLP.RED).outcome.counts == Counts(held=1)
        assert reader.waiting()[0] == 1
    assert reader.take_in(values, tlp=TLP.AMBER_STRICT).outcome.counts == Counts(held=1)
    assert reader.take_in(values).outcome.counts == Counts(accepted=1)
    assert [each["object_marking_refs"] for each in reader.stored()] == [markings.refs(TLP.GREEN)]
    assert reader.take_in(values).outcome.counts == Counts(repeated=1)


@pytest.mark.parametrize("named", [False, True])
def test_the_events_of_an_archive_are_one_document(tmp_path: Path, named: bool) -> None:
    feed = Feed(name="a-feed", path="feed.tar", format="misp", license="CC0-1.0") if named else None
    index = orjson.dumps({"5b1c2d3e-0000-4000-8000-00000000000a": {"info": "Lantern"}})
    members_of_it = {"manifest.json": index, "a.json": event("a.example"), "b.json": event("a.example", info="Later")}
    with tarfile.open(tmp_path / "feed.tar", "w") as archive:
        for name, content in members_of_it.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    (payload,) = files.payloads(tmp_path / "feed.tar", feed)

    assert [found.line for found in misp.read_events(payload.events)] == [1, 2]


def test_an_empty_list_gives_nothing(reader: Reader) -> None:
    assert reader.author([]) == ([], [])


def test_more_values_than_one_batch_keep_their_order(reader: Reader) -> None:
    values = [f"h{number}.example" for number in range(4001)]
    pieces, _ = reader.author(list(text.read("\n".join(values).encode())))

    assert [orjson.loads(piece)["pattern"].split("'")[1] for piece in pieces] == values


CATALOG: dict[str, str | list[str]] = {"value": "cve", "action": "todo", "due": "due"}


def test_what_is_to_be_done_is_an_object_of_its_own_that_mitigates_the_value(reader: Reader) -> None:
    rows = "cve,todo,due\nCVE-1999-99901,Apply the update.,2026-02-01\nCVE-1999-99902,,\n"
    feed = Feed(name="kev", path="x", format="csv", license="x", redistribute=True, kind="cve", columns=CATALOG)
    assert reader.take_in(rows.encode(), feed).outcome.counts == Counts(accepted=4)

    by_type = {body["type"]: body for body in reader.stored()}
    assert by_type["course-of-action"]["description"] == "Apply the update.\n\nDue by 2026-02-01."
    assert by_type["relationship"]["relationship_type"] == "mitigates"
    assert by_type["relationship"]["source_ref"] == by_type["course-of-action"]["id"]
    names = {body["id"]: body["name"] for body in reader.stored() if body["type"] == "vulnerability"}
    assert names[by_type["relationship"]["target_ref"]] == "CVE-1999-99901"
    assert sorted(names.values()) == ["CVE-1999-99901", "CVE-1999-99902"]

    assert reader.take_in(rows.encode(), feed).outcome.counts == Counts(repeated=4)
    later = rows.replace("2026-02-01", "2026-03-01")
    assert reader.take_in(later.encode(), feed).outcome.counts == Counts(accepted=1, repeated=3)


def test_what_is_listed_again_after_a_revocation_is_mitigated_under_its_new_id(reader: Reader) -> None:
    rows = b"cve,todo,due\nCVE-1999-99901,Apply the update.,2026-02-01\n"
    feed = Feed(name="kev", path="x", format="csv", license="x", redistribute=True, kind="cve", columns=CATALOG)
    reader.take_in(rows, feed)
    (first,) = [body["id"] for body in reader.stored() if body["type"] == "vulnerability"]
    reader.deed(first, log.revoke)
    reader.take_in(rows, feed)

    (second,) = [b["id"] for b in reader.stored() if b["type"] == "vulnerability" and not b.get("revoked")]
    (relationship,) = [body for body in reader.stored() if body["type"] == "relationship"]
    assert second != first
    assert relationship["target_ref"] == second


def test_who_is_listed_under_a_number_becomes_an_identity(reader: Reader) -> None:
    rows = b"number,name,type,program\n7,Example Trading,-0- ,A] [B\n8,Jane Doe,individual,\n9,A Ship,vessel,\n"
    columns: dict[str, str | list[str]] = {"value": "number", "name": "name", "kind": "type", "labels": "program"}
    feed = Feed(
        name="sdn", path="x", format="csv", license="x", redistribute=True, kind="organization", columns=columns
    )
    reading = reader.take_in(rows, feed, source="Sanctions")
    assert reading.outcome.counts == Counts(accepted=2)
    assert [problem.reason[:30] for problem in reading.problems] == ["«vessel» is no kind of observa"]

    by_name = {body["name"]: body for body in reader.stored()}
    assert by_name["Example Trading"]["identity_class"] == "organization"
    assert by_name["Example Trading"]["labels"] == ["A", "B"]
    assert by_name["Example Trading"]["external_references"] == [{"source_name": "Sanctions", "external_id": "7"}]
    assert by_name["Jane Doe"]["identity_class"] == "individual"
    renamed = rows.replace(b"Jane", b"Joan")
    assert reader.take_in(renamed, feed, source="Sanctions").outcome.counts == Counts(accepted=1, repeated=1)


def test_an_unchanged_list_without_dates_writes_nothing(reader: Reader) -> None:
    first = reader.take_in(LIST)
    before = reader.stored(history=True)
    second = reader.take_in(LIST)

    assert (first.outcome.counts, len(first.problems)) == (Counts(accepted=3, repeated=1), 1)
    assert (second.outcome.counts, len(second.problems)) == (Counts(repeated=4), 1)
    assert len(before) == 3
    assert reader.stored(history=True) == before


def test_an_unchanged_table_with_dates_writes_nothing(reader: Reader) -> None:
    rows = table("results.example,a,2026-01-02", "ballots.example,b,2026-01-03T04:05:06Z")
    assert reader.take_in(rows, TABLE_FEED).outcome.counts == Counts(accepted=2)
    before = reader.stored(history=True)

    assert reader.take_in(rows, TABLE_FEED).outcome.counts == Counts(repeated=2)
    assert reader.stored(history=True) == before
    assert [each["valid_from"] for each in before] == ["2026-01-02T00:00:00.000Z", "2026-01-03T04:05:06.000Z"]


def test_other_order_and_spelling_write_nothing(reader: Reader) -> None:
    reader.take_in(b"results.example\n192.0.2.7\n")

    assert reader.take_in(b"192[.]0.2.7\r\nRESULTS.example\r\n").outcome.counts == Counts(repeated=2)


def test_a_changed_line_writes_one_version(reader: Reader) -> None:
    reader.take_in(table("results.example,a,", "ballots.example,b,"), TABLE_FEED)
    reading = reader.take_in(table("results.example,a,", "ballots.example,changed,"), TABLE_FEED)

    assert reading.outcome.counts == Counts(accepted=1, repeated=1)
    first, second = (each for each in reader.stored(history=True) if "ballots" in each["pattern"])
    assert (first["description"], second["description"]) == ("b", "changed")
    assert (first["id"], first["created"]) == (second["id"], second["created"])
    assert first["modified"] < second["modified"]
    assert len(reader.stored()) == 2


def test_a_new_line_writes_one_object(reader: Reader) -> None:
    reader.take_in(b"results.example\n")

    assert reader.take_in(b"results.example\nballots.example\n").outcome.counts == Counts(accepted=1, repeated=1)


def test_two_sources_of_one_value_write_two_indicators(reader: Reader) -> None:
    reader.take_in(b"results.example\n")

    assert reader.take_in(b"results.example\n", source="another").outcome.counts == Counts(accepted=1)
    assert len(reader.stored()) == 2


def test_what_was_revoked_returns_as_its_next_generation(reader: Reader) -> None:
    def ids() -> list[str]:
        return [each["id"] for each in reader.stored() if not each.get("revoked")]

    generations = [authored.indicator_id("a list", "results.example", generation) for generation in range(3)]
    other = authored.indicator_id("a list", "192.0.2.7")
    values = b"results.example\n192.0.2.7\n"
    reader.take_in(values)
    for number in (1, 2):
        reader.deed(generations[number - 1], log.revoke)
        assert ids() == [other]
        assert reader.take_in(values).outcome.counts == Counts(accepted=1, repeated=1)
        assert ids() == [other, generations[number]]
        before = reader.stored(history=True)
        assert reader.take_in(values).outcome.counts == Counts(repeated=2)
        assert reader.stored(history=True) == before


def test_a_vulnerability_that_was_revoked_returns_too(reader: Reader) -> None:
    feed = TABLE_FEED.model_copy(update={"kind": "cve"})
    rows = table("CVE-2026-0001,a,")
    reader.take_in(rows, feed)
    reader.deed(authored.vulnerability_id("a list", "CVE-2026-0001"), log.revoke)
    reader.take_in(rows, feed)

    assert reader.stored()[-1]["id"] == authored.vulnerability_id("a list", "CVE-2026-0001", 1)
    assert reader.take_in(rows, feed).outcome.counts == Counts(repeated=1)


def relayed(**more: Any) -> bytes:
    found = {
        "type": "tool",
        "spec_version": "2.1",
        "id": "tool--00000000-0000-4000-8000-000000000001",
        "created_by_ref": PRODUCER,
        "created": "2026-01-01T00:00:00.000Z",
        "modified": "2026-01-01T00:00:00.000Z",
        "name": "a name",
    }
    return orjson.dumps(found | more)


def test_what_waits_is_written_once_however_often_its_feed_brings_it(reader: Reader) -> None:
    odd = relayed(object_marking_refs=["marking-definition--00000000-0000-4000-8000-000000000002"])

    for _ in range(2):
        assert reader.take_in(odd).outcome.counts == Counts(held=1)
        assert reader.waiting() == (1, 0)


def test_what_was_withdrawn_comes_back_by_the_isac_and_not_by_its_source(reader: Reader) -> None:
    assert reader.take_in(relayed()).outcome.counts == Counts(accepted=1)
    reader.deed("tool--00000000-0000-4000-8000-000000000001", log.withdraw, "us")

    again = reader.take_in(relayed()).outcome
    assert (again.counts, again.pendings[0]["message"]) == (
        Counts(held=1),
        "This object was withdrawn; an analyst has to decide whether it comes back.",
    )
    assert [each["type"] for each in reader.stored()] == ["note"]
    assert reader.take_in(relayed(), source="Election ISAC").outcome.counts == Counts(accepted=1)
    assert [each["type"] for each in reader.stored()] == ["tool"]


def test_what_may_not_be_passed_on_is_not_released(reader: Reader) -> None:
    with pytest.raises(Invalid, match="redistribute"):
        reader.take_in(b"ioc\nresults.example\n", feed=TABLE_FEED.model_copy(update={"redistribute": False}))
