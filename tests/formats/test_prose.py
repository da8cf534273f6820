"""Indicators in prose: what is taken, what is left out and why, from text, Markdown, HTML and mail."""

import base64
import contextlib
import quopri
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.corpus import documents as corpus_documents
from tests.corpus import needs_corpus

from isac.errors import Invalid
from isac.formats import documents, text
from isac.formats.found import Found
from isac.formats.prose import Mention, read

MD5, SHA256 = "0" * 32, "2" * 64


def mentions(written: str | bytes) -> list[Mention]:
    return read(written.encode() if isinstance(written, str) else written)


def found(written: str | bytes) -> list[str]:
    return [each.observable.value for each in mentions(written) if each.observable and not each.reason]


def reasons(written: str | bytes) -> dict[str, str]:
    return {each.written: each.reason for each in mentions(written) if each.reason}


# --- what is taken --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("It calls hxxp://bad[.]example/a.php, then sleeps.", ["http://bad.example/a.php"]),
        ("It calls (hXXps[:]//bad[.]example/a(1)).", ["https://bad.example/a(1)"]),
        ("hxxps://bad.example", ["https://bad.example/"]),
        ("http://bad[.]example:8080/x?y=1&z=2!", ["http://bad.example:8080/x?y=1&z=2"]),
        ("h**p://bad[.]example/", ["http://bad.example/"]),
        ("ftp://bad[.]example/a", ["ftp://bad.example/a"]),
        ("hxxp://bad[.]example/a,hxxp://bad[.]example/b", ["http://bad.example/a", "http://bad.example/b"]),
        ("The domain bad[.]example is new.", ["bad.example"]),
        ("bad(dot)example and bad2 [dot] example", ["bad.example", "bad2.example"]),
        ("bad{.}example; “bad2[.]example”", ["bad.example", "bad2.example"]),
        ("bad[.example or bad2.]example", ["bad.example", "bad2.example"]),
        ("bad[.]example/drop/x.php", ["http://bad.example/drop/x.php"]),
        ("bad[.]example:443 answered", ["bad.example"]),
        ("Mail from clerk[at]bad[.]example came", ["clerk@bad.example"]),
        ("clerk (at) bad (dot) example", ["clerk@bad.example"]),
        ("clerk@bad[.]example", ["clerk@bad.example"]),
        ("192.0.2[.]7 port 443", ["192.0.2.7"]),
        ("192[.]0[.]2[.]0/28 and 2001[:]db8[:]0[:]0[:]0[:]0[:]0[:]7", ["192.0.2.0/28", "2001:db8::7"]),
        ("file://192.0.2[.]7@8080/share/x", ["192.0.2.7"]),
        (f"SHA256: {SHA256}", [SHA256]),
        (f"the file {MD5.upper()}, 20 kB", [MD5]),
        ("exploits CVE-1999-99901.", ["CVE-1999-99901"]),
        ("**hxxp://bad[.]example/a**", ["http://bad.example/a"]),
        ("`bad[.]example`", ["bad.example"]),
        ("| domain | bad[.]example | C2 |", ["bad.example"]),
        ("bad\u200b[.]exam\u00adple", ["bad.example"]),
        ("hxxp://bad[.]example/\u00a0(new)", ["http://bad.example/"]),
        ("hxxps://b\u00fccher[.]example/", ["https://xn--bcher-kva.example/"]),
    ],
)
def test_what_is_defanged_is_taken_from_a_sentence(sentence: str, expected: list[str]) -> None:
    assert found(sentence) == expected
    # What stands around it belongs to the preview.
    assert all(each.context for each in mentions(sentence))


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("C2\nbad.example\n192.0.2.7:443\n", ["bad.example", "192.0.2.7"]),
        ("- bad.example\n* http://bad.example/a\n1. 192.0.2.7\n", ["bad.example", "http://bad.example/a", "192.0.2.7"]),
        ("C2: bad.example\n", ["bad.example"]),
        ("|a|\n|---|\n| bad.example |\n", ["bad.example"]),
        ("<ul><li>bad.example</li><li>192.0.2.7 (C2)</li></ul>", ["bad.example", "192.0.2.7"]),
        ("2001:db8::7\n", ["2001:db8::7"]),
    ],
)
def test_what_could_be_clicked_is_taken_where_it_is_an_item(report: str, expected: list[str]) -> None:
    assert found(report) == expected


@pytest.mark.parametrize(
    ("report", "written", "words"),
    [
        ("It calls http://bad.example/a often.", "http://bad.example/a", "stands in a sentence"),
        ("C2 is bad[.]example\nhttps://vendor.example/\n", "https://vendor.example/", "it is not defanged"),
        ("REFERENCES:\n\n- https://vendor.example/\n", "https://vendor.example/", "among references"),
        ("## See also\n\nhttps://vendor.example/\n", "https://vendor.example/", "among references"),
        ("Loader references:\nhttps://vendor.example/\n", "https://vendor.example/", "among references"),
        ("Reference: https://vendor.example/\n", "https://vendor.example/", "«Reference» makes it"),
        ("text\n--\nclerk@county.example\n", "clerk@county.example", "signature"),
        ("[report](https://vendor.example/)", "https://vendor.example/", "where a link leads"),
        ("[1]: https://vendor.example/", "https://vendor.example/", "where a link leads"),
        ("Email: clerk@county.example", "clerk@county.example", "reference or a contact"),
        ("File name: bad.example", "bad.example", "it is a file"),
        ("invoice.zip\n", "invoice.zip", "name of a file as well"),
        (f"Imphash: {MD5}", MD5, "something else («Imphash:»)"),
        ("hosted at AS64496", "AS64496", "whole network"),
        ("192.168.1[.]7", "192.168.1[.]7", "one network only"),
        ("hxxp://10.0.0[.]1/a", "hxxp://10.0.0[.]1/a", "one network only"),
        ("invoice[.]pdf", "invoice[.]pdf", "file name"),
        ("192.0.2[.]700", "192.0.2[.]700", "is not an IP address"),
        ("hxxp://bad[.]example/a...", "hxxp://bad[.]example/a...", "cut off"),
    ],
)
def test_what_is_left_out_says_why(report: str, written: str, words: str) -> None:
    assert words in reasons(report)[written]


@pytest.mark.parametrize(
    "report",
    [
        "report.pdf\n",
        "e.g. this, i.e. that",
        "v1.2.3, Node.js 3.5, 1.2.3.400, 10.5 %",
        "at 12:30:45 by 00:11:22:33:44:55",
        "and/or",
        "he came (at) noon",
        "C:\\a\\b.dll",
        "[.] and [at] stand for",
        "see [1].",
        "",
        " \n",
    ],
)
def test_words_that_look_like_values_are_none(report: str) -> None:
    assert mentions(report) == []


def test_links_of_a_report_are_no_indicators_even_where_most_values_are_items() -> None:
    page = '<link rel="canonical" href="https://vendor.example/r"><p>bad.example</p><p>vendor.example</p>'
    page += '<a href="https://vendor.example/about">About</a><br><a href="https://other.example/">bad2.example</a>'
    assert found(page) == ["bad.example", "bad2.example"]
    assert reasons(page)["vendor.example"] == "it is the author's own"
    assert reasons(page)["https://other.example/"] == "it is where a link leads"


def test_one_slip_is_no_habit() -> None:
    items = "\n".join(f"h{number}.example" for number in range(20))
    assert len(found(f"{items}\nbad[.]example\n")) == 21
    assert len(found("h1.example\nh2.example\nbad[.]example\n")) == 1


def test_the_surest_place_counts() -> None:
    (mention,) = mentions("We saw bad.example often.\nC2: bad[.]example\nbad.example again\n")
    assert (mention.line, mention.written, mention.reason, mention.times) == (2, "bad[.]example", "", 3)


def test_places_and_words_around() -> None:
    (mention,) = mentions("first\nsecond\nThe loader \x1b[31m calls bad[.]example twice\n")
    assert (mention.line, mention.written) == (3, "bad[.]example")
    assert mention.context == "The loader \ufffd[31m calls bad[.]example twice"


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("- hxxp://bad[.]example/a?b=1&\n  c=2&\n  d=3\n- next", "http://bad.example/a?b=1&c=2&d=3"),
        ("<hxxp://bad[.]example/a/\nb/c>", "http://bad.example/a/b/c"),
    ],
)
def test_a_url_over_several_lines(report: str, expected: str) -> None:
    assert found(report) == [expected]


def test_a_url_at_the_end_of_a_line_does_not_eat_the_next_item() -> None:
    assert found("hxxp://bad[.]example/?a=\n- hxxp://bad[.]example/b") == [
        "http://bad.example/?a=",
        "http://bad.example/b",
    ]


# --- HTML -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<html><p>bad<b>[.]</b>example</p>", ["bad.example"]),
        ("<html><p>bad&#91;.&#93;example and bad2&lsqb;&period;&rsqb;example</p>", ["bad.example", "bad2.example"]),
        ("<html><p>bad[&#0000000000000046;]example</p>", ["bad.example"]),
        ("<html>hxxp://bad[.]example/?a=1&amp;b=2", ["http://bad.example/?a=1&b=2"]),
        ("<table><tr><td>bad[.]example</td><td>192.0.2[.]7</td></tr></table>", ["bad.example", "192.0.2.7"]),
        ("<html>bad[.]exam<wbr>ple<br>bad2[.]example", ["bad.example", "bad2.example"]),
        ("<html><pre>bad[.]example\nbad2[.]example</pre>", ["bad.example", "bad2.example"]),
        ("<html><script>x('bad[.]example')</script><style>bad[.]example</style><!-- bad[.]example --><p>x", []),
        ("<html><a href='hxxp://bad[.]example/'>x</a>", ["http://bad.example/"]),
        ("<html>&#99999999999999999999; &#x" + "f" * 50_000 + "; bad[.]example", ["bad.example"]),
    ],
)
def test_a_page_is_read_as_it_is_seen(page: str, expected: list[str]) -> None:
    assert found(page) == expected


def test_lines_of_a_page_are_those_of_its_source() -> None:
    (mention,) = mentions("<html>\n<body>\n\n<p>We saw\nbad[.]example</p>\n")
    assert mention.line == 4


def test_a_page_in_another_encoding() -> None:
    page = '<html><meta charset="iso-8859-1"><p>Gr\u00fc\u00dfe: bad[.]example</p>'.encode("latin-1")
    (mention,) = read(page)
    assert mention.context == "Gr\u00fc\u00dfe: bad[.]example"


# --- mail -----------------------------------------------------------------------------------------

HEAD = b"From: Example <a@vendor.example>\nTo: clerk@county.example\nMIME-Version: 1.0\n"


def mail(body: bytes, kind: str = "text/plain; charset=utf-8", coding: str = "7bit") -> bytes:
    return HEAD + f"Content-Type: {kind}\nContent-Transfer-Encoding: {coding}\n\n".encode() + body


URL = "http://bad.example/" + "a" * 120


def test_a_url_that_quoted_printable_breaks_is_whole() -> None:
    body = quopri.encodestring(f"It calls hxxp://bad[.]example/{'a' * 120} often.".encode())
    assert b"=\n" in body
    assert found(mail(body, coding="quoted-printable")) == [URL]


def test_a_mail_in_base64() -> None:
    assert found(mail(base64.encodebytes(b"bad[.]example"), coding="base64")) == ["bad.example"]


def test_headers_name_people_and_no_indicators() -> None:
    read_mail = mentions(mail(b"bad.example\nFrom: x@other.example\n"))
    assert {each.written: bool(each.reason) for each in read_mail} == {"bad.example": False, "x@other.example": True}


@pytest.mark.parametrize("kind", ["text/plain", "text/html"])
def test_what_phishing_links_is_not_its_author_s_own(kind: str) -> None:
    """Who forwards a mail as it came wants to know where it leads; who writes an advisory defangs."""
    own = b"<link rel=canonical href=http://vendor.example/><br>" if kind == "text/html" else b""
    body = own + b"http://login.vendor.example/a\n<br>vendor.example\n"
    assert found(mail(body, kind)) == ["http://login.vendor.example/a", "vendor.example"][: 1 + (kind == "text/html")]
    assert found(mail(body + b"<br>bad[.]example\n", kind)) == ["bad.example"]
    reason = reasons(mail(body + b"<br>bad[.]example\n", kind))["http://login.vendor.example/a"]
    assert reason == "it is the author's own"


def test_a_header_is_read_as_far_as_one_goes() -> None:
    long = 'multipart/mixed; boundary="b"; ' + "x=y; " * 2000
    entries = mentions(mail(b"--b\nContent-Type: text/html\n\n<p>bad<b>[.]</b>example</p>\n--b--\n", long))
    assert [each.written for each in entries] == ["bad[.]example"]


def test_the_parts_of_a_mail() -> None:
    parts = (
        b"--b\nContent-Type: text/html\n\n<p>bad[.]example</p>\n--b\nContent-Type: application/pdf; name=r.pdf\n\nx\n"
    )
    parts += b"--b\nContent-Type: application/octet-stream; name=list.txt\n\nbad2[.]example\n"
    parts += b"--b\nContent-Type: message/rfc822\n\nSubject: x\n\nbad3[.]example\n--b--\n"
    entries = mentions(mail(parts, 'multipart/mixed; boundary="b"'))
    assert [(each.part, each.written, bool(each.reason)) for each in entries] == [
        ("part 1", "bad[.]example", False),
        ("part 2", "r.pdf", True),
        ("part 3", "bad2[.]example", False),
        ("part 4", "bad3[.]example", False),
    ]


@pytest.mark.parametrize("charset", ["nope", "utf-16", "undefined", "idna", "hex", "\u00e9", "=?x?=", "utf-8*0"])
def test_an_unknown_encoding_costs_nothing(charset: str) -> None:
    assert isinstance(read(mail(b"bad[.]example", f"text/plain; charset={charset}")), list)


def test_parts_without_end_are_refused() -> None:
    nested = b"".join(b"--b%d\nContent-Type: multipart/mixed; boundary=b%d\n\n" % (n, n + 1) for n in range(5000))
    with pytest.raises(Invalid, match="more than 200 parts"):
        read(mail(nested, "multipart/mixed; boundary=b0"))


# --- any bytes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"%PDF-1.7 x", "a PDF file"),
        (b"PK\x03\x04", "ZIP"),
        (b"\xd0\xcf\x11\xe0", "office"),
        (b"\0\1\2\0\0\0", "no text"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(1, 256)) * 50, "no text but a picture"),
    ],
)
def test_what_is_no_text_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        read(data)


def test_a_report_that_quotes_wide_characters_is_a_text() -> None:
    quoted = b"W\0r\0a\0p\0" * 50
    assert found(b"a report of some length, " * 50 + quoted + b" bad[.]example \xc3\xa9") == ["bad.example"]
    # A character that the end of what is looked at cuts is no bad one.
    assert found(b"\0" + "\u00e9".encode() * 5000 + b" bad[.]example") == ["bad.example"]


def test_a_document_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_BYTES", 10)
    with pytest.raises(Invalid, match="cut it into several"):
        read(b"bad[.]example")


def test_utf_16_is_told_by_its_mark() -> None:
    assert found("bad[.]example\r\n".encode("utf-16")) == ["bad.example"]


def test_a_long_line_is_read_in_pieces() -> None:
    assert len(found(" ".join(f"h{number}[.]example" for number in range(5000)))) == 5000


ALPHABET = st.text(alphabet="hxtps:/.[]()@a1f-_ \n\t<>&#;=?|*'\"\\dot\u200b\u00ade\u0301\ud800", max_size=80)
BROKEN = ALPHABET.map(lambda written: written.encode("utf-8", "surrogatepass"))


@given(BROKEN | st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for whole in (
        data,
        b"<html><p>" + data,
        mail(data),
        mail(data, "text/html"),
        mail(data, coding="base64"),
        HEAD + data,
    ):
        try:
            entries = read(whole)
        except Invalid:
            continue
        for each in entries:
            assert each.observable or each.reason
            assert (each.written + each.context + each.reason).isprintable()


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,15}\.(?:example|test)", fullmatch=True)
DEFANGS = st.sampled_from(["[.]", "(.)", "[dot]", "(dot)", " [.] ", "{.}", "[.", ".]"])


@given(st.lists(st.tuples(NAMES, DEFANGS), max_size=8), st.sampled_from([" ", ", ", "\n", " | ", "; ", ") ("]))
def test_what_is_written_is_found(written: list[tuple[str, str]], between: str) -> None:
    names = list(dict.fromkeys(name for name, _ in written))
    sentence = between.join(name.replace(".", defang) for name, defang in written)
    assert found(f"We saw {sentence}") == names


@given(st.lists(NAMES | NAMES.map("http://{}/a".format) | NAMES.map("a@{}".format), max_size=8))
def test_the_values_are_a_list_that_can_be_read(values: list[str]) -> None:
    taken = found("\n".join(value.replace(".", "[.]").replace("http", "hxxp") for value in values))
    assert taken == list(dict.fromkeys(values))
    listed = text.read("\n".join(taken).encode())
    assert [each.observable.value for each in listed if isinstance(each, Found)] == taken


SEEDS = [
    "hxxp[.",
    "hxxp://",
    "hxxp[:]//a[.]b",
    "[.]",
    "[[[",
    "(dot",
    "a@",
    "://",
    "http://a&\n",
    "<http://\n",
    "0",
    ":",
    "1.",
]
SEEDS += ["<a ", "<a href='", "<!--", "<", "&#", "&#x", "<td>", "<script>", " ", "\t", "|", "A\n", "](http://", "[a]: "]


SEEDS += [";", '";', "; a=", ";a*0=b", "=?utf-8?q?a?= ", "\\", '"', ",", "@", "a\n ", ";\n "]

PLACES = {
    "text": "{}",
    "page": "<html>{}",
    "mail": "From: a@b.example\nMIME-Version: 1.0\n\n{}",
    "header": "MIME-Version: 1.0\nFrom: {}\n\nx",
    "parameter": 'MIME-Version: 1.0\nContent-Type: text/plain; a="{}\n\nx',
    "boundary": 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary={}"\n\nx',
    "part": "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n"
    'Content-Disposition: attachment; filename="{}\n\nx',
    "mail in a mail": "MIME-Version: 1.0\nContent-Type: message/rfc822\n\nContent-Type: text/plain; a{}\n\nx",
}


def seconds(data: bytes) -> float:
    begin = time.process_time()
    with contextlib.suppress(Invalid):
        read(data)
    return time.process_time() - begin


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("seed", SEEDS)
def test_hostile_text_takes_linear_time(seed: str, place: str) -> None:
    """Four times as long takes about four times the time; the square would take sixteen times, and seconds."""
    once, four_times = (PLACES[place].format(seed * (size // len(seed))).encode() for size in (25_000, 100_000))
    # A busy machine may lie once.
    for _ in range(5):
        taken = seconds(four_times)
        if taken < 0.1 or taken < 9 * seconds(once):
            return
    pytest.fail(f"{taken:.1f} s")


@pytest.mark.parametrize("seed", ["hxxp[.", "hxxp[:]//a[.]b", "[.]", "a" * 40 + " "])
def test_a_megabyte_of_hostile_text(seed: str) -> None:
    begin = time.process_time()
    read((seed * (1_000_000 // len(seed))).encode())
    assert time.process_time() - begin < 30


@needs_corpus
def test_trap_13_reports_that_defang() -> None:
    counts: Counter[str] = Counter()
    for name, data in corpus_documents("reports/unit42*"):
        entries = read(data)
        habit = any("[.]" in each.written for each in entries)
        for each in entries:
            assert each.written, name
            assert (each.written + each.context).isprintable(), name
            kind = each.observable.kind if each.observable else ""
            counts["left out" if each.reason else kind] += 1
            if habit and not each.reason and kind in ("url", "domain-name", "ipv4-addr", "email-addr"):
                # Nothing that could be clicked was taken.
                assert "[" in each.written or each.written[:4].lower() == "hxxp", (name, each.written)
    assert counts["sha-256"] > 2000
    assert counts["domain-name"] > 1900
    assert counts["url"] > 1600
    assert counts["ipv4-addr"] > 1000


@needs_corpus
def test_trap_13_reports_that_do_not_defang() -> None:
    counts: Counter[str] = Counter()
    for _, data in corpus_documents("reports/execute*"):
        for each in read(data):
            counts["left out" if each.reason or not each.observable else each.observable.kind] += 1
            if not each.reason and each.observable and each.observable.kind == "url":
                assert not each.observable.value.startswith(("https://tria.ge/", "https://app.any.run/")), each
    assert counts["url"] > 1900
    assert counts["email-addr"] > 1700
    assert counts["md5"] > 500


@needs_corpus
def test_corpus_every_file_is_read_or_refused_with_a_sentence() -> None:
    for folder in ("hostile", "stix1", "vendor", "interop", "patterns"):
        for name, data in corpus_documents(f"{folder}/*"):
            try:
                entries = read(data[:50_000])
            except Invalid as refusal:
                assert refusal.detail.endswith("."), name  # noqa: PT017
                continue
            assert all(each.observable or each.reason for each in entries), name
