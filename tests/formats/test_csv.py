"""Tables by the names in their header, and the fields that csv and json share."""

import gzip
import os
import pathlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isac.errors import Invalid
from isac.formats.csv import read
from isac.formats.found import FIELDS, Found, Unreadable, instant, kind_of
from isac.stix.markings import TLP
from isac.stix.observables import KINDS, pattern, recognize

CORPUS = pathlib.Path(os.environ.get("ISAC_CORPUS", pathlib.Path(__file__).parents[3] / "shared" / "corpus"))
corpus = pytest.mark.skipif(
    not (CORPUS / "feeds").is_dir(), reason=f"no corpus in {CORPUS}: set ISAC_CORPUS to its folder"
)

VALUE = {"value": "value"}


def values(data: str | bytes, columns: dict[str, str] = VALUE) -> list[str]:
    return [
        found.observable.value if isinstance(found, Found) else f"! {found.reason}"
        for found in read(data.encode() if isinstance(data, str) else data, columns)
    ]


@pytest.mark.parametrize(
    "header",
    [
        "id,value",
        '"id","value"',
        '# "id","value"',
        "# id,value",
        "#id, Value",
        "####\n# A banner, with a comma\n#\n# id,value",
        "####\n#\nid,value",
        "\ufeffid,value",
        "\n\nid,value,",
    ],
)
def test_the_header_may_stand_in_a_comment(header: str) -> None:
    tail = "," if header.endswith(",") else ""
    assert values(f"{header}\r\n1,a.example{tail}\r\n# a comment\r\n\r\n2,b.example{tail}\r\n") == [
        "a.example",
        "b.example",
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", ", "])
def test_the_delimiter_is_the_one_that_makes_the_header_appear(delimiter: str) -> None:
    rows = [["id", "value"], ["1", "a.example"]]
    assert values("\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in rows)) == ["a.example"]


def test_a_column_that_is_inserted_changes_nothing() -> None:
    columns = {"value": "ioc_value", "confidence": "confidence_level"}
    old = "first_seen_utc,ioc_value,confidence_level\n2026-10-01,a.example,75"
    new = "first_seen_utc,ioc_value,is_compromised,confidence_level\n2026-10-01,a.example,False,75"
    assert list(read(old.encode(), columns)) == list(read(new.encode(), columns))


def test_all_fields_of_a_row() -> None:
    header = ",".join(FIELDS)
    row = (
        '"198.51.100.7:443", "ip:port", "2026-10-01 12:30:00", "None", "2027-01-01T00:00:00Z", " Example  RAT ",'
        ' "Two\nlines", "c2,rat,c2,None", "True", "75", "see https://blog.example/a; https://blog.example/b, and None",'
        ' "Apply the\nupdate", "2027-02-01", "Green"'
    )
    [found] = read(f"# {header}\n{row}\n".encode(), {field: field for field in FIELDS})
    assert found == Found(
        2,
        recognize("198.51.100.7", "ip"),
        seen=datetime(2026, 10, 1, 12, 30, tzinfo=UTC),
        name="Example RAT",
        description="Two\nlines",
        labels=("c2", "rat", "compromised"),
        confidence=75,
        references=("https://blog.example/a", "https://blog.example/b"),
        until=datetime(2027, 1, 1, tzinfo=UTC),
        tlp=TLP.GREEN,
        action="Apply the\nupdate",
        due=datetime(2027, 2, 1, tzinfo=UTC),
    )


def test_last_seen_stands_in_and_several_columns_add_up() -> None:
    columns = {
        "value": ["sha256", "md5"],
        "first_seen": "first",
        "last_seen": "last",
        "labels": ["a", "b"],
        "name": ["n", "m"],
    }
    row = f"{'a' * 64},{'b' * 32},None,2026-10-01,x,y,,second"
    found = list(read(f"sha256,md5,first,last,a,b,n,m\n{row}".encode(), columns))
    assert [(one.observable.kind, one.labels, one.name) for one in found if isinstance(one, Found)] == [
        ("sha-256", ("x", "y"), "second"),
        ("md5", ("x", "y"), "second"),
    ]
    assert all(isinstance(one, Found) and one.seen == datetime(2026, 10, 1, tzinfo=UTC) for one in found)


def test_several_hashes_in_one_cell_are_several_values() -> None:
    assert values(f'value,note\n"{"a" * 64},{"b" * 40}, {"c" * 32}",x') == ["a" * 64, "b" * 40, "c" * 32]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1", "1 cells, and the header 2"),
        ("1,a.example,surplus", "3 cells, and the header 2"),
        ('1,"a.example', "not closed"),
        ('1,"http://x.example/', "not closed"),
        ("1,", "no value"),
        ("1,None", "no value"),
        ("1,http://a.example/x…", "cut off"),
        ("1,not a value", "is not"),
        ('1,"a\0.example"', "NUL"),
    ],
)
def test_a_bad_row_says_why_and_costs_no_other(row: str, words: str) -> None:
    first, bad, last = values(f'id,value\n0,first.example\n{row}\n2,"last.example"\n')
    assert (first, last) == ("first.example", "last.example")
    assert bad.startswith("!")
    assert words in bad


def test_bytes_that_are_no_utf8_cost_a_value_but_not_a_description() -> None:
    found = list(
        read(b"value,description\na\xff.example,x\nb.example,caf\xe9\n", {**VALUE, "description": "description"})
    )
    assert [type(one) for one in found] == [Unreadable, Found]


def test_an_unclosed_mark_does_not_swallow_the_file() -> None:
    rows = "".join(f'"{i}","v{i}.example"\n' for i in range(20_000))
    found = values('id,value\n"x","open.example\n' + rows)
    assert found[0].startswith("!")
    assert found[1:] == [f"v{i}.example" for i in range(20_000)]


def test_marks_that_never_close_take_no_quadratic_time() -> None:
    assert len(values("id,value\n" + 'a"b,"\n' * 20_000)) == 20_000


@pytest.mark.parametrize("size", [131_073, 135_000, 1_000_000])
def test_long_cells_with_many_lines_are_read(size: int) -> None:
    cell = ("word " * 15 + "\n") * (size // 76 + 1)
    [one, two] = read(
        f'value,description\na.example,"{cell[:size]}"\nb.example,x\n'.encode(), {**VALUE, "description": "description"}
    )
    assert isinstance(one, Found)
    assert len(one.description) >= size - 1
    assert two.line > 1000


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no column value (its header is nowhere)"),
        (b"# only comments\n", "no column value"),
        (b"Address,url\na.example,x\n", "no column value (its header is Address,url)"),
        (b"<html>\n", "no column value"),
    ],
)
def test_a_missing_column_is_named(data: bytes, words: str) -> None:
    with pytest.raises(Invalid) as refusal:
        read(data, VALUE)
    assert words in refusal.value.detail


def test_every_missing_column_is_named() -> None:
    with pytest.raises(Invalid, match="no column seen, tags \\(its header is id, value\\)"):
        read(b"id,value\n1,a.example", {"value": "value", "first_seen": "seen", "labels": "tags"})


@pytest.mark.parametrize(
    ("text", "instant_text"),
    [
        ("2026-10-01", "2026-10-01T00:00:00+00:00"),
        ("2026-10-01 12:30", "2026-10-01T12:30:00+00:00"),
        ("2026-10-01 12:30:05", "2026-10-01T12:30:05+00:00"),
        ("2026-10-01 12:30:05 UTC", "2026-10-01T12:30:05+00:00"),
        ("2026-10-01T12:30:05.123456789Z", "2026-10-01T12:30:05.123456+00:00"),
        ("2026-10-01T12:30:05+0200", "2026-10-01T10:30:05+00:00"),
        ("12/22/2023 6:58", None),
        ("3/4/2023", None),
        ("01.02.2026", None),
        ("1696118400", None),
        ("2026-13-01", None),
        ("2026-02-30", None),
        ("2026-1-1", None),
        ("20260101", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_dates_are_iso_or_not_taken(text: str, instant_text: str | None) -> None:
    found = instant(text)
    assert (found.isoformat() if found else None) == instant_text


@pytest.mark.parametrize(
    ("text", "instant_text"),
    [
        ("12/22/2023 6:58", "2023-12-22T06:58:00+00:00"),
        ("3/4/2023", "2023-03-04T00:00:00+00:00"),
        ("03/04/2023, 12:05:09 AM", "2023-03-04T00:05:09+00:00"),
        ("3/4/2023 1:00 pm", "2023-03-04T13:00:00+00:00"),
        ("2023-03-04", "2023-03-04T00:00:00+00:00"),
        ("13/4/2023", None),
        ("2/30/2023", None),
        ("3/4/23", None),
        ("3/4/2023 25:00", None),
        ("", None),
    ],
)
def test_dates_of_the_united_states_are_read_where_the_definition_says_so(text: str, instant_text: str | None) -> None:
    [found] = read(f'value,seen\na.example,"{text}"'.encode(), {**VALUE, "first_seen": "seen"}, us_dates=True)
    assert isinstance(found, Found)
    assert (found.seen.isoformat() if found.seen else None) == instant_text


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " | "])
def test_a_table_without_a_header_has_that_of_its_definition(delimiter: str) -> None:
    lines = ["# a comment", "a.example,1", "b.example,2", "no value,3"]
    text = "\n".join(line.replace(",", delimiter) for line in lines)
    found = list(read(text.encode(), {"value": "host", "name": "Note"}, header=["Host", "note"]))
    assert [(one.line, one.name) for one in found if isinstance(one, Found)] == [(2, "1"), (3, "2")]
    assert [one.line for one in found if isinstance(one, Unreadable)] == [4]


def test_without_a_header_the_last_column_takes_what_follows() -> None:
    text = b"a.example;one; two\nb.example;three\nc.example"
    good, also, bad = read(text, {"value": "host", "description": "note"}, header=["host", "note"])
    assert isinstance(good, Found)
    assert isinstance(also, Found)
    assert isinstance(bad, Unreadable)
    assert (good.description, also.description) == ("one; two", "three")
    assert bad.reason == "the row has 1 cells, and the header 2"


def test_a_header_of_another_table_is_refused() -> None:
    with pytest.raises(Invalid, match="names 3 columns, and the first rows have at most 2"):
        read(b"a.example,1\nb.example,2\n", VALUE, header=["value", "x", "y"])
    assert list(read(b"# nothing\n", VALUE, header=["value", "x"])) == []


@pytest.mark.parametrize(("text", "tlp"), [("Clear", TLP.CLEAR), ("TLP:AMBER", TLP.AMBER), ("", None), ("none", None)])
def test_a_row_may_bring_its_own_marking(text: str, tlp: TLP | None) -> None:
    [found] = read(f"value,level\na.example,{text}".encode(), {**VALUE, "tlp": "level"})
    assert isinstance(found, Found)
    assert found.tlp == tlp


def test_a_marking_that_cannot_be_read_costs_the_row() -> None:
    bad, good = read(b"value,level\na.example,purple\nb.example,green", {**VALUE, "tlp": "level"})
    assert isinstance(bad, Unreadable)
    assert bad.reason == "«purple» is no TLP: clear, green, amber, amber+strict or red"
    assert isinstance(good, Found)


def test_a_list_in_a_cell_gives_its_words_as_labels() -> None:
    [found] = read(b"value,tags\na.example,\"['Malware:X', 'Tool:Y', '']\"", {**VALUE, "labels": "tags"})
    assert isinstance(found, Found)
    assert found.labels == ("Malware:X", "Tool:Y")


def test_a_certificate_is_no_file() -> None:
    [found] = read(b"value\n" + b"AB" * 20, VALUE, kind_of("certificate"))
    assert isinstance(found, Found)
    assert pattern(found.observable) == f"[x509-certificate:hashes.'SHA-1' = '{'ab' * 20}']"


@pytest.mark.parametrize(
    ("text", "confidence"),
    [("75", 75), ("75%", 75), ("0", 0), ("100", 100), ("101", None), ("-1", None), ("High", 85), ("x", None)],
)
def test_confidence_is_0_to_100_or_a_word(text: str, confidence: int | None) -> None:
    [found] = read(f"value,c\na.example,{text}".encode(), {**VALUE, "confidence": "c"})
    assert isinstance(found, Found)
    assert found.confidence == confidence


@pytest.mark.parametrize(
    ("kind", "value", "read_as"),
    [
        ("ip:port", "192.0.2.1:80", "ipv4-addr"),
        ("sha256_hash", "a" * 64, "sha-256"),
        ("MD5_HASH", "a" * 32, "md5"),
        ("hostname", "a.example", "domain-name"),
        ("filename", "evil.zip", None),
        ("domain", "192.0.2.1", None),
    ],
)
def test_a_kind_is_taken_at_its_word(kind: str, value: str, read_as: str | None) -> None:
    [found] = read(f"value,type\n{value},{kind}".encode(), {**VALUE, "kind": "type"})
    assert (found.observable.kind if isinstance(found, Found) else None) == read_as


@pytest.mark.parametrize(
    "kind", [*KINDS, "ip", "ip:port", "domain", "domain:port", "hash", "email", "asn", "fqdn", "sha256"]
)
def test_every_kind_that_is_named_here_is_one_that_recognize_reads(kind: str) -> None:
    known = kind_of(kind)
    assert known
    with pytest.raises(ValueError) as refusal:
        recognize(".", known)
    assert "no kind of" not in str(refusal.value)


CELLS = st.lists(st.lists(st.text(max_size=12), min_size=2, max_size=2), max_size=8)


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_invalid(data: bytes) -> None:
    for text in (data, b"value,x\n" + data, b'"value","x"\n"a.example","' + data):
        try:
            found = list(read(text, VALUE))
        except Invalid:
            continue
        assert all(one.reason and len(one.text) <= 200 for one in found if isinstance(one, Unreadable))


@given(st.lists(st.text(alphabet="ab,;\"\n \t'é", max_size=15), max_size=8))
def test_what_the_csv_module_would_write_is_read_row_by_row(notes: list[str]) -> None:
    quoted = ['"' + note.replace('"', '""') + '"' for note in notes]
    text = "value,note\n" + "".join(f"v{i}.example,{note}\r\n" for i, note in enumerate(quoted))
    assert values(text) == [f"v{i}.example" for i in range(len(notes))]


SHAPES: dict[str, tuple[dict[str, str | list[str]], int, int, bool]] = {
    "urlhaus-online.csv.gz": (
        {"value": "url", "first_seen": "dateadded", "labels": ["threat", "tags"]},
        11_125,
        0,
        True,
    ),
    "feodo-ipblocklist.csv": ({"value": "dst_ip", "first_seen": "first_seen_utc", "name": "malware"}, 28, 0, True),
    "phishtank-2021.csv.gz": ({"value": "url", "first_seen": "submission_time"}, 11_172, 158, True),
    "sslbl-excel-saved.csv.gz": ({"value": "SHA1", "first_seen": "ListingDate"}, 5565, 0, False),
    "threatfox-mangled.csv.gz": ({"value": "Address"}, 24_948, 13, False),
}


@corpus
@pytest.mark.parametrize("name", SHAPES)
def test_corpus_every_row_is_found_or_says_why(name: str) -> None:
    columns, found, unreadable, dated = SHAPES[name]
    data = (CORPUS / "feeds" / name).read_bytes()
    rows = list(read(gzip.decompress(data) if name.endswith(".gz") else data, columns))
    good = [row for row in rows if isinstance(row, Found)]
    assert (len(good), len(rows) - len(good)) == (found, unreadable)
    assert all((row.seen is not None) == dated for row in good)
