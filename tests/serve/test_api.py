"""The API over real HTTP: each format, who may hand in where, dry runs, what it says, requests sent twice or half."""

import gzip
import json
import socket
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import psycopg
import pytest
from tests.conftest import Person, Running, serving, zipped
from tests.serve.api_world import EXTRACT, JANUARY, SUBMISSIONS, World, bundle, host, indicator, is_problem, misp

from isac.ingest.feeds import Feed
from isac.store import answers, database

RED = "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"


# -------------------------------------------------------------------------------------------------------- each format


FORMATS: dict[str, tuple[Callable[[str], bytes], dict[str, str]]] = {
    "a bundle": (lambda name: bundle(indicator(name)), {}),
    "an envelope": (lambda name: json.dumps({"objects": [indicator(name)]}).encode(), {}),
    "one object": (lambda name: json.dumps(indicator(name)).encode(), {"format": "stix"}),
    "a list of objects": (lambda name: json.dumps([indicator(name)]).encode(), {}),
    "a MISP event": (misp, {}),
    "a MISP event, named": (misp, {"format": "misp"}),
    "a plain list": (lambda name: f"# seen\n{name}\n".encode(), {}),
    "a plain list of a kind": (lambda name: f"{name}\n".encode(), {"kind": "domain"}),
    "a list in UTF-16": (lambda name: name.encode("utf-16"), {}),
    "a list, packed": (lambda name: gzip.compress(name.encode()), {}),
    "a list in a ZIP archive": (lambda name: zipped(f"{name}\n".encode()), {}),
    "a table in a ZIP archive": (lambda name: zipped(f"ioc,about\n{name},x\n".encode()), {"columns": "value=ioc"}),
    "a table with our names": (lambda name: f"value;description\n{name};x\n".encode(), {}),
    "a table, named": (lambda name: f"value\n{name}\n".encode(), {"format": "csv"}),
    "a table with columns": (
        lambda name: f"ioc,about\n{name},x\n".encode(),
        {"columns": "value=ioc,description=about"},
    ),
    "a table with columns in JSON": (
        lambda name: f"ioc\tabout\n{name}\tx\n".encode(),
        {"columns": '{"value": ["ioc"], "description": "about"}'},
    ),
    "records with our names": (lambda name: json.dumps([{"value": name, "kind": "domain"}]).encode(), {}),
    "records with columns": (lambda name: json.dumps([{"ioc": name}]).encode(), {"columns": "value=ioc"}),
    "records inside": (
        lambda name: json.dumps({"result": {"items": [{"ioc": name}]}}).encode(),
        {"records": "result.items", "columns": "value=ioc", "kind": "domain"},
    ),
    "records, a line each": (lambda name: f'{{"ioc": "{name}"}}\n{{"ioc": ""}}\n'.encode(), {"columns": "value=ioc"}),
}


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_is_taken_in_and_shown_to_the_county_alone(world: World, form: str) -> None:
    written, params = FORMATS[form]
    name = host()
    answer = world.post(written(name), sample="true", **params)

    assert (answer.status_code, answer.json()["counts"]["accepted"]) == (200, 1), answer.text
    assert answer.headers["location"] == f"{SUBMISSIONS}/{answer.json()['id']}"
    assert name in world.patterns("franklin", "us-oh-39901")
    assert name in world.patterns("ohio_analyst", "us-oh-39901")
    assert name not in world.patterns("oak", "us-oh-39902") | world.patterns("ohio", "us-oh")
    assert world.patterns("cook", "us-oh-39901") == set()


def test_all_stix_of_an_archive_is_one_submission(world: World) -> None:
    names = host(), host()
    answer = world.post(zipped(*(bundle(indicator(name)) for name in names)), sample="true")

    assert (answer.status_code, answer.json()["counts"]["accepted"]) == (200, 2), answer.text
    assert world.patterns("franklin", "us-oh-39901").issuperset(names)


@pytest.mark.parametrize("form", FORMATS)
def test_a_dry_run_says_what_then_happens_and_writes_nothing(world: World, form: str) -> None:
    written, params = FORMATS[form]
    content = written(host())
    before = world.rows()
    dry = world.post(content, sample="true", dry_run="true", **params)

    assert world.rows() == before
    real = world.post(content, sample="true", **params)
    assert (dry.status_code, dry.json().pop("dry_run")) == (200, True)
    assert "location" not in dry.headers
    for name in ("state", "counts", "audience", "organization", "source", "sample", "left_out"):
        assert (name, dry.json().get(name)) == (name, real.json().get(name))
    assert [each["verdict"] for each in dry.json()["successes"]] == ["accepted"]


def test_files_of_forms_are_read_with_the_parameters_beside_them(world: World) -> None:
    name = host()
    answer = world.ask("franklin_submitter").post(
        SUBMISSIONS,
        files={"file": ("töwn.csv", f"value\n{name}\n".encode())},
        data={"sample": "true", "context": "Seen on Monday,\nin the mails", "source": "Example vendor"},
    )
    told = answer.json()

    assert (told["counts"]["accepted"], told["context"]) == (1, "Seen on Monday,\nin the mails")
    assert told["source"] == "Example vendor"
    assert name in world.patterns("franklin", "us-oh-39901")


def test_what_came_is_archived_as_it_came_and_can_be_read_again(world: World) -> None:
    packed = gzip.compress(f"ioc\n{host()}\n".encode())
    told = world.post(packed, sample="true", columns="value=ioc").json()
    query = """SELECT p.size, s.definition, s.sample FROM submissions s JOIN payloads p ON p.pk = s.payload
               WHERE s.id = %s::uuid"""
    ((size, definition, sample),) = world.fetch(query, told["id"])

    assert (size, sample) == (len(packed), True)
    found = [*Feed.model_validate_json(definition).read(gzip.decompress(packed))]
    assert len(found) == 1
    clerk = world.people["franklin_submitter"].key_id
    assert world.fetch("SELECT actor, reason FROM audit WHERE subject = %s", told["id"]) == [(clerk, "us-oh-39901")]


def test_very_many_lines_that_cannot_be_read_are_all_counted(world: World) -> None:
    content = f"ioc\n{host()}\n" + "???\n" * 11_000
    told = world.post(content.encode(), sample="true", columns="value=ioc").json()

    assert (told["counts"]["accepted"], told["counts"]["refused"]) == (1, 11_000)
    assert "failures" in told["unlisted"]


def test_what_a_member_lists_is_the_member_s(world: World) -> None:
    name = host()
    world.post(name.encode(), sample="true")
    shown = world.ask("franklin").get("/elections/collections/us-oh-39901/objects/", params={"limit": 1000}).json()
    (one,) = [each for each in shown["objects"] if each.get("name") == name]

    assert (
        one["created_by_ref"] == world.fetch("SELECT identity FROM organizations WHERE name = 'Elm County Clerk'")[0][0]
    )
    assert world.post(name.encode(), sample="true").json()["counts"]["repeated"] == 1


# ------------------------------------------------------------------------------------------------------- who, and where


@pytest.mark.parametrize(
    ("name", "own", "may", "sees", "nothing"),
    [
        ("franklin_submitter", "us-oh-39901", ["us-oh-39901"], ["us-oh", "us", "public"], ["us-oh-39902", "us-il"]),
        ("ohio_analyst", "us-oh", ["us-oh", "us-oh-39901", "us-oh-39902"], ["us", "public"], ["us-il", "us-il-17901"]),
        ("isac_analyst", "us", ["us", "us-il", "us-oh-39902"], ["public"], ["org-1", "nowhere"]),
        ("isac_steward", "us", ["us", "public", "us-oh-39902"], [], ["nowhere", str(uuid.uuid4())]),
    ],
)
def test_each_role_hands_in_where_it_may(
    world: World, name: str, own: str, may: list[str], sees: list[str], nothing: list[str]
) -> None:
    def status(audience: str) -> int:
        return world.post(bundle(indicator(host())), name, sample="true", audience=audience).status_code

    assert world.post(host().encode(), name, sample="true").json()["audience"] == own
    assert {code: status(code) for code in may if code != "public"} == {code: 200 for code in may if code != "public"}
    assert {code: status(code) for code in sees} == dict.fromkeys(sees, 403)
    hidden = [code for code in nothing if not code.startswith("org-1")]
    assert {code: status(code) for code in hidden} == dict.fromkeys(hidden, 404)


def test_an_audience_that_is_hidden_is_told_like_one_that_is_not_there(world: World) -> None:
    def told(audience: str) -> dict[str, Any]:
        answer = world.post(host().encode(), "cook_submitter", audience=audience)
        assert is_problem(answer, 404)
        return {name: value for name, value in answer.json().items() if name != "error_id"}

    assert told("us-oh-39901") == told("us-oh-39999") == told(str(uuid.uuid4())) == told("x")


@pytest.mark.parametrize("name", ["franklin", "ohio", "stranger"])
def test_a_poller_is_told_that_its_key_only_reads(world: World, name: str) -> None:
    for path in (SUBMISSIONS, EXTRACT):
        answer = world.ask(name).post(path, content=b"x" * 100_000)
        assert is_problem(answer, 403)
        assert "role submitter" in answer.json()["detail"]


def test_keys_come_in_every_way(world: World, people: dict[str, Person]) -> None:
    secret = people["franklin_submitter"].secret
    with httpx2.Client(base_url=world.server.base, trust_env=False) as http:
        for header in (f"Bearer {secret}", f"Token {secret}"):
            assert http.get(SUBMISSIONS, headers={"Authorization": header}).status_code == 200
        assert http.get(SUBMISSIONS, headers={"X-API-Key": secret}).status_code == 200
        refused = http.get(SUBMISSIONS)
        assert is_problem(refused, 401)
        assert refused.headers["www-authenticate"].startswith("Basic ")
        assert is_problem(http.post(SUBMISSIONS, headers={"X-API-Key": secret + "x"}), 401)
        assert is_problem(http.get("/api/v1/nothing"), 401)


def test_who_asks_too_often_is_told_when_to_come_back(database_url: str, people: dict[str, Person]) -> None:
    person = people["franklin_submitter"]
    with serving(database_url, limited=True) as server:
        auth = (person.key_id, person.secret)
        with httpx2.Client(base_url=server.base, auth=auth, trust_env=False) as http:
            statuses = (http.get(SUBMISSIONS) for _ in range(2000))
            answer = next(each for each in statuses if each.status_code != 200)
    assert is_problem(answer, 429)
    assert int(answer.headers["retry-after"]) >= 1


# -------------------------------------------------------------------------------------------------------- what it says


def test_each_object_has_its_verdict_and_reason(world: World) -> None:
    fresh, known, odd = indicator(host()), indicator(host()), indicator(host(), object_marking_refs=[RED])
    wrong = indicator(host(), pattern="[nonsense")
    world.post(bundle(known), sample="true")
    answer = world.post(bundle(fresh, known, odd, wrong, {"type": "tool"}), sample="true")
    told = answer.json()

    assert (answer.status_code, told["state"]) == (202, "pending")
    assert told["counts"] == {"total": 5, "accepted": 1, "repeated": 1, "held": 1, "refused": 2, "left_out": 0}
    assert {each["id"]: each["verdict"] for each in told["successes"]} == {
        fresh["id"]: "accepted",
        known["id"]: "repeated",
    }
    (held,) = told["pendings"]
    assert (held["id"], held["version"], held["verdict"], held["name"]) == (odd["id"], JANUARY, "held", odd["name"])
    assert "TLP" in held["reason"]
    reasons = {each["id"]: each["reason"] for each in told["failures"]}
    assert "pattern" in reasons[wrong["id"]]
    assert reasons["unknown"]
    assert world.ask("franklin").get(answer.headers["location"]).json() == told


def test_a_documentation_address_is_refused_with_its_reason_unless_it_is_a_sample(world: World) -> None:
    name = host()
    ((failure),) = world.post(name.encode()).json()["failures"]

    assert failure["name"] == name
    assert "reserved for documentation" in failure["reason"]
    assert world.post(name.encode(), sample="true").json()["counts"]["accepted"] == 1


@pytest.mark.parametrize("by", ["franklin_submitter", "ohio_analyst", "isac_analyst", "isac_steward"])
def test_nobody_says_of_his_own_that_it_is_a_sample(
    by: str, server: Running, people: dict[str, Person], database_url: str
) -> None:
    """Only whoever set the server up does: `server` was set up for members."""
    auth = (people[by].key_id, people[by].secret)
    with httpx2.Client(base_url=server.base, auth=auth, trust_env=False) as client:
        name = host()
        asked = [
            client.post(SUBMISSIONS, params={"sample": "true"}, content=name.encode()),
            client.post(SUBMISSIONS, params={"sample": "true", "dry_run": "true"}, content=name.encode()),
            client.post(SUBMISSIONS, data={"sample": "true"}, files={"file": ("list.txt", name.encode())}),
        ]
        plain = client.post(SUBMISSIONS, params={"sample": "false"}, content=name.encode()).json()
        records = [{"value": name, "sample": True}]
        within = client.post(SUBMISSIONS, json=records).json()
    for answer in asked:
        assert is_problem(answer, 403)
        assert "set up for trying" in answer.json()["detail"]
    assert (plain["counts"]["refused"], within["counts"]["refused"]) == (1, 1)
    with psycopg.connect(database.conninfo(database_url)) as conn:
        assert conn.execute("SELECT count(*) FROM versions WHERE type = 'indicator'").fetchone() == (0,)
        assert conn.execute("SELECT count(*) FROM submissions WHERE sample").fetchone() == (0,)


def test_lines_that_hold_nothing_are_named_with_their_reason(world: World) -> None:
    told = world.post(f"{host()}\nno value\n\n# a comment\nnothing\n{host()}\n".encode(), sample="true").json()

    assert told["counts"] == {"total": 4, "accepted": 2, "repeated": 0, "held": 0, "refused": 2, "left_out": 0}
    assert [(each["line"], each["text"]) for each in told["failures"]] == [(2, "no value"), (5, "nothing")]
    left_out = world.post(misp(host()), sample="true").json()
    assert [each["verdict"] for each in left_out["left_out"]] == ["left out"]


def test_a_submission_is_shown_to_its_organization_and_to_the_isac_s_analysts(world: World) -> None:
    where = world.post(host().encode(), sample="true").headers["location"]
    shown = {
        name: world.ask(name).get(where).status_code
        for name in ("franklin", "franklin_admin", "isac_analyst", "isac_steward", "ohio_admin", "ohio_analyst", "cook")
    }

    assert shown == {
        **dict.fromkeys(("franklin", "franklin_admin", "isac_analyst", "isac_steward"), 200),
        **dict.fromkeys(("ohio_admin", "ohio_analyst", "cook"), 404),
    }
    for wrong in (uuid.uuid4(), "x", "%00", "1"):
        assert is_problem(world.ask("franklin").get(f"{SUBMISSIONS}/{wrong}"), 404)


def test_the_list_is_one_s_own_the_newest_first_in_pages(world: World) -> None:
    posted = [world.post(host().encode(), "cook_submitter", sample="true").json()["id"] for _ in range(5)]
    cook = world.ask("cook")
    found: list[str] = []
    where: str | None = f"{SUBMISSIONS}?limit=2"
    while where:
        page = cook.get(where).json()
        assert len(page["submissions"]) <= 2
        found += [each["id"] for each in page["submissions"]]
        where = page.get("next")

    assert found[:5] == posted[::-1]
    assert found == [each["id"] for each in cook.get(f"{SUBMISSIONS}?limit=1000").json()["submissions"]]
    assert not set(found) & {each["id"] for each in world.ask("franklin").get(SUBMISSIONS).json()["submissions"]}
    assert is_problem(world.ask("oak").get(f"{SUBMISSIONS}?before={posted[0]}"), 404)
    for wrong in ("limit=0", "limit=x", "limit=-1", "befor=x", "limit=1&limit=2", "limit"):
        assert is_problem(cook.get(f"{SUBMISSIONS}?{wrong}"), 400)


def test_long_lists_are_named_as_missing(world: World) -> None:
    told = world.post("".join(f"no value {n}\n" for n in range(10_001)).encode(), format="text").json()

    assert (told["counts"]["refused"], told["unlisted"]) == (10_001, ["failures"])
    assert "failures" not in told


# --------------------------------------------------------------------------------------------------- sent once or twice


def test_the_same_request_with_the_same_key_gets_the_first_answer(world: World) -> None:
    clerk, content, key = (
        world.ask("franklin_submitter"),
        bundle(indicator(host())),
        {"Idempotency-Key": uuid.uuid4().hex},
    )
    ask = {"content": content, "params": {"sample": "true"}}
    first = clerk.post(SUBMISSIONS, headers=key, **ask)  # type: ignore[arg-type]
    before = world.rows()
    quoted = {"Idempotency-Key": f'"{key["Idempotency-Key"]}"'}
    second = clerk.post(SUBMISSIONS, headers=quoted, **ask)  # type: ignore[arg-type]

    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert second.headers["location"] == first.headers["location"]
    assert world.rows() == before
    for other in ({"content": content + b" "}, {"params": {"sample": "true", "tlp": "green"}}):
        answer = clerk.post(SUBMISSIONS, headers=key, **{**ask, **other})  # type: ignore[arg-type]
        assert is_problem(answer, 422)
        assert "Idempotency-Key" in answer.json()["detail"]
    others = world.ask("cook_submitter").post(SUBMISSIONS, headers=key, **ask)  # type: ignore[arg-type]
    assert others.json()["id"] != first.json()["id"]


def test_two_at_once_are_one_submission(world: World) -> None:
    content = bundle(*(indicator(host()) for _ in range(300)))
    auth = world.people["franklin_submitter"]

    def post(key: str) -> str:
        with httpx2.Client(base_url=world.server.base, auth=(auth.key_id, auth.secret), trust_env=False) as http:
            answer = http.post(
                f"{SUBMISSIONS}?sample=true", content=content, headers={"Idempotency-Key": key}, timeout=60
            )
        assert answer.json()["counts"]["total"] == 300
        return str(answer.json()["id"])

    with ThreadPoolExecutor(4) as threads:
        key = uuid.uuid4().hex
        assert len(set(threads.map(post, [key] * 4))) == 1
        assert len(set(threads.map(post, [uuid.uuid4().hex for _ in range(4)]))) == 4


def test_a_request_that_was_refused_may_be_mended_under_its_key(world: World) -> None:
    clerk, key = world.ask("franklin_submitter"), {"Idempotency-Key": uuid.uuid4().hex}

    assert is_problem(clerk.post(SUBMISSIONS, content=b"{", headers=key), 422)
    assert clerk.post(f"{SUBMISSIONS}?sample=true", content=host().encode(), headers=key).status_code == 200


def test_who_waits_too_long_for_the_first_is_told_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_PATIENCE", "SET LOCAL lock_timeout = '50ms'")
    clerk, key = world.ask("franklin_submitter"), uuid.uuid4().hex
    ((organization,),) = world.fetch("SELECT pk FROM organizations WHERE name = 'Elm County Clerk'")
    with psycopg.connect(database.conninfo(world.url), autocommit=True) as first:
        first.execute("SELECT pg_advisory_lock('answers'::regclass::int, hashtext(%s))", (f"{organization} {key}",))
        answer = clerk.post(SUBMISSIONS, content=host().encode(), headers={"Idempotency-Key": key})
    assert is_problem(answer, 409)
    answer = clerk.post(f"{SUBMISSIONS}?sample=true", content=host().encode(), headers={"Idempotency-Key": key})
    assert answer.status_code == 200


def test_answers_are_kept_for_longer_than_a_day_and_not_for_ever(world: World) -> None:
    clerk = world.ask("franklin_submitter")

    def post() -> str:
        key = uuid.uuid4().hex
        clerk.post(f"{SUBMISSIONS}?sample=true", content=host().encode(), headers={"Idempotency-Key": key})
        return key

    def age(key: str, hours: int) -> None:
        with psycopg.connect(database.conninfo(world.url)) as conn:
            conn.execute("UPDATE answers SET at = at - make_interval(hours => %s) WHERE key = %s", (hours, key))

    young, old = post(), post()
    age(young, 25)
    age(old, 49)
    post()
    kept = {key for (key,) in world.fetch("SELECT key FROM answers")}
    assert (young in kept, old in kept) == (True, False)


@pytest.mark.parametrize("key", ["", '""', "a b", "x" * 256, "ä"])
def test_a_key_that_is_none_is_refused(world: World, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode())]
    assert is_problem(world.ask("franklin_submitter").post(SUBMISSIONS, content=b"x", headers=headers), 400)


def head(world: World, length: int, *more: str) -> bytes:
    secret = world.people["franklin_submitter"].secret
    lines = (f"POST {SUBMISSIONS}?sample=true HTTP/1.1", "Host: x", f"Content-Length: {length}", f"X-API-Key: {secret}")
    return "\r\n".join([*lines, *more, "", ""]).encode()


def sending(world: World, *pieces: bytes) -> None:
    port = int(world.server.base.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        for piece in pieces:
            client.sendall(piece)


def test_who_hangs_up_in_the_body_has_handed_in_nothing(world: World) -> None:
    content, before = bundle(indicator(host())), world.rows()
    sending(world, head(world, len(content)), content[: len(content) // 2])
    form = b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n" + host().encode()
    sending(world, head(world, 10_000, "Content-Type: multipart/form-data; boundary=x"), form)

    assert world.post(host().encode(), dry_run="true").status_code == 200
    assert world.rows() == before


def test_who_hangs_up_before_the_answer_gets_it_when_it_asks_again(world: World) -> None:
    content, key = bundle(*(indicator(host()) for _ in range(50))), uuid.uuid4().hex
    sending(world, head(world, len(content), f"Idempotency-Key: {key}"), content)
    clerk = world.ask("franklin_submitter")
    answer = clerk.post(f"{SUBMISSIONS}?sample=true", content=content, headers={"Idempotency-Key": key})

    assert answer.json()["counts"]["accepted"] == 50


def test_many_who_ask_once_leave_connections_to_all_others(world: World) -> None:
    """Each holds one while it is worked on; were they as many as there are, all would wait for each other."""

    def ask(number: int) -> int:
        client = world.ask("franklin_submitter")
        return client.post(
            f"{SUBMISSIONS}?sample=true",
            content=f"many-{number}.example\n".encode(),
            headers={"Idempotency-Key": f"once-{number}"},
        ).status_code

    with ThreadPoolExecutor(24) as crowd:
        assert set(crowd.map(ask, range(24))) == {200}
