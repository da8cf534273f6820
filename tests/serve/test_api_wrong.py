"""What is wrong with a request to the API, told in words that help; indicators in texts; errors around all that."""

import gzip
import json
import uuid

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import Person, serving, zipped
from tests.serve.api_world import EXTRACT, SUBMISSIONS, World, bundle, host, indicator, is_problem

from isac.errors import Busy
from isac.serve import forms, wire

# ----------------------------------------------------------------------------------------------------------- bad bodies

BOUNDARY = "multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
FILE = PART % (b"file", b'; filename="a.txt"', b"host-1.example")
BAD: dict[str, tuple[int, bytes, dict[str, str]]] = {
    "nothing": (400, b"", {}),
    "blanks": (400, b"\xef\xbb\xbf \r\n", {}),
    "nothing, packed": (400, gzip.compress(b""), {}),
    "no gzip": (400, b"x", {"Content-Encoding": "gzip"}),
    "half a gzip": (400, gzip.compress(bytes(range(256)))[:-20], {}),
    "another coding": (415, b"x", {"Content-Encoding": "br"}),
    "a bomb": (413, gzip.compress(b" " * 3_000_000), {"Content-Encoding": "gzip"}),
    "a bomb as a file": (413, gzip.compress(b" " * 3_000_000), {}),
    "two lists in a ZIP archive": (400, zipped(b"host-1.example", b"host-2.example"), {}),
    "an empty ZIP archive": (400, zipped(), {}),
    "half a ZIP archive": (400, zipped(b"host-1.example")[:-30], {}),
    "zeros": (422, bytes(5000), {}),
    "a PNG": (422, b"\x89PNG\r\n\x1a\n" + bytes(100), {"Content-Type": "image/png"}),
    "JSON that breaks off": (422, b'{"objects": [{', {}),
    "JSON of no use": (422, b'{"a": 1}', {}),
    "an empty envelope": (422, b"{}", {}),
    "an empty list": (422, b"[]", {}),
    "only comments": (422, b"# nothing\n", {}),
    "a web page": (422, b"<html><body>Not found</body></html>", {"Content-Type": "text/html"}),
    "lists in lists": (422, b"[" * 200_000, {}),
    "objects in objects": (422, b'{"a":' * 200_000, {}),
    "another kind of form": (415, b"--x--", {"Content-Type": "multipart/mixed; boundary=x"}),
    "no boundary": (400, FILE, {"Content-Type": "multipart/form-data"}),
    "no form": (400, b"host-1.example", {"Content-Type": BOUNDARY}),
    "no file": (400, PART % (b"tlp", b"", b"green") + b"--x--\r\n", {"Content-Type": BOUNDARY}),
    "two files": (400, FILE + FILE + b"--x--\r\n", {"Content-Type": BOUNDARY}),
    "half a form": (400, FILE[:-8], {"Content-Type": BOUNDARY}),
    "a form without an end": (400, FILE[:-2], {"Content-Type": BOUNDARY}),
    "a field that nobody knows": (400, PART % (b"x", b"", b"y") + FILE + b"--x--\r\n", {"Content-Type": BOUNDARY}),
    "a field twice": (400, PART % (b"sample", b"", b"true") + FILE + b"--x--\r\n", {"Content-Type": BOUNDARY}),
    "many fields": (400, PART % (b"tlp", b"", b"red") * 30 + FILE + b"--x--\r\n", {"Content-Type": BOUNDARY}),
    "a long field": (
        400,
        PART % (b"context", b"", b"x" * 70_000) + FILE + b"--x--\r\n",
        {"Content-Type": BOUNDARY},
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_body_is_told_what_is_wrong_and_changes_nothing(world: World, what: str) -> None:
    status, content, headers = BAD[what]
    before = world.rows()
    answer = world.ask("franklin_submitter").post(f"{SUBMISSIONS}?sample=true", content=content, headers=headers)

    assert is_problem(answer, status)
    assert world.rows() == before


def test_a_deep_object_is_refused_by_itself(world: World) -> None:
    deep = indicator(host(), x_deep=json.loads("[" * 100 + "]" * 100))
    told = world.post(bundle(indicator(host()), deep), sample="true").json()

    assert (told["counts"]["accepted"], [each["id"] for each in told["failures"]]) == (1, [deep["id"]])


@pytest.mark.parametrize("packed", [False, True])
def test_a_body_is_as_large_as_the_server_says_and_no_larger(
    database_url: str, people: dict[str, Person], packed: bool
) -> None:
    person = people["franklin_submitter"]

    def post(size: int) -> int:
        content = b"host-1.example\n".ljust(size, b"#")
        return http.post(
            f"{SUBMISSIONS}?sample=true", content=gzip.compress(content) if packed else content
        ).status_code

    with serving(database_url, max_content_length=2000, samples=True) as server:
        auth = (person.key_id, person.secret)
        with httpx2.Client(base_url=server.base, auth=auth, trust_env=False) as http:
            assert [post(size) for size in (2000, 2001, 500_000)] == [200, 413, 413]
            form = {"file": ("a.txt", b"#" * 2000)}
            assert is_problem(http.post(SUBMISSIONS, files=form), 413)


def test_what_is_classified_is_refused_and_nothing_of_it_kept(world: World) -> None:
    banner = "TOP SECRET" + "//NOFORN"
    before = world.fetch("SELECT count(*) FROM payloads")
    told = world.post(bundle(indicator(f"{banner} {host()}"))).json()

    assert told["counts"]["refused"] == 1
    assert banner not in json.dumps(told)
    assert world.fetch("SELECT count(*) FROM payloads") == before
    assert is_problem(world.post(host().encode(), context=f"from a paper {banner}"), 400)


# ---------------------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("dryrun=true", "dry_run"),
        ("dry_run=yes", "true or false"),
        ("sample=1", "true or false"),
        ("tlp=blue", "amber+strict"),
        ("tlp=", "empty"),
        ("audience=%20", "empty"),
        ("audience=us&audience=us-oh", "twice"),
        ("audience=%00", "no text"),
        ("source=%FF", "UTF-8"),
        ("source=%ED%A0%80", "UTF-8"),
        (f"source={'x' * 201}", "200"),
        ("format=pdf", "stix, misp"),
        ("format=taxii", "stix, misp"),
        ("columns=value", "field=column"),
        ("columns=valu=ioc", "valu"),
        ("columns={", "JSON"),
        ("columns=%7B%22value%22:7%7D", "columns"),
        ("format=text&columns=value=x", "columns"),
        ("kind=nonsense", "kind"),
        ("format=stix&kind=url", "kind"),
        ("records=a&format=csv", "records"),
        ("a", "read"),
        ("&".join(f"x{n}=1" for n in range(30)), "read"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_to_write(world: World, query: str, told: str) -> None:
    answer = world.ask("franklin_submitter").post(f"{SUBMISSIONS}?{query}", content=b"host-1.example")

    assert is_problem(answer, 400)
    assert told in answer.json()["detail"]


@given(
    params=st.dictionaries(
        st.sampled_from([*forms.PARAMETERS, "other"]),
        st.text(max_size=30) | st.sampled_from(["true", "csv", "json", "value=a", '{"value": "a"}', "us", "domain"]),
        max_size=5,
    ),
    content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_asked_there_is_an_answer(world: World, params: dict[str, str], content: bytes) -> None:
    answer = world.post(content, **{**params, "dry_run": "true"})

    assert answer.status_code in (200, 400, 403, 404, 413, 422)
    assert answer.status_code == 200 or is_problem(answer, answer.status_code)


# ------------------------------------------------------------------------------------------------------------- extract


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"They use hxxp://host-1[.]example/gate; see https://vendor.example/report\n", "text/plain"),
        (b"<html><body><p>They use hxxp://host-1[.]example/gate</p></body></html>", "text/html"),
        (b"From: a@vendor.example\nMIME-Version: 1.0\nSubject: x\n\nhxxp://host-1[.]example/gate\n", "message/rfc822"),
        (gzip.compress(b"hxxp://host-1[.]example/gate"), "application/gzip"),
    ],
    ids=["text", "HTML", "mail", "packed"],
)
def test_indicators_in_texts_are_found_and_nothing_is_stored(world: World, content: bytes, media_type: str) -> None:
    before = world.rows()
    answer = world.ask("franklin_submitter").post(EXTRACT, content=content, headers={"Content-Type": media_type})
    (found,) = answer.json()["found"]

    assert (found["kind"], found["value"]) == ("url", "http://host-1.example/gate")
    assert (found["written"], found["line"], found["times"]) == ("hxxp://host-1[.]example/gate", 1, 1)
    assert found["written"] in found["context"]
    assert all(each["reason"] for each in answer.json()["left_out"])
    assert world.rows() == before


def test_what_to_look_at_first_and_personal_data_are_told(world: World) -> None:
    text = b"C2 hxxp://host-1[.]example/gate\n8.8.8[.]8\nits clerk jane.doe@mail.example, SSN 987-65-4323\n"
    answer = world.ask("franklin_submitter").post(EXTRACT, content=text)
    plain, listed = answer.json()["found"]

    assert "remarks" not in plain
    assert [(each["verdict"], each["rule"]) for each in listed["remarks"]] == [("hold", "warninglist")]
    assert {"kind": "ssn", "shown": "9**-**-**23"} in answer.json()["personal_data"]
    assert {each["kind"] for each in answer.json()["personal_data"]} == {"ssn", "private-email"}


def test_a_mail_address_that_is_an_indicator_is_no_private_one(world: World) -> None:
    text = b"The phishing came from jane.doe@mail[.]example\n"
    told = world.ask("franklin_submitter").post(EXTRACT, content=text).json()

    assert ([each["value"] for each in told["found"]], told["personal_data"]) == (["jane.doe@mail.example"], [])


def test_a_text_may_be_the_file_of_a_form(world: World) -> None:
    files = {"file": ("a.txt", b"hxxp://host-1[.]example/gate")}
    assert len(world.ask("franklin_submitter").post(EXTRACT, files=files).json()["found"]) == 1


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"", 400), (bundle(indicator("host-1.example")), 422), (b"%PDF-1.7", 422), (b"x" * (4 * 1024 * 1024 + 1), 413)],
    ids=["nothing", "STIX", "PDF", "too large"],
)
def test_what_is_no_text_for_people_is_told_so(world: World, content: bytes, status: int) -> None:
    assert is_problem(world.ask("franklin_submitter").post(EXTRACT, content=content), status)


# ------------------------------------------------------------------------------------------------------ around all that


def test_addresses_are_taken_with_a_slash_at_the_end_and_others_are_404(world: World) -> None:
    clerk = world.ask("franklin_submitter")

    assert clerk.get(f"{SUBMISSIONS}/").status_code == 200
    assert clerk.head(SUBMISSIONS).content == b""
    assert is_problem(clerk.get("/api/v1/nothing"), 404)
    wrong = clerk.delete(SUBMISSIONS)
    assert is_problem(wrong, 405)
    assert wrong.headers["allow"] == "GET, HEAD, OPTIONS, POST"


def test_what_nobody_foresaw_tells_an_id_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    error_id = str(uuid.uuid4())
    answer = wire.error_answer(ZeroDivisionError("the secret"), error_id, "POST", SUBMISSIONS)
    told = json.loads(bytes(answer.body))

    assert (answer.status_code, told["type"], told["error_id"]) == (500, "urn:isac:problem:internal", error_id)
    assert b"secret" not in bytes(answer.body)
    assert b"ZeroDivision" not in bytes(answer.body)
    assert [record.__dict__["error_id"] for record in caplog.records] == [error_id]


def test_what_is_turned_away_in_a_crowd_is_told_when_to_come_back() -> None:
    """As `crowd` and `connections` answer, before any endpoint."""
    answer = wire.error_answer(Busy("Too many requests are under way."), str(uuid.uuid4()), "POST", SUBMISSIONS)
    told = json.loads(bytes(answer.body))

    assert (answer.media_type, told["type"]) == ("application/problem+json", "urn:isac:problem:busy")
    assert answer.headers["retry-after"]


def test_errors_of_taxii_are_taxii_s_still(world: World) -> None:
    answer = world.ask("cook").get("/elections/collections/x/")
    assert answer.headers["content-type"] == wire.TAXII
    assert answer.json()["http_status"] == "404"


def test_the_sandbox_takes_whatever_is_well_formed(database_url: str, people: dict[str, Person]) -> None:
    person = people["franklin_submitter"]
    with (
        serving(database_url, free=True) as server,
        httpx2.Client(base_url=server.base, auth=(person.key_id, person.secret), trust_env=False) as http,
    ):
        for query in ("?dry_run=true", ""):
            answer = http.post(f"{SUBMISSIONS}{query}", content=b"host-1.example")
            assert answer.json()["counts"]["accepted"] == 1
