"""`isac assets` and `isac alerts` as an operator types them."""

from pathlib import Path

import psycopg
import pytest
from tests.test_cli import Terminal

from isac.store import database

pytestmark = pytest.mark.slow


@pytest.fixture
def isac(tmp_path: Path, database_url: str) -> Terminal:
    return Terminal(tmp_path, database_url)


ASSETS = "organization,kind,value\n"


def organization(url: str, name: str) -> str:
    query = "SELECT a.code FROM organizations o JOIN audiences a ON a.pk = o.audience WHERE o.name = %s"
    with psycopg.connect(database.conninfo(url)) as conn:
        ((code,),) = conn.execute(query, (name,)).fetchall()
    return str(code)


def test_assets_are_imported_all_or_none_listed_and_removed(isac: Terminal, database_url: str) -> None:
    elm = organization(database_url, "Elm County Clerk")
    good = isac.file("good.csv", f"{ASSETS}{elm},domain,elmcounty.example\n{elm},network,192.0.2.0/24\n")
    bad = isac.file("bad.csv", f"{ASSETS}{elm},domain,elmcounty.example\n{elm},domain,oh.us\norg-0,vendor,Example\n")
    wrong = isac("assets", "import", bad)
    assert (wrong.returncode, isac.count("assets")) == (2, 0)
    assert "bad.csv:3: «oh.us» is a public suffix" in wrong.stderr
    assert "bad.csv:4: organization «org-0» is unknown" in wrong.stderr

    assert isac("assets", "import", good, "--dry-run").stdout == "2 would be registered, 0 are there already.\n"
    assert (isac.count("assets"), isac.count("asset_keys")) == (0, 0)
    assert isac("assets", "import", good).stdout == "2 registered, 0 are there already.\n"
    _, *rows = isac("assets", "list", elm).stdout.splitlines()
    assert [row.split()[1:3] for row in rows] == [["domain", "elmcounty.example"], ["network", "192.0.2.0/24"]]
    ids = [row.split()[0] for row in rows]
    assert isac("assets", "remove", elm, *ids).stdout == "2 removed.\n"
    assert (isac.count("assets"), isac.count("asset_keys")) == (0, 0)


def test_alerts_are_listed_and_acknowledged(isac: Terminal, database_url: str) -> None:
    elm = organization(database_url, "Elm County Clerk")
    with psycopg.connect(database.conninfo(database_url)) as conn:
        conn.execute(
            """INSERT INTO alerts (id, organization, about_kind, about, how, kind, value, digest, stix_id, type, source,
                                   at)
               SELECT gen_random_uuid(), pk, 'domain', 'elmcounty.example', 'typo', 'domain-name', 'elmcountty.example',
                      '', 'indicator--x', 'indicator', '', '2026-01-01T08:00:00Z'
                 FROM organizations WHERE name = 'Elm County Clerk'"""
        )
    shown = isac("alerts", "list", elm, "--open").stdout.splitlines()
    assert shown[0].startswith("2026-01-01 08:00  ")
    assert "elmcountty.example differs from your domain elmcounty.example by one typo." in shown[1]
    assert shown[-1] == "1 alert."

    done = isac("alerts", "acknowledge", shown[0].split()[2], "--note", "ours").stdout
    assert "by operator" in done
    assert isac("alerts", "list", elm, "--open").stdout == "0 alerts.\n"
