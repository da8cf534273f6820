"""What real files have in them to stumble over: the traps of the corpus that one reader alone meets.

The others are where their test is: 1, 4, 14 and 16 in tests/ingest/test_corpus.py, 2 and 5 in
tests/formats/test_stix20.py, 13 in tests/formats/test_prose.py, 15 in tests/stix/test_corpus_objects.py, 17 in
tests/policy/test_jurisdictions.py.
"""

import re
from collections import Counter
from collections.abc import Iterator

from tests.corpus import documents, needs_corpus
from tests.ingest.corpus_feeds import definition

from isac.errors import Invalid
from isac.formats import stix, stix20, text
from isac.formats.found import Found, Unreadable
from isac.stix import markings, objects
from isac.stix.markings import TLP

pytestmark = needs_corpus


def rows(file: str) -> list[Found | Unreadable]:
    """What a file, or all members of an archive, give by their definition or as a list."""
    found: list[Found | Unreadable] = []
    for name, data in documents(f"{file}*"):
        whole, _, member = name.partition("/")
        feed = definition(f"{file.partition('/')[0]}/{whole}", member or None)
        found += feed.read(data) if feed else text.read(data)  # type: ignore[arg-type]
    return found


def good(file: str) -> list[Found]:
    return [row for row in rows(file) if isinstance(row, Found)]


def accepted(pattern: str) -> Iterator[objects.Object | str]:
    """The objects of STIX files, or why one was refused."""
    for _, data in documents(pattern):
        try:
            pieces = stix20.upgraded(stix.read(data), "identity--00000000-0000-4000-8000-0000000000a1", "a source")
        except Invalid:
            continue
        for piece in pieces:
            try:
                yield objects.accept(piece)
            except Invalid as error:
                yield error.detail


def test_trap_3_odd_version_digits_are_taken_and_what_is_no_uuid_is_refused_alone() -> None:
    taken = [each for each in accepted("interop/stix21*") if not isinstance(each, str)]
    assert {each.id[-22] for each in taken} > {"4"}
    refused = [each for each in accepted("stix20/elevator*") if isinstance(each, str) and "object_refs" in each]
    assert len(refused) == 4


def test_trap_6_tlp_and_policies_in_extensions_are_seen() -> None:
    seen = [each for each in accepted("stix21/cisa-ctis*") if not isinstance(each, str)]
    assert {each.marking.tlp for each in seen if each.type == "indicator"} <= set(TLP)
    definitions = [each.body for each in accepted("stix21/marking-*") if not isinstance(each, str)]
    assert [markings.implied(body) for body in definitions] == [None, None, TLP.RED]
    assert [markings.understood(body) for body in definitions] == [False, False, True]


def test_trap_7_wrong_headers_descriptions_and_mixed_case() -> None:
    assert len(good("feeds/threatfox-mangled")) == 24_948
    for name in ("sophos-2404", "sophos-files", "sophos-troj"):
        first = rows(f"vendor/{name}")[0]
        assert isinstance(first, Unreadable)
        assert first.reason.startswith("«Description» is no kind of observable")
    assert sum(row.observable.kind == "ipv4-addr" for row in good("vendor/sophos-2404")) == 5


def test_trap_8_urls_that_are_cut_are_not_stored() -> None:
    reasons = Counter(
        "cut" if "is cut off" in row.reason else "other"
        for row in rows("feeds/cps-atomspam")
        if isinstance(row, Unreadable)
    )
    assert reasons == {"cut": 781}
    assert len(good("feeds/cps-atomspam")) == 2792 - 781


def test_trap_9_what_spreadsheets_do_to_tables() -> None:
    certificates = good("feeds/sslbl-excel-saved")
    assert len(certificates) == 5565
    assert {row.observable.kind for row in certificates} == {"x509-sha-1"}
    assert all(row.seen for row in certificates)
    by_row = Counter((row.line, row.observable.kind) for row in good("vendor/volexity-a"))
    hashed = Counter(line for line, kind in by_row if kind in ("md5", "sha-1", "sha-256"))
    assert sum(count >= 2 for count in hashed.values()) > 50


def test_trap_10_the_indicator_is_the_url_and_never_its_shared_host() -> None:
    for file in ("feeds/urlhaus-online", "feeds/openphish-feed"):
        assert {row.observable.kind for row in good(file)} == {"url"}
    shared = sum("github" in row.observable.value for row in good("feeds/urlhaus-online"))
    assert 2900 < shared < 3100
    carriers = [row for row in good("feeds/threatfox-ips") if _is_shared(row.observable.value)]
    assert len(carriers) == 7


def _is_shared(address: str) -> bool:
    first, second = map(int, address.split(".")[:2])
    return first == 100 and 64 <= second < 128


def test_trap_11_the_last_line_of_json_lines_is_no_indicator() -> None:
    *networks, last = rows("feeds/spamhaus-drop-json-lines")
    assert all(isinstance(row, Found) for row in networks)
    assert isinstance(last, Unreadable)
    assert last.reason == "there is no value in this row"


def test_trap_12_urls_in_comments_are_no_indicators() -> None:
    comments: set[str] = set()
    values: set[str] = set()
    for pattern in ("feeds/maltrail*", "vendor/loki-c2*", "vendor/loki-hash*"):
        for _, data in documents(pattern):
            for line in data.decode("utf-8", "replace").splitlines():
                if line.startswith("#"):
                    comments |= set(re.findall(r"https?://[^\s)]+", line))
        values |= {row.observable.value for row in good(pattern.rstrip("*"))}
    assert len(comments) > 1000
    assert not comments & values
