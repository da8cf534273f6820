"""Client certificates, in TLS and named by a proxy: whom they prove, and all those whom they do not."""

import base64
import hashlib
import random
import shutil
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvloop
from tests.authorities import Authority, Issued
from tests.conftest import Person, serving
from tests.serve.conftest import PATHS, TAXII, UNKNOWN, is_error, tool
from tests.test_tls import made, trusting

from isac import times
from isac.errors import Invalid
from isac.policy.actors import Fingerprint
from isac.serve import certificates
from isac.serve.certificates import NOBODYS
from isac.server import Certificate
from isac.store import database, members
from isac.store.database import Connection

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make certificates with")

DAYS = timedelta(days=2)
HEADER = "Client-Cert"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder, "authority")


@pytest.fixture(scope="module")
def clerk_s(authority: Authority) -> Issued:
    return authority.issues("clerk", ends=DAYS)


@pytest.fixture(scope="module")
def cook_s(authority: Authority) -> Issued:
    return authority.issues("cook", ends=DAYS)


@pytest.fixture(scope="module")
def nobody_s(authority: Authority) -> Issued:
    return authority.issues("nobody", ends=DAYS)


@pytest.fixture(scope="module")
def own(folder: Path, authority: Authority) -> Certificate:
    server_s = made(folder / "server")
    return Certificate(server_s.file, server_s.key, authority.own.file)


Give = Callable[[str, Fingerprint | None], None]


@pytest.fixture
def deed(database_url: str) -> Callable[[Callable[[Connection], Coroutine[Any, Any, None]]], None]:
    """Do something as an operator on its own machine does."""

    async def done(work: Callable[[Connection], Coroutine[Any, Any, None]]) -> None:
        async with database.pool(database_url, size=1) as pool, pool.connection() as conn, conn.transaction():
            await work(conn)

    return lambda work: uvloop.run(done(work))


@pytest.fixture
def give(deed: Callable[..., None]) -> Give:
    """Give a key a certificate."""
    return lambda key_id, certificate: deed(
        lambda conn: members.change_certificate(conn, key_id, certificate, "test", times.now())
    )


@pytest.fixture
def holders(people: dict[str, Person], give: Give, clerk_s: Issued, cook_s: Issued) -> None:
    """Two have certificates."""
    give(people["franklin_submitter"].key_id, clerk_s.fingerprint)
    give(people["cook"].key_id, cook_s.fingerprint)


@pytest.fixture
def site(database_url: str, own: Certificate, holders: None) -> Iterator[str]:
    """A server that asks for certificates in TLS."""
    with serving(database_url, own=own) as running:
        yield running.base


@contextmanager
def asking(base: str, own: Certificate, shows: Issued | None = None, **more: Any) -> Iterator[httpx2.Client]:
    """Somebody who shows a certificate, or none, and keeps its connections."""
    trust = trusting(own)
    verify = shows.shown_to(trust) if shows else trust
    with httpx2.Client(base_url=base, verify=verify, trust_env=False, timeout=20, **more) as http:
        yield http


def shelf(person: Person) -> str:
    return f"/elections/collections/{person.collection}/objects/"


def key_of(person: Person) -> tuple[str, str]:
    return person.key_id, person.secret


def without_id(answer: httpx2.Response) -> tuple[int, dict[str, object]]:
    return answer.status_code, {name: value for name, value in answer.json().items() if name != "error_id"}


# --------------------------------------------------------------------------------------------------------------- in TLS


@pytest.mark.taxii("T-7", "L-1")
def test_8_3_1_t7_a_certificate_proves_its_key_on_every_endpoint(
    site: str, own: Certificate, people: dict[str, Person], clerk_s: Issued
) -> None:
    """§8.3.1: servers MAY support client certificates; then PKIX validation SHOULD be the default."""
    person, one = people["franklin_submitter"], tool()
    with asking(site, own, clerk_s) as certified, asking(site, own, auth=key_of(person)) as keyed:
        (place,) = [each["id"] for each in keyed.get("/elections/collections/").json()["collections"][-1:]]
        objects = f"/elections/collections/{place}/objects/"
        posted = certified.post(objects, json={"objects": [one]}, headers={"Content-Type": TAXII})
        assert posted.json()["success_count"] == 1
        for path in PATHS:
            filled = path.format(status=posted.json()["id"], shelf=place, object=one["id"])
            assert certified.get(filled).status_code == 200
            assert certified.get(filled).content == keyed.get(filled).content
        assert certified.delete(f"{objects}{one['id']}/").status_code == 200
        assert is_error(keyed.get(f"{objects}{one['id']}/"), 404)


@pytest.mark.taxii("T-7", "L-1")
def test_t7_who_shows_none_needs_a_key_and_a_key_is_enough(
    site: str, own: Certificate, people: dict[str, Person]
) -> None:
    with asking(site, own) as http:
        nobody = http.get("/taxii2/")
        assert is_error(nobody, 401)
        assert nobody.headers["www-authenticate"].startswith("Basic ")
        assert http.get("/taxii2/", auth=key_of(people["oak"])).status_code == 200


@pytest.mark.taxii("T-7")
@pytest.mark.parametrize("wrong", ["another authority's", "its own", "expired", "not yet valid", "a server's"])
def test_t7_what_is_not_valid_is_refused_though_a_key_has_it(
    site: str, own: Certificate, people: dict[str, Person], folder: Path, authority: Authority, give: Give, wrong: str
) -> None:
    name = wrong.replace(" ", "-").replace("'", "")
    if wrong == "another authority's":
        shows = Authority(folder, "authority-of-another").issues(name, ends=DAYS)
    elif wrong == "its own":
        alone = made(folder / "alone")
        shows = Issued(alone.file, alone.key)
    else:
        since = timedelta(days=1) if wrong == "not yet valid" else -DAYS
        usage = "serverAuth" if wrong == "a server's" else "clientAuth"
        until = -timedelta(days=1) if wrong == "expired" else DAYS
        shows = authority.issues(name, usage=usage, begins=since, ends=until)
    give(people["franklin"].key_id, shows.fingerprint)

    for auth in (None, key_of(people["franklin"])):
        with asking(site, own, shows, auth=auth) as http, pytest.raises(httpx2.TransportError):
            http.get("/taxii2/")


@pytest.mark.taxii("T-4", "T-7")
def test_t7_a_valid_one_that_no_key_has_is_401_everywhere(
    site: str, own: Certificate, people: dict[str, Person], nobody_s: Issued
) -> None:
    place = people["franklin"].collection
    with asking(site, own, nobody_s) as http:
        told = without_id(http.get("/taxii2/"))
        for path in PATHS:
            answer = http.get(path.format(status="x", shelf=place, object=UNKNOWN))
            assert is_error(answer, 401)
            assert answer.headers["www-authenticate"].startswith("Basic ")
            assert without_id(answer) == told
        assert is_error(http.post(shelf(people["franklin"]), json={"objects": [tool()]}), 401)
        assert http.get("/taxii2/", auth=key_of(people["oak"])).status_code == 200, "a key is enough"


@pytest.mark.taxii("L-18")
def test_unknown_certificates_are_counted_as_wrong_keys(
    database_url: str, own: Certificate, nobody_s: Issued, people: dict[str, Person]
) -> None:
    with serving(database_url, own=own, limited=True) as running, asking(running.base, own, nobody_s) as http:
        answers = [http.get("/taxii2/") for _ in range(30)]
        assert is_error(answers[0], 401)
        assert is_error(answers[-1], 429)
        assert http.get("/taxii2/", auth=key_of(people["oak"])).status_code == 200


@pytest.mark.taxii("T-7", "L-1")
def test_t7_the_key_decides_where_both_come(
    site: str, own: Certificate, people: dict[str, Person], clerk_s: Issued
) -> None:
    with asking(site, own, clerk_s) as http:
        collections = [
            http.get("/elections/collections/", auth=auth).json()
            for auth in (None, key_of(people["cook"]), key_of(people["franklin_submitter"]))
        ]
        assert collections[0] == collections[2] != collections[1]
        assert is_error(http.get(shelf(people["franklin"]), auth=key_of(people["cook"])), 404)
        for wrong in ("", "x", people["oak"].secret[:-1]):
            assert is_error(http.get("/taxii2/", auth=("x", wrong)), 401)
        assert is_error(http.get("/taxii2/", headers={"Authorization": "Basic !"}), 401)
        assert is_error(http.get("/taxii2/", headers={"X-API-Key": "x"}), 401)


@pytest.mark.taxii("T-7")
@pytest.mark.parametrize("ended", ["revoked", "taken away", "replaced"])
def test_t7_a_certificate_that_a_key_has_no_more_is_401(
    site: str,
    own: Certificate,
    people: dict[str, Person],
    clerk_s: Issued,
    nobody_s: Issued,
    give: Give,
    revoke: Callable[[str], None],
    ended: str,
) -> None:
    person = people["franklin_submitter"]
    with asking(site, own, clerk_s) as http:
        for _ in range(2):
            assert http.get(shelf(person)).status_code == 200
        if ended == "revoked":
            revoke(person.key_id)
        else:
            give(person.key_id, nobody_s.fingerprint if ended == "replaced" else None)
        until = time.monotonic() + 2
        while http.get(shelf(person)).status_code != 401:
            assert time.monotonic() < until
        assert http.get(shelf(person), auth=key_of(person)).status_code == (401 if ended == "revoked" else 200)
    with asking(site, own, nobody_s) as http:
        assert (http.get(shelf(person)).status_code == 200) == (ended == "replaced")


def test_a_certificate_is_one_key_s_until_that_is_revoked(
    people: dict[str, Person], holders: None, give: Give, revoke: Callable[[str], None], clerk_s: Issued
) -> None:
    with pytest.raises(Invalid, match="has this certificate"):
        give(people["oak"].key_id, clerk_s.fingerprint)
    revoke(people["franklin_submitter"].key_id)
    give(people["oak"].key_id, clerk_s.fingerprint)


@pytest.mark.taxii("T-7", "T-10")
def test_t10_two_certificates_never_share_an_answer_and_memory_says_what_the_whole_way_says(
    database_url: str, own: Certificate, people: dict[str, Person], holders: None, clerk_s: Issued, cook_s: Issued
) -> None:
    fast, whole = serving(database_url, own=own), serving(database_url, own=own)
    with fast as running, whole as other:
        whole.app.fast.here = None
        with (
            asking(running.base, own, clerk_s) as clerk,
            asking(running.base, own, cook_s) as cook,
            asking(running.base, own) as nobody,
            asking(other.base, own, clerk_s) as slow_clerk,
            asking(other.base, own, cook_s) as slow_cook,
        ):
            for place in (people["franklin"], people["cook"]):
                for query in ({}, {"limit": 1}, {"added_after": times.taxii(times.now())}):
                    for _ in range(3):
                        expected = [told(each, shelf(place), query) for each in (slow_clerk, slow_cook)]
                        assert sorted(status for status, _, _ in expected) == [200, 404]
                        assert [told(each, shelf(place), query) for each in (clerk, cook)] == expected
                        assert is_error(nobody.get(shelf(place), params=query), 401)
    remembered = fast.app.fast._meanings
    assert {certificate for _, certificate, _, _ in remembered} == {each.fingerprint for each in (clerk_s, cook_s)}


def told(http: httpx2.Client, path: str, query: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
    answer = http.get(path, params=query, headers={"Accept-Encoding": "identity"})
    headers = {name: value for name, value in answer.headers.items() if name not in ("date", "content-length")}
    content: Any = answer.content if answer.status_code == 200 else without_id(answer)
    return answer.status_code, content, headers


@pytest.mark.slow
@pytest.mark.taxii("T-7")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_t7_it_ends_when_it_expires_on_connections_and_sessions_that_are_older(
    site: str, own: Certificate, people: dict[str, Person], authority: Authority, give: Give, version: ssl.TLSVersion
) -> None:
    shows = authority.issues(f"brief-{version}", ends=timedelta(seconds=4))
    give(people["franklin"].key_id, shows.fingerprint)
    trust = shows.shown_to(trusting(own))
    trust.minimum_version = trust.maximum_version = version
    with line(site, trust) as talk:
        assert status(talk) == 200
        session = talk.session
        until = time.monotonic() + 10
        while status(talk) == 200:
            assert time.monotonic() < until
            time.sleep(0.1)
        assert status(talk) == 401
    with line(site, trust, session) as again:
        assert again.session_reused
        assert status(again) == 401


@contextmanager
def line(base: str, trust: ssl.SSLContext, session: ssl.SSLSession | None = None) -> Iterator[ssl.SSLSocket]:
    port = int(base.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        trust.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as talk,
    ):
        yield talk


def status(talk: ssl.SSLSocket) -> int:
    talk.sendall(b"GET /taxii2/ HTTP/1.1\r\nHost: x\r\n\r\n")
    with talk.makefile("rb") as file:
        found = int(file.readline().split()[1])
        headers = dict(line.decode().strip().lower().split(": ", 1) for line in iter(file.readline, b"\r\n"))
        file.read(int(headers["content-length"]))
    return found


# ---------------------------------------------------------------------------------------------------- named by a proxy


def rfc_9440(issued: Issued) -> str:
    return f":{base64.b64encode(issued.der).decode()}:"


def nginx_s(issued: Issued) -> str:
    return urllib.parse.quote(Path(issued.file).read_text())


@pytest.mark.taxii("T-7", "L-1")
@pytest.mark.parametrize("form", [rfc_9440, nginx_s])
def test_t7_a_trusted_proxy_names_the_certificate(
    database_url: str, people: dict[str, Person], holders: None, clerk_s: Issued, form: Callable[[Issued], str]
) -> None:
    with serving(database_url, certificate_header=b"client-cert") as running:
        for more in ({}, {"X-Forwarded-For": "192.0.2.7"}):
            answer = said(running.base, people["franklin"], {HEADER: form(clerk_s), **more})
            assert answer.status_code == 200


@pytest.mark.taxii("T-7", "T-10")
def test_t10_what_a_proxy_names_is_of_one_request_and_not_of_its_connection(
    database_url: str, people: dict[str, Person], holders: None, clerk_s: Issued, cook_s: Issued
) -> None:
    place = shelf(people["franklin"])
    with (
        serving(database_url, certificate_header=b"client-cert") as running,
        httpx2.Client(base_url=running.base, trust_env=False, limits=httpx2.Limits(max_connections=1)) as proxy,
    ):
        for _ in range(3):
            assert proxy.get(place, headers={HEADER: rfc_9440(clerk_s)}).status_code == 200
            assert is_error(proxy.get(place, headers={HEADER: rfc_9440(cook_s)}), 404)
            assert is_error(proxy.get(place), 401)


@pytest.mark.taxii("T-7")
@pytest.mark.parametrize("form", [rfc_9440, nginx_s])
def test_t7_a_proxy_s_certificate_counts_within_its_own_dates(
    database_url: str, people: dict[str, Person], authority: Authority, give: Give, form: Callable[[Issued], str]
) -> None:
    person, day = people["franklin"], timedelta(days=1)
    with serving(database_url, certificate_header=b"client-cert") as running:
        unknown = without_id(said(running.base, person, {HEADER: ":eA==:"}))
        for name, begins, ends, counts in (
            ("over", -2 * day, -timedelta(seconds=2), False),
            ("to-come", timedelta(minutes=5), day, False),
            ("valid", -day, timedelta(minutes=5), True),
            ("of-another-century", -day, 40 * 365 * day, True),
        ):
            shows = authority.issues(f"{name}-{form.__name__}", begins=begins, ends=ends)
            give(person.key_id, shows.fingerprint)
            until = time.monotonic() + 2
            answer = said(running.base, person, {HEADER: form(shows)})
            while counts and answer.status_code != 200 and time.monotonic() < until:
                answer = said(running.base, person, {HEADER: form(shows)})
            assert answer.status_code == (200 if counts else 401), name
            assert counts or without_id(answer) == unknown


Headers = dict[str, str] | Sequence[tuple[str, str]]


def said(base: str, person: Person, headers: Headers, **more: Any) -> httpx2.Response:
    with httpx2.Client(base_url=base, trust_env=False) as http:
        return http.get(shelf(person), headers=headers, **more)


@pytest.mark.taxii("T-7", "T-10")
@pytest.mark.parametrize("claim", ["", "192.0.2.1", "127.0.0.1"])
def test_t7_nobody_else_is_believed_who_names_one(
    database_url: str, people: dict[str, Person], holders: None, clerk_s: Issued, claim: str
) -> None:
    """Neither whoever connects from elsewhere, nor anybody where the setting is off."""
    forged = {HEADER: rfc_9440(clerk_s), **({"X-Forwarded-For": claim} if claim else {})}
    for settings in ({"certificate_header": b"client-cert", "proxies": "192.0.2.1"}, {"certificate_header": b""}):
        with serving(database_url, **settings) as running:
            answer = said(running.base, people["franklin"], forged)
            assert is_error(answer, 401)
            assert without_id(answer) == without_id(said(running.base, people["franklin"], {}))
            keyed = said(running.base, people["franklin"], forged, auth=key_of(people["cook"]))
            assert is_error(keyed, 404)


@pytest.mark.taxii("T-7", "T-10")
def test_t7_what_somebody_else_said_before_the_proxy_lets_nobody_in(
    database_url: str, people: dict[str, Person], holders: None, clerk_s: Issued, cook_s: Issued
) -> None:
    good = rfc_9440(clerk_s)
    with serving(database_url, certificate_header=b"client-cert") as running:
        none = without_id(said(running.base, people["franklin"], {}))
        for empty in ("", "::"):
            assert without_id(said(running.base, people["franklin"], {HEADER: empty})) == none
        unknown = without_id(said(running.base, people["franklin"], {HEADER: ":eA==:"}))
        for wrong in (
            [(HEADER, good), (HEADER, good)],
            [(HEADER, rfc_9440(cook_s)), (HEADER, good)],
            [(HEADER, ""), (HEADER, good)],
            [(HEADER, f"{good}, {good}")],
            [(HEADER, good[1:])],
            [(HEADER, f":{good}:")],
            [(HEADER, nginx_s(clerk_s) + nginx_s(cook_s))],
            [(HEADER, "-----BEGIN%20CERTIFICATE-----%FF")],
            [(HEADER, clerk_s.fingerprint.sha256.hex())],
        ):
            answer = without_id(said(running.base, people["franklin"], wrong))
            assert answer == unknown, wrong
            assert answer != none
        others = {"Client_Cert": good, "X-Client-Cert": good}
        assert without_id(said(running.base, people["franklin"], others)) == none


@pytest.mark.taxii("T-7", "T-10")
def test_t7_a_proxy_s_own_certificate_is_not_its_clients(
    database_url: str, own: Certificate, people: dict[str, Person], holders: None, clerk_s: Issued, cook_s: Issued
) -> None:
    """Between two machines the proxy itself may show one; what it says of its clients decides."""
    named = {HEADER: rfc_9440(clerk_s)}
    with (
        serving(database_url, own=own, certificate_header=b"client-cert") as running,
        asking(running.base, own, cook_s) as proxy,
    ):
        assert proxy.get(shelf(people["franklin"]), headers=named).status_code == 200
        assert is_error(proxy.get(shelf(people["cook"])), 401)
    with (
        serving(database_url, own=own, certificate_header=b"client-cert", proxies="192.0.2.1") as running,
        asking(running.base, own, cook_s) as member,
    ):
        assert is_error(member.get(shelf(people["franklin"]), headers=named), 404)
        assert member.get(shelf(people["cook"]), headers=named).status_code == 200


@pytest.mark.taxii("T-10")
def test_t10_what_is_public_of_a_certificate_is_never_a_secret(
    database_url: str, people: dict[str, Person], holders: None, give: Give, clerk_s: Issued
) -> None:
    words = f"isac_{people['oak'].key_id}_{'x' * 43}"
    give(people["oak"].key_id, Fingerprint(hashlib.sha256(words.encode()).digest()))
    named = {HEADER: f":{base64.b64encode(words.encode()).decode()}:"}
    with serving(database_url, certificate_header=b"client-cert") as running:
        for _ in range(2):
            assert is_error(said(running.base, people["oak"], named), 401), "it is no certificate"
            assert is_error(said(running.base, people["oak"], {"Authorization": f"Bearer {words}"}), 401)
        for secret in (rfc_9440(clerk_s), clerk_s.fingerprint.sha256.hex(), base64.b64encode(clerk_s.der).decode()):
            assert is_error(said(running.base, people["franklin"], {"X-API-Key": secret}), 401)


def test_whatever_a_proxy_names_is_a_certificate_or_nobody_s(clerk_s: Issued) -> None:
    dice = random.Random(1)
    assert certificates.of_header([rfc_9440(clerk_s).encode()]) == clerk_s.fingerprint
    for _ in range(3000):
        der = bytearray(clerk_s.der[: dice.choice((len(clerk_s.der), dice.randrange(200)))])
        for _ in range(dice.randrange(4)):
            if der:
                der[dice.randrange(min(len(der), 120))] = dice.randrange(256)
        found = certificates.of_header([b":" + base64.b64encode(der) + b":"])
        assert found in (NOBODYS, Fingerprint(hashlib.sha256(der).digest()), None)
        assert found is not None or not der


# ---------------------------------------------------------------------------------------------------------- the file


def test_a_file_with_one_certificate_is_read(clerk_s: Issued, tmp_path: Path) -> None:
    text = f"Bag Attributes\n{Path(clerk_s.file).read_text()}"
    assert certificates.of_file("x.pem", text) == clerk_s.fingerprint


def test_other_files_are_not(clerk_s: Issued, cook_s: Issued) -> None:
    one, two = (Path(each.file).read_text() for each in (clerk_s, cook_s))
    for text, words in (
        ("", "x.pem holds no certificates"),
        (one + two, "x.pem holds 2 certificates"),
        (one[:-40], "x.pem holds no certificates"),
        (one.replace("\nM", "\nN", 1), "x.pem looks like a certificate, but is none"),
        ("-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----\n", "x.pem looks like a certificate"),
    ):
        with pytest.raises(Invalid, match=words):
            certificates.of_file("x.pem", text)
