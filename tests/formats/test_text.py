"""Plain lists: every line gives a value or says why not."""

import gzip
import os
import pathlib
import tarfile
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isac.errors import Invalid
from isac.formats.found import Found, Unreadable
from isac.formats.text import guess, read

CORPUS = pathlib.Path(os.environ.get("ISAC_CORPUS", pathlib.Path(__file__).parents[3] / "shared" / "corpus"))
corpus = pytest.mark.skipif(
    not (CORPUS / "feeds").is_dir(), reason=f"no corpus in {CORPUS}: set ISAC_CORPUS to its folder"
)


def values(text: str, kind: str | None = None) -> list[str]:
    """Values found, and `!` with the reason for what is not."""
    return [
        f"{found.observable.kind} {found.observable.value}" if isinstance(found, Found) else f"! {found.reason}"
        for found in read(text.encode(), kind)
    ]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("192.0.2.1", "ipv4-addr 192.0.2.1"),
        ("  192.0.2.1\t7", "ipv4-addr 192.0.2.1"),
        ("192.0.2.1 7 more", "ipv4-addr 192.0.2.1"),
        ("192.0.2.0/28", "ipv4-addr 192.0.2.0/28"),
        ("192.0.2.0-192.0.2.15", "ipv4-addr 192.0.2.0/28"),
        ("192.0.2.7 - 192.0.2.7", "ipv4-addr 192.0.2.7"),
        ("2001:db8::-2001:db8::f", "ipv6-addr 2001:db8::/124"),
        ("192.0.2.1:8080", "ipv4-addr 192.0.2.1"),
        ("bad.example # Emotet", "domain-name bad.example"),
        ("bad.example ; SBL1", "domain-name bad.example"),
        ("bad.example // why", "domain-name bad.example"),
        ("a.b-c.de", "domain-name a.b-c.de"),
        ("||bad.example^", "domain-name bad.example"),
        ("||bad.example^$important", "domain-name bad.example"),
        ("0.0.0.0 bad.example", "domain-name bad.example"),
        ("127.0.0.1\tbad.example", "domain-name bad.example"),
        (":: bad.example", "domain-name bad.example"),
        ("address=/bad.example/0.0.0.0", "domain-name bad.example"),
        ("server=/bad.example/", "domain-name bad.example"),
        ("http://bad.example/a#b;c!d//e", "url http://bad.example/a#b;c!d//e"),
        ("http://bad.example/a\t2026-10-01", "url http://bad.example/a"),
        ("hxxps://bad[.]example/a", "url https://bad.example/a"),
        ("bad [dot] example", "domain-name bad.example"),
        ("\ufeffbad.example", "domain-name bad.example"),
    ],
)
def test_a_line_gives_its_value(line: str, value: str) -> None:
    assert values(line) == [value]


def test_a_hosts_line_gives_each_of_its_names() -> None:
    assert values("0.0.0.0 a.example b.example") == ["domain-name a.example", "domain-name b.example"]


def test_a_sink_address_with_a_count_is_an_address() -> None:
    assert values("127.0.0.1 3") == ["ipv4-addr 127.0.0.1"]


@pytest.mark.parametrize("line", ["", "   ", "# a", "; b", "// c", "! d", "#http://bad.example/"])
def test_blank_lines_and_comments_give_nothing(line: str) -> None:
    assert values(line) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("192.0.2.1-192.0.2.9", "4 networks; give each a line of its own: 192.0.2.1/32, 192.0.2.2/31, 192.0.2.4/30 …"),
        ("http://bad.example/abc…", "cut off"),
        ("http://bad.example/a b", "blank inside the URL"),
        ("@@||good.example^", "exception"),
        ("||bad.example^$third-party", "conditions only"),
        ("good.example##.banner", "is not an address"),
        ("/wp-admin/x.php", "is not an address"),
        ("bad\0.example", "NUL"),
        ("x" * 10_000, "longer than 8192"),
        ("192.0.2.9-192.0.2.1", "is not"),
        ("192.0.2.1-2001:db8::1", "is not"),
    ],
)
def test_an_unreadable_line_says_why(line: str, words: str) -> None:
    [reason] = values(line)
    assert reason.startswith("!")
    assert words in reason


def test_bytes_that_are_no_utf8_cost_their_line_alone() -> None:
    first, bad, last = read(b"a.example\r\nb\xff.example\r\nc.example\r\n")
    assert isinstance(bad, Unreadable)
    assert "UTF-8" in bad.reason
    assert [found.line for found in (first, last) if isinstance(found, Found)] == [1, 3]


def test_utf_16_is_told_by_its_mark() -> None:
    [found] = read("bad.example\r\n".encode("utf-16"))
    assert isinstance(found, Found)


def test_a_kind_that_is_named_is_not_guessed() -> None:
    assert values("192.0.2.1\nbad.example", "domain")[1] == "domain-name bad.example"
    assert values("192.0.2.1", "domain")[0].startswith("!")


def test_an_unreadable_text_is_short_and_printable() -> None:
    [found] = read(b"\x1b[31m" + b"x" * 9000)
    assert isinstance(found, Unreadable)
    assert len(found.text) <= 200
    assert found.text.isprintable()


def spoken(data: bytes) -> set[int]:
    """Numbers of the lines that are neither blank nor comments."""
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return {
        number
        for number, line in enumerate((line.decode("utf-8", "replace").strip() for line in lines), start=1)
        if line and not line.startswith(("#", ";", "//", "!"))
    }


@given(st.binary(max_size=300) | st.text(alphabet="a.-:/[]#;!|^ \t\r\n01…\0", max_size=120).map(str.encode))
def test_every_line_is_accounted_for(data: bytes) -> None:
    found = list(read(data))
    if data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        assert {one.line for one in found} == spoken(data)
    assert all(one.reason and len(one.text) <= 200 for one in found if isinstance(one, Unreadable))


def lists() -> Iterator[tuple[str, bytes]]:
    for path in sorted((CORPUS / "feeds").glob("*.txt*")):
        yield path.name, gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    with tarfile.open(CORPUS / "feeds" / "maltrail-apt-a-l.tar.gz") as archive:
        for member in archive:
            if extracted := archive.extractfile(member):
                yield member.name, extracted.read()


@pytest.mark.parametrize(
    "text",
    [
        "a.example ; seen twice\nb.example ; once",
        "a.example, Ohio\nb.example\nc.example\nd.example",
        "http://a.example/x;jsessionid=1\nb.example\nc.example",
        "# a,b\n# c,d\na.example\nno value",
        "||a.example^\n||b.example^$important",
        "[2001:db8::1]:443\n192.0.2.1",
        "192.0.2.1\t5\n192.0.2.2\t6",
        "http://a.example/x,y",
        "",
    ],
)
def test_what_may_be_a_list_is_read_as_one(text: str) -> None:
    assert list(guess(text.encode())) == list(read(text.encode()))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("url,seen\nhttp://a.example/x,2026-01-01", "looks like a table, whose first line is «url,seen»"),
        ("http://a.example/x,one\nhttp://b.example/y,two", "looks like a table"),
        ("ab;cd\n1;2\n", "looks like a table"),
        ('"a", "b"\n"1", "2"\n', "looks like a table"),
        (
            "THREAT REPORT\nSee a.example\nb.example",
            "is not a feed: 2 of 3 lines hold no value, such as line 1 («THREAT»",
        ),
        ("nothing", "is not a feed: 1 of 1 lines"),
    ],
)
def test_what_is_no_list_is_refused_as_a_whole(text: str, words: str) -> None:
    with pytest.raises(Invalid) as refusal:
        list(guess(text.encode()))
    assert words in refusal.value.detail
    assert "\n" not in refusal.value.detail


@corpus
def test_corpus_every_line_of_every_list_is_found_or_says_why() -> None:
    counts = {}
    for name, data in lists():
        found = list(read(data))
        assert {one.line for one in found} == spoken(data), name
        assert all(one.reason for one in found if isinstance(one, Unreadable)), name
        counts[name] = Counter(type(one) for one in found)
    assert counts["cps-atomspam.txt.gz"] == {Found: 2011, Unreadable: 781}
    assert counts["ipsum.txt.gz"] == {Found: 120_430}
    assert counts["blocklistproject-adguard-scam-ags.txt.gz"] == {Found: 8527}
    assert counts["blocklistproject-ransomware.txt.gz"] == {Found: 1904}


@corpus
def test_corpus_naughty_strings_pass_without_a_traceback() -> None:
    for name in ("big-list-of-naughty-strings.txt.gz", "csv-injection.txt"):
        data = (CORPUS / "hostile" / name).read_bytes()
        data = gzip.decompress(data) if name.endswith(".gz") else data
        assert {one.line for one in read(data)} == spoken(data)
    with tarfile.open(CORPUS / "hostile" / "json-test-suite-a.tar.gz") as archive:
        for member in archive:
            if extracted := archive.extractfile(member):
                list(read(extracted.read()))
