"""What a worker keeps in memory: its sums are true, and never beyond their bounds."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from tests.conftest import Person
from tests.serve.conftest import Both, tool

from isac import times
from isac.serve import fast, pages
from isac.store import follower


def counted(both: Both) -> tuple[int, int, int]:
    """The bytes of pages, of increments and of rows, as they are counted, once it is certain that this is true."""
    kept, increments, followed = both.here.pages, both.fast.app.fast._increments, both.here.follower
    assert kept._bytes == sum(answer.size for _, _, answer in kept._kept.values())
    assert increments._bytes == sum(pages._bound(answer) for answer in increments._kept.values())
    assert sorted(followed._raws) == sorted(seq for shelf in followed._shelves.values() for seq in shelf.seqs)
    assert followed._dates.keys() == followed._raws.keys()
    assert followed._bytes == sum(map(len, followed._raws.values()))
    return kept._bytes, increments._bytes, followed._bytes


def test_what_is_kept_is_bounded(both: Both, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_BYTES", 40_000)
    monkeypatch.setattr(follower, "MAX_BYTES", 20_000)
    monkeypatch.setattr(follower, "MAX_ROWS", 12)
    monkeypatch.setattr(fast, "_MEANINGS", 5)
    clerk = both.clerk(people["franklin_submitter"])
    path, front, cursor = f"{clerk.shelf}objects/", both.fast.app.fast, times.now()
    most = [0, 0, 0]
    for number in range(40):
        if number % 10 == 9:
            clerk.post(*(tool("x" * 3000) for _ in range(30)))
        clerk.add(tool(f"{number}" * 400))
        both.agree(clerk.person, path, {"limit": number + 1})
        last = both.agree(clerk.person, path, {"added_after": times.taxii(cursor)})[1]["x-taxii-date-added-last"]
        for limit in (1, 3):
            # Two that differ, and mean the same: one makes the answer, the other has it packed.
            for later, encoding in ((0, "identity"), (1, "gzip")):
                query = {"added_after": times.taxii(cursor + timedelta(microseconds=later)), "limit": limit}
                both.agree(clerk.person, path, query, **{"Accept-Encoding": encoding})
        if number % 5 == 4:
            cursor = times.read(last)
        most = [max(pair) for pair in zip(most, counted(both), strict=True)]
        assert len(front._placed) <= len(both.here.pages._kept) + len(front._increments._kept) + 1

    assert 20_000 < most[0] <= 40_000
    assert 5_000 < most[1] <= 10_000
    assert 5_000 < most[2] <= 20_000
    assert len(both.here.follower._raws) <= 12
    assert len(front._meanings) <= 5


def test_what_is_packed_is_counted_with_what_it_was_packed_of(both: Both, people: dict[str, Person]) -> None:
    clerk = both.clerk(people["franklin_submitter"])
    path, front = f"{clerk.shelf}objects/", both.fast.app.fast
    clerk.add(*[tool(f"{number}" * 2000) for number in range(5)])
    both.settled()
    first = times.read(clerk.get("manifest/").json()["objects"][0]["date_added"])

    def ask(query: dict[str, Any], encoding: str) -> None:
        both.ask(both.base, clerk.person, path, query, **{"Accept-Encoding": encoding})

    for later, encoding in ((0, "identity"), (1, "gzip")):  # two cursors between two rows
        ask({"added_after": times.taxii(first + timedelta(microseconds=later)), "limit": 2}, encoding)
    (shared,) = front._increments._kept.values()
    assert shared.packed is not None
    assert counted(both)[:2] == (0, pages._bound(shared))

    ask({"limit": 3}, "identity")
    ask({"limit": 3}, "gzip")
    ((_, _, page),) = both.here.pages._kept.values()
    assert page.packed is not None
    assert counted(both)[0] == page.size > len(page.content) + len(page.packed.content)
    for key in list(both.here.pages._kept):
        both.here.pages._drop(key)
    assert counted(both)[0] == 0


def test_many_who_pack_one_page_at_once_count_it_once(both: Both, people: dict[str, Person]) -> None:
    clerk = both.clerk(people["franklin_submitter"])
    clerk.add(*[tool("x" * 2000) for _ in range(60)])
    path = f"{clerk.shelf}objects/"
    auth = (clerk.person.key_id, clerk.person.secret)
    both.ask(both.base, clerk.person, path, {})

    def ask(_: int) -> int:
        return httpx2.get(both.base + path, auth=auth, headers={"Accept-Encoding": "gzip"}).status_code

    with ThreadPoolExecutor(20) as threads:
        assert set(threads.map(ask, range(40))) == {200}
    assert both.here.pages._bytes == sum(kept.size for _, _, kept in both.here.pages._kept.values())


def test_pages_of_long_lists_of_names_are_not_kept(both: Both, people: dict[str, Person]) -> None:
    clerk = both.clerk(people["franklin_submitter"])
    clerk.add(tool())
    (one,) = clerk.objects()
    names = ",".join([one["id"], *(f"tool--{uuid.uuid4()}" for _ in range(50))])
    both.agree(clerk.person, f"{clerk.shelf}objects/", {"match[id]": names})

    assert all(query.ids is None for _, query in both.here.pages._kept)
