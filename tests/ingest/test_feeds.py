"""Feed definitions, and the samples that come with the server."""

import json
import re
import uuid
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
import stix2
from tests.corpus import documents, needs_corpus

from isac.errors import Invalid
from isac.formats.found import FIELDS, Found, Unreadable
from isac.ingest.feeds import Feed, load, load_all, load_good, schema
from isac.package_data import package_data
from isac.stix.markings import MARKINGS, TLP
from isac.stix.observables import documentation

FEEDS = package_data("feeds")
SAMPLES = {feed.name: feed for feed in load_all(FEEDS) if feed.sample}
READY = {feed.name: feed for feed in load_all(FEEDS) if not feed.sample}

GOOD: dict[str, Any] = {"name": "a-list", "path": "list.txt", "format": "text", "license": "CC0"}
TABLE: dict[str, Any] = {**GOOD, "format": "csv", "columns": {"value": "url"}}


def payload(feed: Feed, folder: Path) -> bytes:
    return (folder / str(feed.path)).read_bytes()


def written(folder: Path, text: str, name: str = "feed.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def toml(definition: dict[str, Any]) -> str:
    tables = {key: value for key, value in definition.items() if isinstance(value, dict)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in definition.items() if key not in tables]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines)


def test_what_a_definition_leaves_out_is_careful(tmp_path: Path) -> None:
    feed = load(written(tmp_path, toml(GOOD)))
    assert (feed.tlp, feed.audience, feed.redistribute, feed.sample) == (TLP.GREEN, "us", False, False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": None}, "name: is missing"),
        ({"license": None}, "license: is missing"),
        ({"license": ""}, "license:"),
        ({"name": "A List"}, 'name: "A List" does not fit'),
        ({"colour": "red"}, "colour: there is no such key; "),
        ({"format": "xml"}, "format:"),
        ({"path": None}, "either `url` or `path`"),
        ({"url": "https://lists.example/a"}, "either `url` or `path`"),
        ({"path": None, "url": "ftp://lists.example/a"}, "url:"),
        ({"path": None, "url": "https://me:secret@lists.example/a"}, "url:"),
        ({"path": "a\0b"}, "path:"),
        ({"format": "csv"}, "`columns.value` is missing"),
        ({"format": "json", "columns": {"name": "x"}}, "`columns.value` is missing"),
        (
            {"format": "csv", "columns": {"vlaue": "x"}},
            "columns: there is no field 'vlaue'; perhaps «value» is meant; the fields are value, kind",
        ),
        ({"format": "csv", "columns": {"value": 3}}, "columns.value"),
        ({"columns": {"value": "x"}}, "`columns` is for csv and json"),
        ({"records": "rows"}, "`records` is for json"),
        ({"header": ["value"]}, "`header` is for csv"),
        ({"dates": "us"}, "`dates` is for csv and json"),
        ({"format": "csv", "columns": {"value": "b"}, "header": ["a"]}, "`header` lacks what `columns` names: b"),
        ({"kind": "filename"}, "kind: 'filename' is no kind"),
        ({"format": "stix", "kind": "url"}, "`kind` says what plain values are"),
        ({"format": "misp", "kind": "url"}, "MISP says that itself"),
        ({"format": "taxii"}, "needs the `url` of a collection"),
        ({"format": "stix", "current": True}, "are for lists"),
        ({"format": "misp", "confidence": 50}, "MISP says that itself"),
        ({"every": "often"}, 'every: "often" is no time span; write text such as'),
        ({"rhythm": 3600}, "rhythm: 3600 is no time span"),
        ({"validity": {"filename": "30d"}}, "validity: 'filename' is no kind"),
        ({"validity": {"url": "for ever"}}, 'validity: "for ever" is no time span'),
        ({"confidence": 101}, "confidence:"),
        ({"auth_header": "X Key"}, "auth_header:"),
        ({"tlp": "purple"}, "tlp: «purple» is no TLP"),
        ({"tlp": 3}, "tlp: write it as text"),
        ({"tlp": "amber+strict"}, "needs recipients by name"),
        ({"tlp": "red"}, "needs recipients by name"),
        ({"audience": "ohio"}, 'audience: "ohio"'),
        ({"audience": "us-OH"}, 'audience: "us-OH"'),
        ({"audience": "public"}, "`audience` public needs `tlp` clear"),
        ({"auth_env": "my key"}, "auth_env:"),
        ({"redistribute": "perhaps"}, "redistribute:"),
    ],
)
def test_a_wrong_definition_names_the_file_and_the_key(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    definition = {key: value for key, value in {**GOOD, **change}.items() if value is not None}
    path = written(tmp_path, toml(definition))
    with pytest.raises(Invalid) as refusal:
        load(path)
    assert refusal.value.detail.startswith(f"{path}: ")
    assert words in refusal.value.detail


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="this is not TOML"):
        load(written(tmp_path, "name: a-list"))
    with pytest.raises(Invalid, match="cannot be read"):
        load(tmp_path / "missing.toml")


@pytest.mark.parametrize(
    ("text", "tlp"), [("TLP:CLEAR", TLP.CLEAR), ("white", TLP.CLEAR), ("Amber", TLP.AMBER), ("green", TLP.GREEN)]
)
def test_a_tlp_may_be_written_as_people_write_it(text: str, tlp: TLP, tmp_path: Path) -> None:
    assert load(written(tmp_path, toml({**GOOD, "tlp": text}))).tlp == tlp


def test_a_table_without_a_header_and_with_us_dates_is_defined(tmp_path: Path) -> None:
    columns = {"value": "host", "first_seen": "seen"}
    feed = load(written(tmp_path, toml({**TABLE, "header": ["host", "seen"], "dates": "us", "columns": columns})))
    (found,) = feed.read(b"a.example,12/31/2025\n")
    assert isinstance(found, Found)
    assert found.seen
    assert found.seen.isoformat() == "2025-12-31T00:00:00+00:00"


def test_two_feeds_have_two_names(tmp_path: Path) -> None:
    written(tmp_path, toml(GOOD), "one.toml")
    written(tmp_path, toml({**GOOD, "name": "b-list"}), "two.toml")
    assert [feed.name for feed in load_all(tmp_path)] == ["a-list", "b-list"]
    written(tmp_path, toml(GOOD), "three.toml")
    with pytest.raises(Invalid, match="another file defines a feed a-list"):
        load_all(tmp_path)


def test_one_wrong_definition_stops_no_other(tmp_path: Path) -> None:
    written(tmp_path, toml(GOOD), "b.toml")
    written(tmp_path, toml({**GOOD, "name": "b-list"}), "c.toml")
    wrong = {
        "a.toml": "nmae = 1",
        "d.toml": "name = ",
        "e.toml": f"name = {'9' * 5000}",
        "f.toml": f"name = {'[' * 5000}",
        "g.toml": toml(GOOD),
    }
    for name, words in wrong.items():
        written(tmp_path, words, name)
    good, problems = load_good(tmp_path)
    assert [feed.name for feed in good] == ["a-list", "b-list"]
    assert [problem.partition(":")[0] for problem in problems] == [str(tmp_path / name) for name in sorted(wrong)]
    with pytest.raises(Invalid, match="there is no such key"):
        load_all(tmp_path)


def test_the_published_schema_is_that_of_the_model() -> None:
    assert (package_data("schemas") / "feed.json").read_text(encoding="utf-8") == schema()


@pytest.mark.parametrize(
    "change", [{"colour": "red"}, {"tlp": "red"}, {"url": "https://lists.example/"}, {"columns": {"x": "y"}}]
)
def test_the_published_schema_refuses_what_the_model_refuses(change: dict[str, Any]) -> None:
    published = orjson.loads(schema())
    assert jsonschema_rs.is_valid(published, GOOD)
    assert jsonschema_rs.is_valid(published, TABLE)
    assert not jsonschema_rs.is_valid(published, {**GOOD, **change})


# Our own samples


def test_the_samples_show_each_format() -> None:
    assert SAMPLES.keys() == {"partner-bundle", "plain-list", "sample-kev", "sample-threatfox", "sample-urlhaus"}
    assert all(feed.sample and feed.redistribute and feed.path and not feed.url for feed in SAMPLES.values())


@pytest.mark.parametrize(
    ("name", "found", "unreadable"),
    [("sample-kev", 22, 2), ("plain-list", 35, 7), ("sample-threatfox", 38, 3), ("sample-urlhaus", 38, 3)],
)
def test_a_sample_shows_values_and_reasons(name: str, found: int, unreadable: int) -> None:
    rows = list(SAMPLES[name].read(payload(SAMPLES[name], FEEDS)))
    assert sum(isinstance(row, Found) for row in rows) == found
    assert sum(isinstance(row, Unreadable) for row in rows) == unreadable


@pytest.mark.parametrize("name", ["plain-list", "sample-threatfox", "sample-urlhaus"])
def test_no_sample_accuses_anybody(name: str) -> None:
    for row in SAMPLES[name].read(payload(SAMPLES[name], FEEDS)):
        if isinstance(row, Found) and row.observable.kind not in ("md5", "sha-1", "sha-256"):
            assert documentation(row.observable), row


def test_no_web_address_in_a_sample_leads_anywhere() -> None:
    for feed in SAMPLES.values():
        text = payload(feed, FEEDS).decode()
        for name in re.findall(r"(?:https?|hxxps?)://([^/\s\"':<>,]+)", text):
            bare = name.replace("[.]", ".").rstrip("…")
            assert re.search(r"(\A|\.)example(\.(com|net|org))?\Z|\A(192\.0\.2|198\.51\.100|203\.0\.113)\.", bare), name


def test_kev_sample_numbers_were_never_given() -> None:
    catalog = orjson.loads(payload(SAMPLES["sample-kev"], FEEDS))
    assert catalog["count"] == len(catalog["vulnerabilities"])
    numbers = [record["cveID"] for record in catalog["vulnerabilities"] if "cveID" in record]
    assert all(re.fullmatch(r"CVE-1999-(999\d\d|pending)", number) for number in numbers)


def test_the_partner_bundle_is_stix_2_1() -> None:
    pieces = SAMPLES["partner-bundle"].read(payload(SAMPLES["partner-bundle"], FEEDS))
    objects = [stix2.parse(piece, version="2.1") for piece in pieces if isinstance(piece, bytes)]
    assert len(objects) == 34
    by_type = {found.type for found in objects}
    assert by_type >= {"identity", "indicator", "malware", "relationship", "report", "grouping", "marking-definition"}
    assert next(found for found in objects if found.type == "identity").name == "Example Partner"
    ours = [found for found in objects if found.id not in MARKINGS]
    assert all(uuid.UUID(found.id.partition("--")[2]).version == 4 for found in ours)
    marks = [found.get("object_marking_refs", []) for found in ours]
    amber = [found for found in marks if [MARKINGS.get(mark) for mark in found] == [TLP.AMBER]]
    assert (len(amber), marks.count([])) == (1, 1)


def test_partner_bundle_values_accuse_nobody() -> None:
    text = payload(SAMPLES["partner-bundle"], FEEDS).decode()
    for address in re.findall(r"'(\d+\.\d+\.\d+\.\d+)", text):
        assert re.match(r"(192\.0\.2|198\.51\.100|203\.0\.113)\.", address)
    for name in re.findall(r"(?:domain-name:value|url:value|from_ref\.value|email-addr:value) = '([^']+)'", text):
        assert re.search(r"[.@][a-z-]+\.example(/|\Z)|\A[a-z-]+\.example\Z|\.example/", name), name


# Definitions that come with the program

#: by which sample of ours each is tried: values, and rows that cannot be read
TRIED = {
    "cisa-kev": ("cisa-kev.json", 22, 2),
    "feodo": ("feodo.csv", 3, 1),
    "ipsum": ("ipsum.txt", 3, 1),
    "maltrail": ("maltrail.txt", 4, 1),
    "malwarebazaar": ("malwarebazaar.csv", 5, 1),
    "ofac-sdn": ("ofac-sdn.csv", 2, 1),
    "openphish": ("openphish.txt", 3, 1),
    "phishtank": ("phishtank.csv", 2, 1),
    "spamhaus-drop": ("spamhaus-drop.json", 3, 1),
    "sslbl": ("sslbl.csv", 2, 1),
    "threatfox": ("threatfox.csv", 38, 3),
    "urlhaus": ("urlhaus.csv", 38, 3),
}


def test_nothing_is_fetched_or_given_on_before_somebody_has_read_its_terms() -> None:
    assert READY.keys() == TRIED.keys()
    for feed in READY.values():
        assert feed.url
        assert feed.url.startswith("https://")
        assert feed.every is None
        assert not feed.redistribute
        text = (FEEDS / f"{feed.name}.toml").read_text(encoding="utf-8")
        assert "# Terms: " in text
        assert "# every = " in text


@pytest.mark.parametrize("name", TRIED)
def test_the_docs_tell_where_each_is_and_what_to_confirm(name: str) -> None:
    text = (package_data("feeds").parent / "docs" / "feeds.md").read_text(encoding="utf-8")
    (row,) = (line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
    _, _, brings, address, terms, confirm, _ = (cell.strip() for cell in row.split("|"))
    feed = READY[name]
    assert (address, terms.rpartition(" ")[2]) == (feed.url, feed.license)
    assert brings
    assert confirm.endswith(".")
    if feed.auth_env:
        assert feed.auth_env in confirm or "As for `malwarebazaar`" in confirm


def test_the_docs_name_each_field_of_a_table() -> None:
    text = (package_data("feeds").parent / "docs" / "feeds.md").read_text(encoding="utf-8")
    for field, meaning in FIELDS.items():
        assert f"| `{field}` | {meaning} |" in text


@pytest.mark.parametrize("name", TRIED)
def test_a_definition_reads_what_has_its_shape(name: str) -> None:
    file, good, bad = TRIED[name]
    rows = list(READY[name].read((FEEDS / "samples" / file).read_bytes()))
    found = [row for row in rows if isinstance(row, Found)]
    assert (len(found), len(rows) - len(found)) == (good, bad)
    for row in found:
        if row.observable.kind in ("ipv4-addr", "ipv6-addr", "domain-name", "url"):
            assert documentation(row.observable), row


def test_no_web_address_in_their_samples_leads_anywhere() -> None:
    for file, _, _ in TRIED.values():
        text = (FEEDS / "samples" / file).read_text(encoding="utf-8")
        for host in re.findall(r"https?://([^/\s\"':,]+)", text):
            assert re.search(r"(\A|\.)example(\.(com|net|org))?\Z|\A(192\.0\.2|198\.51\.100|203\.0\.113)\.", host), host


def test_what_columns_say_is_read() -> None:
    (first, *_) = READY["feodo"].read((FEEDS / "samples" / "feodo.csv").read_bytes())
    assert isinstance(first, Found)
    assert (first.name, first.labels) == ("Example Loader", ("online",))
    (first, *_) = READY["cisa-kev"].read((FEEDS / "samples" / "cisa-kev.json").read_bytes())
    assert isinstance(first, Found)
    assert first.action.startswith("Apply the vendor's update")
    assert first.due
    (first, *_) = READY["ofac-sdn"].read((FEEDS / "samples" / "ofac-sdn.csv").read_bytes())
    assert isinstance(first, Found)
    assert (first.name, first.labels) == ("EXAMPLE TRADING COMPANY", ("CYBER2", "ELECTION-EO13848"))
    assert first.description == ""


@needs_corpus
@pytest.mark.parametrize(
    ("name", "file", "good", "bad"),
    [
        ("cisa-kev", "kev-catalog.json.gz", 1404, 0),
        ("feodo", "feodo-ipblocklist.csv", 28, 0),
        ("ipsum", "ipsum.txt.gz", 120_430, 0),
        ("maltrail", "maltrail-apt-a-l.tar.gz", 114_837, 2819),
        ("openphish", "openphish-feed.txt", 300, 0),
        ("phishtank", "phishtank-2021.csv.gz", 11_172, 158),
        ("spamhaus-drop", "spamhaus-drop-json-lines.json.gz", 1406, 1),
        ("sslbl", "sslbl-excel-saved.csv.gz", 5565, 0),
        ("urlhaus", "urlhaus-online.csv.gz", 11_125, 0),
    ],
)
def test_a_definition_reads_a_real_file_of_its_source(name: str, file: str, good: int, bad: int) -> None:
    rows = [row for _, data in documents(f"feeds/{file}") for row in READY[name].read(data)]
    found = [row for row in rows if isinstance(row, Found)]
    assert (len(found), len(rows) - len(found)) == (good, bad)
