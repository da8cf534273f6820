"""The road: what is taken, held, refused or there already, and why; one bad object never costs its batch."""

import uuid
from datetime import timedelta
from typing import Any

import orjson
import pytest
from tests.ingest.conftest import Body, Desk

from isac import times
from isac.errors import Invalid
from isac.stix import markings
from isac.stix.markings import TLP
from isac.stix.objects import accept
from isac.store import facts, log, objects, submissions
from isac.store.objects import Query, Versions
from isac.store.submissions import Counts

JANUARY, FEBRUARY = (f"2026-0{month}-01T00:00:00.000Z" for month in (1, 2))
#: a creator who is no member here
ELSEWHERE = "identity--00000000-0000-4000-8000-0000000000e1"
ACS = {
    "extension_type": "property-extension",
    "identifier": "isa:guide.19001.ACS3-00000000-0000-4000-8000-000000000001",
    "create_date_time": JANUARY,
    "responsible_entity_custodian": "USA.DHS",
    "responsible_entity_originator": "USA.DHS",
    "policy_reference": "urn:isa:policy:acs:ns:v3.0?privdefault=deny&sharedefault=deny",
    "control_set": {"classification": "S"},
}

MARKED: dict[TLP, Body] = {tlp: {"object_marking_refs": markings.refs(tlp)} for tlp in TLP}


def body(kind: str = "tool", **more: Any) -> Body:
    head = {"type": kind, "spec_version": "2.1", "id": f"{kind}--{uuid.uuid4()}"}
    return {**head, "created": JANUARY, "modified": JANUARY, "name": "a name", **more}


def observable(kind: str, **more: Any) -> Body:
    return {"type": kind, "spec_version": "2.1", "id": f"{kind}--{uuid.uuid4()}", **more}


def marking(**more: Any) -> Body:
    found = body("marking-definition", definition_type="statement", definition={"statement": "For members"}, **more)
    del found["modified"], found["name"]
    return found


def linked(one: Body, other: Body, **more: Any) -> Body:
    ends = {"relationship_type": "related-to", "source_ref": one["id"], "target_ref": other["id"]}
    found = body("relationship", **ends, **more)
    del found["name"]
    return found


def in_minutes(minutes: int) -> Body:
    later = times.taxii(times.now() + timedelta(minutes=minutes))
    return body(created=later, modified=later)


def reason(lines: list[dict[str, str]], one: Body) -> str:
    (message,) = [line["message"] for line in lines if line["id"] == one["id"]]
    return message


# ----------------------------------------------------------------------------------------------- counts, batches, bytes


def test_everything_is_counted_with_its_reason(desk: Desk) -> None:
    known, fresh, odd = body(), body(), body(object_marking_refs=[marking()["id"]])
    wrong = body(name=7)
    desk.take(known)

    outcome = desk.take(known, fresh, odd, wrong)

    assert outcome.counts == Counts(accepted=1, held=1, refused=1, repeated=1)
    assert {line["id"] for line in outcome.successes} == {known["id"], fresh["id"]}
    assert "whose restrictions are not known here" in reason(outcome.pendings, odd)
    assert "name" in reason(outcome.failures, wrong)
    assert {line["version"] for line in outcome.successes} == {JANUARY}


def test_copies_of_one_object_count_as_what_became_of_it(desk: Desk) -> None:
    fresh, wrong, odd, red = body(), body(name=7), body(object_marking_refs=[marking()["id"]]), body(**MARKED[TLP.RED])
    outcome = desk.take(fresh, wrong, odd, red, fresh, wrong, odd, red)

    assert outcome.counts == Counts(accepted=1, held=4, refused=2, repeated=1)
    assert [line["id"] for line in outcome.successes] == [fresh["id"]] * 2


def test_versions_of_one_object_are_written_in_their_order(desk: Desk) -> None:
    for _ in range(10):
        versions = [body() | {"id": f"tool--{uuid.uuid4()}"}]
        versions += [versions[0] | {"modified": f"2026-01-0{day}T00:00:00.000Z"} for day in (2, 3)]
        desk.take(*versions[:2], *(body() for _ in range(60)), versions[2])
        page: objects.Page = desk.ask(
            objects.page, desk.shelf("us"), Query(limit=9, ids=(versions[0]["id"],), versions=Versions(all=True))
        )
        assert [orjson.loads(raw) for raw in page.objects] == versions


def test_the_status_says_what_the_outcome_says(desk: Desk) -> None:
    outcome = desk.take(body(), body(name=7), body(object_marking_refs=[marking()["id"]]))
    status: submissions.Status = desk.ask(submissions.status, outcome.id, desk.actor("isac_steward"))

    assert (status.total, status.success, status.failure, status.pending) == (3, 1, 1, 1)
    assert not status.complete
    assert (status.successes, status.failures, status.pendings) == (
        outcome.successes,
        outcome.failures,
        outcome.pendings,
    )


def test_a_second_run_adds_nothing(desk: Desk) -> None:
    sent = [body(), body(**MARKED[TLP.RED]), body(name=7), observable("mutex", name="a"), marking(), in_minutes(4)]
    first = desk.take(*sent)
    before = desk.rows()
    second = desk.take(*sent)

    assert (first.counts.accepted, first.counts.held, first.counts.refused) == (3, 2, 1)
    assert (second.counts.accepted, second.counts.repeated, second.counts.refused) == (0, 3, 1)
    assert desk.rows() == before


def test_bytes_come_back_as_they_came(desk: Desk) -> None:
    head = f'"id" :"tool--{uuid.uuid4()}",\t"spec_version":"2.1"'
    odd = (
        f'{{ "modified": "2026-01-01T00:00:00.000000Z" , "x_n": 1.50e+2,"name":"Caf\\u00e9 \\ud83d\\ude00 \\/ <é>",\n'
        f'  {head},  "created":"2026-01-01T00:00:00Z","type":"tool", "x_list" : [ 1 ,2] }}'
    ).encode()

    assert desk.take(odd).counts == Counts(accepted=1)
    assert desk.page() == [odd]


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("2031-02-03T04:05:06.123456789Z", "2031-02-03 04:05:06.123456+00"),
        ("9999-12-31T23:59:59Z", "9999-12-31 23:59:59+00"),
        (None, None),
    ],
)
def test_when_an_indicator_ends_is_known_to_the_microsecond(desk: Desk, written: str | None, kept: str | None) -> None:
    pattern = {"pattern": "[mutex:name = 'a']", "pattern_type": "stix", "valid_from": JANUARY}
    sent = body("indicator", **pattern, **({"valid_until": written} if written else {}))
    desk.take(sent)
    query = "SELECT valid_until::text FROM versions v JOIN objects o ON o.pk = v.object WHERE stix_id = %s"

    assert desk.ask(facts.fetch, query, (sent["id"],)) == [(kept,)]


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"id": 7}',
        b'{"type":"tool","id":"tool--x"}',
        b"\xff\xfe",
        b"{" * 90,
    ],
)
def test_a_bad_object_costs_itself_alone(desk: Desk, bad: bytes) -> None:
    before, after = body(), body()
    outcome = desk.take(before, bad, after)

    assert outcome.counts == Counts(accepted=2, refused=1)
    assert sorted(desk.ids()) == sorted([before["id"], after["id"]])
    (line,) = outcome.failures
    assert line["message"]
    assert line["version"]


def test_an_empty_submission_is_complete(desk: Desk) -> None:
    outcome = desk.take()

    assert outcome.counts == Counts()
    assert desk.ask(submissions.status, outcome.id, desk.actor("isac_steward")).complete


def test_five_thousand_objects_come_in_batches(desk: Desk) -> None:
    many = [observable("mutex", name=str(number)) for number in range(5000)]
    batches: list[int] = []
    outcome = desk.take(*many, to="us-tx", progress=batches.append)

    assert outcome.counts == Counts(accepted=5000)
    assert sum(batches) == 5000
    assert max(batches) <= log.BATCH
    assert len(batches) >= 3
    assert sorted(desk.ids("us-tx")) == sorted(each["id"] for each in many)
    assert desk.take(*many, to="us-tx").counts == Counts(repeated=5000)


@pytest.mark.parametrize("order", [(JANUARY, FEBRUARY), (FEBRUARY, JANUARY)])
def test_two_versions_of_one_id_in_one_submission_are_both_there(desk: Desk, order: tuple[str, str]) -> None:
    one = body()
    first, second = ({**one, "modified": modified, "name": modified} for modified in order)
    outcome = desk.take(first, second)

    assert outcome.counts == Counts(accepted=2)
    assert [orjson.loads(raw)["modified"] for raw in desk.page()] == [FEBRUARY]
    everything = [orjson.loads(raw)["modified"] for raw in desk.page(versions=Versions(last=False, all=True))]
    assert sorted(everything) == [JANUARY, FEBRUARY]


def test_the_same_object_twice_in_one_submission_is_there_once(desk: Desk) -> None:
    one = body()

    assert desk.take(one, one).counts == Counts(accepted=1, repeated=1)
    assert desk.ids() == [one["id"]]


# ---------------------------------------------------------------------------------------------------------- companions


@pytest.mark.taxii("L-13")
def test_companions_come_first(desk: Desk) -> None:
    """L-13: marking definitions and identities come before, or with, the objects that use them."""
    statement, who = marking(), body("identity", identity_class="organization")
    what = body(created_by_ref=who["id"], object_marking_refs=[*markings.refs(TLP.GREEN), statement["id"]])

    assert desk.take(what, statement, who).counts == Counts(accepted=3)
    assert desk.ids()[-1] == what["id"]


def test_companions_come_first_whatever_words_the_others_use(desk: Desk) -> None:
    statement = marking()
    what = body(labels=["identity"], object_marking_refs=[*markings.refs(TLP.GREEN), statement["id"]])

    assert desk.take(what, statement).counts == Counts(accepted=2)
    assert desk.ids() == [statement["id"], what["id"]]


def test_a_marking_known_from_an_earlier_submission_is_understood(desk: Desk) -> None:
    statement = marking()
    desk.take(statement)

    assert desk.take(body(object_marking_refs=[statement["id"]])).counts == Counts(accepted=1)


# ------------------------------------------------------------------------------------------------ screened: what may be


def _forged() -> list[Body]:
    fixed = markings.definition(TLP.GREEN)
    return [
        fixed | {"name": "TLP:CLEAR"},
        fixed | {"id": marking()["id"]},
        marking() | {"definition_type": "tlp", "definition": {"tlp": "green"}},
    ]


@pytest.mark.parametrize("forged", _forged())
def test_a_forged_tlp_is_refused(desk: Desk, forged: Body) -> None:
    before = desk.rows()

    outcome = desk.take(forged)

    assert outcome.counts == Counts(refused=1)
    assert reason(outcome.failures, forged)
    assert desk.rows() == before


def test_the_genuine_tlp_definitions_are_there_already(desk: Desk) -> None:
    assert desk.take(markings.definition(TLP.GREEN), to="public").counts == Counts(repeated=1)


def test_an_unknown_marking_is_held(desk: Desk) -> None:
    odd = body(object_marking_refs=[marking()["id"]])

    assert desk.take(odd).counts == Counts(held=1)
    assert desk.rules() == {odd["id"]: "marking"}
    assert desk.ids() == []


def test_an_acs_marking_that_is_not_classified_is_held_with_what_it_marks(desk: Desk) -> None:
    extension = {markings.ACS_EXTENSION: ACS | {"control_set": {"classification": "U"}}}
    definition = marking(extensions=extension)
    del definition["definition"], definition["definition_type"]
    marked = body(object_marking_refs=[definition["id"]])

    assert desk.take(definition, marked).counts == Counts(held=2)
    assert desk.rules() == {definition["id"]: "marking", marked["id"]: "marking"}


def test_what_is_classified_is_refused_and_stored_nowhere(desk: Desk) -> None:
    definition = marking(extensions={markings.ACS_EXTENSION: ACS})
    del definition["definition"], definition["definition_type"]
    marked = body(object_marking_refs=[definition["id"]], name="hush")
    before = desk.rows()
    outcome = desk.take(definition, marked)

    assert outcome.counts == Counts(refused=2)
    assert "lassified" in reason(outcome.failures, marked)
    assert desk.rows() == before


@pytest.mark.parametrize("text", ["TOP SECRET//SI//NOFORN", "(S//NF) a server", "SECRET//REL TO USA"])
def test_a_classification_banner_is_refused_and_stored_nowhere(desk: Desk, text: str) -> None:
    before = desk.rows()
    banner = body(description=text)
    outcome = desk.take(banner)

    assert outcome.counts == Counts(refused=1)
    assert "lassifi" in reason(outcome.failures, banner)
    assert desk.rows() == before


DOCUMENTED = [
    observable("ipv4-addr", value="192.0.2.7"),
    observable("ipv6-addr", value="2001:db8::7"),
    observable("domain-name", value="results.example"),
    observable("url", value="https://results.example.org/a"),
    body("indicator", pattern="[ipv4-addr:value = '198.51.100.7']", pattern_type="stix", valid_from=JANUARY),
]


@pytest.mark.parametrize("one", DOCUMENTED, ids=[each["type"] for each in DOCUMENTED])
def test_documentation_addresses_are_for_samples_alone(desk: Desk, one: Body) -> None:
    outcome = desk.take(one)

    assert outcome.counts == Counts(refused=1)
    assert "reserved for documentation" in reason(outcome.failures, one)
    assert desk.take(one, sample=True).counts == Counts(accepted=1)


@pytest.mark.taxii("L-16")
def test_a_little_in_the_future_is_held(desk: Desk) -> None:
    soon = in_minutes(4)

    assert desk.take(soon).counts == Counts(held=1)
    assert desk.rules() == {soon["id"]: "future"}


@pytest.mark.taxii("L-16")
def test_far_in_the_future_is_refused(desk: Desk) -> None:
    late = in_minutes(6)
    outcome = desk.take(late)

    assert outcome.counts == Counts(refused=1)
    assert "future" in reason(outcome.failures, late)


# ------------------------------------------------------------------------------------------------------------------ TLP


@pytest.mark.parametrize(
    ("tlp", "audience", "fits"),
    [
        (TLP.CLEAR, "public", True),
        (TLP.GREEN, "public", False),
        (TLP.GREEN, "us", True),
        (TLP.AMBER, "us-oh", True),
        (TLP.AMBER_STRICT, "us-oh-39901", False),
        (TLP.RED, "us", False),
        (TLP.RED, "own", True),
    ],
)
def test_what_is_too_strict_for_its_audience_is_held(desk: Desk, tlp: TLP, audience: str, fits: bool) -> None:
    code = desk.own("isac_steward") if audience == "own" else audience
    one = body(**MARKED[tlp])

    assert desk.take(one, to=code).counts == (Counts(accepted=1) if fits else Counts(held=1))
    assert desk.rules() == ({} if fits else {one["id"]: "tlp"})
    assert desk.ids(code) == ([one["id"]] if fits else [])


def test_what_is_unmarked_has_the_default_of_its_source(desk: Desk) -> None:
    one, other = body(), body()

    assert desk.take(one, tlp=TLP.RED).counts == Counts(held=1)
    assert desk.take(other, tlp=TLP.CLEAR, to="public").counts == Counts(accepted=1)
    assert desk.take(body(), to="public").counts == Counts(held=1)


def _company() -> dict[str, list[Body]]:
    """What is sent together; but for a clear tool, all of it is somehow part of something red."""
    lock, address = observable("mutex", name="lantern"), observable("ipv4-addr", value="192.0.2.7")
    host = observable("domain-name", value="results.example", resolves_to_refs=[address["id"]])
    red, clear = body(**MARKED[TLP.RED]), body(name="clear", **MARKED[TLP.CLEAR])
    report = body("report", published=JANUARY, object_refs=[lock["id"], host["id"]], **MARKED[TLP.RED])
    return {
        "an observable that a red report names": [lock, report],
        "an observable that a red relationship names": [lock, clear, linked(clear, lock, **MARKED[TLP.RED])],
        "a relationship of a red object": [linked(clear, red), clear, red],
        "an observable tied to a red object": [lock, linked(red, lock), red],
        "an observable that is named by one that a red report names": [address, host, report],
        "a relationship of an observable that a red report names": [linked(clear, lock), clear, lock, report],
    }


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("case", list(_company()))
def test_what_is_unmarked_is_as_strict_as_its_company(desk: Desk, case: str, reverse: bool) -> None:
    """log-cases F18: an unmarked SCO in a RED report would take a GREEN default and publish the very address."""
    sent = _company()[case]
    desk.take(*(reversed(sent) if reverse else sent), sample=True)

    assert [orjson.loads(raw).get("name") for raw in desk.page()] in ([], ["clear"])


def test_an_observable_in_nobodys_company_has_the_default(desk: Desk) -> None:
    lock = observable("mutex", name="lantern")

    assert desk.take(lock, body(**MARKED[TLP.RED])).counts == Counts(accepted=1, held=1)
    assert desk.ids() == [lock["id"]]


def test_identities_and_markings_travel_to_everybody(desk: Desk) -> None:
    who = body("identity", identity_class="organization")
    what = body(created_by_ref=who["id"], **MARKED[TLP.RED])

    assert desk.take(who, marking(), what, to="public").counts == Counts(accepted=2, held=1)


# --------------------------------------------------------------------------------------------------- whose an object is


def test_what_names_no_creator_is_known_from_whoever_sees_it(desk: Desk) -> None:
    identity = body("identity", identity_class="organization")
    desk.take(identity)
    wanted, again = (desk.take(identity, by="franklin_submitter", to="us-oh-39901") for _ in range(2))
    other = desk.take(identity | {"name": "another"}, by="franklin_submitter", to="us-oh-39901")

    # The county's wish for it is kept, and nobody meets it twice.
    assert (wanted.counts, again.counts) == (Counts(accepted=1), Counts(repeated=1))
    assert desk.page("us-oh-39901", Versions(all=True)) == [orjson.dumps(identity)]
    assert other.counts == Counts(refused=1)

    own = body("identity", identity_class="organization", **MARKED[TLP.AMBER_STRICT])
    desk.take(own, by="franklin_submitter", to=desk.own("franklin_submitter"))
    unseen = desk.take(own, by="cook_submitter", to=desk.own("cook_submitter"))
    assert unseen.counts == Counts(accepted=1)


def test_another_members_creator_is_held(desk: Desk) -> None:
    claimed = body(created_by_ref=desk.actor("oak").identity)
    outcome = desk.take(claimed, by="franklin_submitter", to="us-oh-39901")

    assert outcome.counts == Counts(held=1)
    assert desk.rules() == {claimed["id"]: "creator"}
    assert desk.ids("us-oh-39901") == []


def test_ones_own_creator_is_taken(desk: Desk) -> None:
    own = body(created_by_ref=desk.actor("franklin_submitter").identity)

    assert desk.take(own, by="franklin_submitter", to="us-oh-39901").counts == Counts(accepted=1)


def test_a_foreign_creator_is_relayed(desk: Desk) -> None:
    relayed = body(created_by_ref=ELSEWHERE)

    assert desk.take(relayed, by="franklin_submitter", to="us-oh-39901").counts == Counts(accepted=1)
    assert desk.page("us-oh-39901") == [orjson.dumps(relayed)]


@pytest.mark.taxii("A-16")
def test_other_content_under_one_version_is_refused(desk: Desk) -> None:
    one = body()
    desk.take(one)
    outcome = desk.take(one | {"name": "another"})

    assert outcome.counts == Counts(refused=1)
    assert "Other content is already stored" in reason(outcome.failures, one)
    assert desk.page() == [orjson.dumps(one)]


def test_other_content_of_what_the_poster_may_not_see_is_held_without_a_word_of_it(desk: Desk) -> None:
    """log-cases F17: conflict is answered only about what the poster may see, else held with a neutral reason."""
    one = body(created_by_ref=ELSEWHERE)
    desk.take(one, by="franklin_submitter", to=desk.own("franklin_submitter"))
    other = one | {"name": "another"}
    outcome = desk.take(other, by="cook_submitter", to=desk.own("cook_submitter"))

    assert outcome.counts == Counts(held=1)
    assert desk.rules() == {one["id"]: "review"}
    assert reason(outcome.pendings, one) == "An analyst has to look at this object before it can be released."
    assert desk.ids(desk.own("cook_submitter")) == []


def test_an_observable_belongs_to_each_who_hands_it_in(desk: Desk) -> None:
    """log-cases F17: A's bytes with a private note never stand in for B's plain ones."""
    plain = observable("mutex", name="lantern")
    noted = plain | {"x_note": "for us alone"}
    desk.take(noted, by="franklin_submitter", to=desk.own("franklin_submitter"))
    outcome = desk.take(plain, by="cook_submitter", to="us-il-17901")

    assert outcome.counts == Counts(accepted=1)
    assert desk.page("us-il-17901") == [orjson.dumps(plain)]
    assert desk.page(desk.own("franklin_submitter")) == [orjson.dumps(noted)]


def test_a_known_version_for_a_further_audience_is_given_to_it(desk: Desk) -> None:
    one = body()
    desk.take(one, to="us-oh-39901")

    assert desk.take(one, to="us-il-17901").counts == Counts(accepted=1)
    assert desk.ids("us-il-17901") == [one["id"]]
    assert desk.ids("us-tx") == []


# ---------------------------------------------------------------------------------------------------------- the sandbox


def test_the_free_road_takes_what_policy_would_hold_or_refuse(desk: Desk) -> None:
    sent = [
        body(**MARKED[TLP.RED]),
        body(object_marking_refs=[marking()["id"]]),
        body(created_by_ref=desk.actor("oak").identity),
        in_minutes(4),
        in_minutes(60),
        observable("ipv4-addr", value="192.0.2.7"),
    ]
    outcome = desk.take(*sent, by="franklin_submitter", to="us-oh-39901", free=True)

    assert outcome.counts == Counts(accepted=len(sent))
    assert sorted(desk.ids("us-oh-39901")) == sorted(each["id"] for each in sent)


def test_even_the_free_road_refuses_what_is_no_stix(desk: Desk) -> None:
    with pytest.raises(Invalid):
        accept(b"{}")

    assert desk.take(b"{}", free=True).counts == Counts(refused=1)
