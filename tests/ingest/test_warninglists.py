"""Warninglists from a folder, an archive, the packages, and a State's CSV: what a load takes, keeps and refuses."""

import io
import tarfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

import orjson
import pytest
from tests.corpus import CORPUS, needs_corpus

from isac.errors import Invalid
from isac.ingest import warninglists
from isac.ingest.warninglists import Loaded
from isac.policy import values
from isac.policy.values import Facts
from isac.stix.observables import recognize
from isac.store import warninglists as store
from isac.store.database import Pool

Run: TypeAlias = Callable[[Coroutine[Any, Any, Any]], Any]


def write(folder: Path, name: str, *entries: str, kind: str = "string", raw: bytes | None = None) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    body = {"name": f"List {name}", "type": kind, "version": 1, "list": entries}
    (folder / name / "list.json").write_bytes(orjson.dumps(body) if raw is None else raw)


@pytest.fixture
def load(run: Run, pool: Pool) -> Callable[[Path], Loaded]:
    return lambda path: run(warninglists.load(pool, path, "operator"))


@pytest.fixture
def entries(run: Run, pool: Pool) -> Callable[[], dict[str, int]]:
    """How many entries each list has that did not come with the program."""

    async def work() -> dict[str, int]:
        async with pool.connection() as conn:
            return {each.name: each.entries for each in await store.known(conn) if not each.name.startswith("isac-")}

    return lambda: run(work())


@pytest.fixture
def held(run: Run, pool: Pool) -> Callable[[str], set[str]]:
    """The rules that hold a value back."""

    async def work(text: str) -> set[str]:
        value = recognize(text)
        async with pool.connection() as conn:
            facts = Facts(listed=await store.listed(conn, [value]))
        return {each.rule for each in values.of_value(value, facts) if each.verdict != "note"}

    return lambda text: run(work(text))


def test_a_folder_is_loaded_once(load: Callable[[Path], Loaded], entries: Any, tmp_path: Path) -> None:
    write(tmp_path / "lists", "a", "x.test", "y.test")
    write(tmp_path, "b", "192.0.2.0/24", kind="cidr")
    first, again = load(tmp_path), load(tmp_path)

    assert (sorted(first.read), first.changed, first.broken) == (["a", "b"], 3, [])
    assert (again.read, again.changed, sorted(again.unchanged)) == ([], 0, ["a", "b"])
    assert entries() == {"a": 2, "b": 1}


def test_an_archive_is_read_like_a_folder(load: Callable[[Path], Loaded], entries: Any, tmp_path: Path) -> None:
    raw = orjson.dumps({"name": "A", "type": "string", "version": 1, "list": ["x.test"]})
    with tarfile.open(tmp_path / "lists.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("misp-warninglists/lists/a/list.json")
        member.size = len(raw)
        archive.addfile(member, io.BytesIO(raw))
    load(tmp_path / "lists.tar.gz")

    assert entries() == {"a": 1}


def test_a_broken_list_stays_as_it_was_and_the_others_are_taken(
    load: Callable[[Path], Loaded], entries: Any, held: Any, tmp_path: Path
) -> None:
    write(tmp_path, "a", "x.test")
    write(tmp_path, "b", "y.test")
    load(tmp_path)
    write(tmp_path, "a", raw=b'{"name": "A", "type": "string", "list": ["z.test"')
    write(tmp_path, "b", "y.test", "w.test")
    found = load(tmp_path)

    assert found.read == ["b"]
    assert [line.partition(":")[0] for line in found.broken] == ["a"]
    assert entries() == {"a": 1, "b": 2}
    assert held("x.test") == {"warninglist"}
    assert held("z.test") == set()


def test_a_list_that_shrank_names_what_is_left(load: Callable[[Path], Loaded], held: Any, tmp_path: Path) -> None:
    write(tmp_path, "a", "x.test", "y.test")
    load(tmp_path)
    write(tmp_path, "a", "y.test")
    found = load(tmp_path)

    assert found.changed == 1
    assert (held("x.test"), held("y.test")) == (set(), {"warninglist"})


def test_a_list_that_is_suddenly_empty_stays_as_it_was(
    load: Callable[[Path], Loaded], held: Any, tmp_path: Path
) -> None:
    write(tmp_path, "a", "x.test")
    load(tmp_path)
    write(tmp_path, "a")
    found = load(tmp_path)

    assert "suddenly empty" in found.broken[0]
    assert held("x.test") == {"warninglist"}


def test_expressions_are_not_run(load: Callable[[Path], Loaded], run: Run, pool: Pool, tmp_path: Path) -> None:
    write(tmp_path, "a", "/^(a+)+$/", "(x+x+)+y", "[", kind="regex")
    load(tmp_path)

    async def left_out() -> dict[str, int]:
        async with pool.connection() as conn:
            return {each.name: each.left_out for each in await store.known(conn)}

    assert run(left_out())["a"] == 3


def test_a_state_s_portals_hold_urls_too(load: Callable[[Path], Loaded], held: Any, tmp_path: Path) -> None:
    (tmp_path / "portals.csv").write_text("domain,jurisdiction,source\nelm-votes.test,us-oh-39901,the clerk\n")
    load(tmp_path / "portals.csv")

    assert held("https://www.elm-votes.test/login") == {"portal"}
    assert held("elm-votes.test") == {"portal"}


def test_the_empty_table_for_portals_can_be_loaded(load: Callable[[Path], Loaded]) -> None:
    assert load(warninglists.ours().parent / "portals.csv").read == ["isac-portals"]


@pytest.mark.parametrize("name", ["nothing", "nothing.tar.gz", "empty", "text.tar.gz"])
def test_where_there_are_no_lists_it_says_so(load: Callable[[Path], Loaded], tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.tar.gz").write_bytes(b"no archive")
    with pytest.raises(Invalid, match=name):
        load(tmp_path / name)


OURS = {
    "8.8.8.8": {"warninglist"},
    "::ffff:8.8.8.8": {"warninglist"},
    "8.8.8.0/24": {"warninglist"},
    "https://8.8.8.8/dns-query": {"warninglist"},
    "https://dns.google/dns-query": {"warninglist"},
    "2001:4860:4860::8888": {"warninglist"},
    "8.8.9.8": set(),
    # its time server stands on the other list
    "google.com": {"shared host", "warninglist"},
    "GOOGLE.com.": {"shared host", "warninglist"},
    "www.google.com": {"shared host"},
    "github.com": {"shared host"},
    "https://github.com/somebody/something": set(),
    "netlify.app": {"shared host"},
    "a-page.netlify.app": set(),
    "mallory@gmail.com": set(),
}


def test_the_lists_that_come_with_the_program_hold(held: Any) -> None:
    assert {text: held(text) for text in OURS} == OURS


def test_each_load_that_changes_something_is_in_the_audit(
    load: Callable[[Path], Loaded], run: Run, pool: Pool, tmp_path: Path
) -> None:
    write(tmp_path, "a", "x.test")
    load(tmp_path)
    load(tmp_path)

    async def lines() -> list[Any]:
        async with pool.connection() as conn:
            query = "SELECT actor, subject, reason FROM audit WHERE action = 'warninglists' AND subject = 'a'"
            return await (await conn.execute(query)).fetchall()

    assert run(lines()) == [("operator", "a", "1 entries")]


@needs_corpus
def test_the_lists_of_misp_are_read(load: Callable[[Path], Loaded], held: Any) -> None:
    assert CORPUS is not None
    found = load(CORPUS / "warninglists/misp-warninglists-a.tar.gz")

    assert len(found.read) == 77
    assert found.broken == []
    assert found.changed > 90_000
    assert held("https://www.google.com/search") == {"warninglist"}, "programs look there whether they are online"
    assert held("d41d8cd98f00b204e9800998ecf8427e") == {"warninglist"}
