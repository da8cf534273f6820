"""When the database goes away under a running server: after two seconds, for which its memory answers, 503 with
Retry-After; and it heals by itself.
"""

import time

import httpx2
import psycopg
import pytest
from tests.conftest import Person, serving


@pytest.mark.taxii("L-18")
def test_a_database_that_is_away_is_503_until_it_is_back(
    postgres: str, database_url: str, people: dict[str, Person]
) -> None:
    auth = (people["oak"].key_id, people["oak"].secret)
    name = str(psycopg.conninfo.conninfo_to_dict(database_url)["dbname"])
    with serving(database_url) as server, psycopg.connect(postgres, autocommit=True) as admin:
        where = f"{server.base}{server.root}collections/{people['oak'].collection}/objects/"
        assert httpx2.get(where, auth=auth).status_code == 200
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        away = _until(where, auth, 503)
        api = _until(f"{server.base}/api/v1/submissions", auth, 503)
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        back = _until(where, auth, 200)

    assert away.headers["Retry-After"]
    assert away.json()["http_status"] == "503"
    assert name not in away.text + api.text
    assert (api.json()["type"], api.headers["Retry-After"]) == ("urn:isac:problem:busy", "5")
    assert back.json()["objects"]


def _until(where: str, auth: tuple[str, str], status: int) -> httpx2.Response:
    for _ in range(100):
        answer = httpx2.get(where, auth=auth, timeout=60)
        if answer.status_code == status:
            return answer
        time.sleep(0.1)
    raise AssertionError(f"never {status}, last {answer.status_code}: {answer.text}")
