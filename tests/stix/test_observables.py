"""Values in one spelling, whatever people did to them on the way."""

import ipaddress

import ada_url
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from isac.stix import observables, patterns
from isac.stix.fangs import refang
from isac.stix.observables import Observable, defang, documentation, read, recognize

MD5 = "0123456789abcdef" * 2
LONG = "a" * 4001


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hxxp://example[.]com/a", "http://example.com/a"),
        ("hXXps[:]//example[.]com", "https://example.com"),
        ("hxxps[://]example(.)com", "https://example.com"),
        ("h**p://example{.}com", "http://example.com"),
        ("hxxp:\\\\example.com", "http://example.com"),
        ("fxp://example.com", "ftp://example.com"),
        ("[https]://example.com", "https://example.com"),
        ("example(dot)com", "example.com"),
        ("example [DOT] com", "example.com"),
        ("example[.com", "example.com"),
        ("example.]com", "example.com"),
        ("example[[.]]com", "example.com"),
        ("clerk[at]example[dot]com", "clerk@example.com"),
        ("clerk[@]example.com", "clerk@example.com"),
        ("192[.]0[.]2[.]1", "192.0.2.1"),
        (" '192.0.2.1' ", "192.0.2.1"),
        ("«example.com»", "example.com"),
        ("<https://example.com/>", "https://example.com/"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("\ufeffexam\u200bple.com\u2060", "example.com"),
        ("[a].[b]", "[a].[b]"),
        ("see https://example.com/ and hxxp://test.example", "see https://example.com/ and http://test.example"),
        ("", ""),
    ],
)
def test_refang_undoes_what_people_do(text: str, expected: str) -> None:
    assert refang(text) == expected


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("192.0.2.1", "ipv4-addr", "192.0.2.1"),
        ("192.0.2.77/24", "ipv4-addr", "192.0.2.0/24"),
        ("192.0.2.1/32", "ipv4-addr", "192.0.2.1"),
        ("192.0.2.1:443", "ipv4-addr", "192.0.2.1"),
        ("192.0.2.0/255.255.255.0", "ipv4-addr", "192.0.2.0/24"),
        ("2001:0DB8:0:0::1", "ipv6-addr", "2001:db8::1"),
        ("[2001:db8::1]:443", "ipv6-addr", "2001:db8::1"),
        ("2001:db8::/32", "ipv6-addr", "2001:db8::/32"),
        ("::ffff:192.0.2.1", "ipv4-addr", "192.0.2.1"),
        ("::ffff:192.0.2.0/120", "ipv4-addr", "192.0.2.0/24"),
        ("WWW.Example.COM.", "domain-name", "www.example.com"),
        ("example.com:8080", "domain-name", "example.com"),
        ("bücher.example", "domain-name", "xn--bcher-kva.example"),
        ("_dmarc.example.com", "domain-name", "_dmarc.example.com"),
        ("HTTPS://Example.com:443/A?b=C#d", "url", "https://example.com/A?b=C#d"),
        ("http://example.com", "url", "http://example.com/"),
        ("http://example.com/a/../b", "url", "http://example.com/b"),
        ("http://0xC0.0.2.1/", "url", "http://192.0.2.1/"),
        ("tcp://EXAMPLE.com:99", "url", "tcp://example.com:99"),
        ("http://[2001:DB8::1]/", "url", "http://[2001:db8::1]/"),
        ("example.com/path", "url", "http://example.com/path"),
        ("Clerk@Example.com", "email-addr", "clerk@example.com"),
        ("mailto:clerk@example.com", "email-addr", "clerk@example.com"),
        (MD5.upper(), "md5", MD5),
        ("a" * 40, "sha-1", "a" * 40),
        ("a" * 64, "sha-256", "a" * 64),
        ("a" * 128, "sha-512", "a" * 128),
        ("AS64500", "autonomous-system", "AS64500"),
        ("02:00:5E:10:00:01", "mac-addr", "02:00:5e:10:00:01"),
        ("02-00-5e-10-00-01", "mac-addr", "02:00:5e:10:00:01"),
        ("cve-2024-12345", "cve", "CVE-2024-12345"),
    ],
)
def test_recognize_types_and_canonicalizes(text: str, kind: str, value: str) -> None:
    assert recognize(text) == Observable(kind, value)
    assert recognize(value) == Observable(kind, value)


@pytest.mark.parametrize(
    ("text", "wish", "value"),
    [
        ("192.0.2.1", "ip", "192.0.2.1"),
        ("192.0.2.1:80", "ip:port", "192.0.2.1"),
        ("example.com:80", "ip:port", "example.com"),
        ("192.0.2.1:80", "domain:port", "192.0.2.1"),
        ("example[.]com", "domain", "example.com"),
        ("setup.exe", "domain", "setup.exe"),
        (MD5, "hash", MD5),
        ("a@example.com", "email", "a@example.com"),
        ("64500", "asn", "AS64500"),
        ("64500", "autonomous-system", "AS64500"),
        ("::ffff:192.0.2.1", "ipv6-addr", "192.0.2.1"),
        ("02005E100001", "mac-addr", "02:00:5e:10:00:01"),
        ("0200.5e10.0001", "mac-addr", "02:00:5e:10:00:01"),
        (" Ballots (final).PDF ", "file-name", "Ballots (final).PDF"),
        ("[at](dot)…", "file-name", "[at](dot)…"),
        ("results\u202efdp.exe", "file-name", "results\u202efdp.exe"),
        (r"HKLM\Software\\Run" + "\\", "windows-registry-key", r"HKEY_LOCAL_MACHINE\software\run"),
        (r"Computer\HKEY_CURRENT_USER\{AB[.]}", "windows-registry-key", r"HKEY_CURRENT_USER\{ab[.]}"),
        ("hkey_users", "windows-registry-key", "HKEY_USERS"),
        (MD5.upper(), "x509-md5", MD5),
        (":".join(["AB"] * 20), "x509-sha-1", "ab" * 20),
        (" ".join(["AB"] * 32), "x509-sha-256", "ab" * 32),
    ],
)
def test_a_wish_says_what_a_value_is(text: str, wish: str, value: str) -> None:
    assert recognize(text, wish).value == value


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("foo", None, "«foo» is not an address, domain, URL, hash or e-mail address"),
        ("", None, "no value"),
        (" [] ", None, "no value"),
        ("http://example.com/abc…", None, "cut off"),
        ("http://example.com/abc...", None, "cut off"),
        ("192.000.2.1", None, "is not an IP address"),
        ("192.0.2.256", None, "is not an IP address"),
        ("1.2.3", None, "is not an IP address"),
        ("fe80::1%eth0", "ip", "one machine only"),
        ("invoice.pdf", None, "is a file name"),
        ("two words.example", None, "is not an address"),
        ("*.example.com", None, "is not an address"),
        ("http://exa mple.com/", None, "blank"),
        ("http:///", None, "is not a URL"),
        ("javascript:alert(1)", "url", "is not a URL"),
        ("example.com:99999", "domain", "no port"),
        ("a" * 33, None, "is not an address"),
        ("a" * 33, "hash", "is not an MD5"),
        (MD5, "sha-256", "64 hexadecimal digits"),
        ("clerk@localhost", None, "is not an e-mail address"),
        ("@example.com", "email-addr", "is not an e-mail address"),
        ("AS99999999999", "asn", "autonomous system"),
        ("CVE-24-1", "cve", "CVE number"),
        ("2001:db8::1", "ipv4-addr", "IPv4"),
        ("192.0.2.1", "ipv6-addr", "IPv6"),
        ("192.0.2.1", "smell", "no kind of observable"),
        ("02:00:5e:10:00", "mac-addr", "is not a MAC address"),
        ("02:00-5e:10-00:01", "mac-addr", "is not a MAC address"),
        ("C:\\Windows\\a.exe", "file-name", "is a path"),
        ("/tmp/a", "file-name", "is a path"),
        ("a\x07.exe", "file-name", "is not a file name"),
        ("..", "file-name", "is not a file name"),
        ("a" * 256, "file-name", "is not a file name"),
        ("ballots.dll", None, "is a file name"),
        (r"HKLM\Software", None, "is not an address"),
        (r"Software\Run", "windows-registry-key", "begins with a hive"),
        ("HKLM\\a\nb", "windows-registry-key", "begins with a hive"),
        ("AB:CD", "x509-sha-1", "40 hexadecimal digits"),
        (LONG, None, "longer than 4000"),
        (f"http://example.com/{'ü' * 1000}", None, "longer than 4000"),
    ],
)
def test_recognize_refuses_in_plain_words(text: str, kind: str | None, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        recognize(text, kind)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("http://www.example.com:81/a.b?c=d.e", None, "hxxp://www[.]example[.]com:81/a.b?c=d.e"),
        ("https://a.b:c.d@192.0.2.1/", None, "hxxps://a.b:c.d@192[.]0[.]2[.]1/"),
        ("ftp://example.com/", None, "fxp://example[.]com/"),
        ("tcp://example.com:99", None, "tcp://example[.]com:99"),
        ("http://[2001:db8::1]/", None, "hxxp://[2001:db8::1]/"),
        ("www.example.com", None, "www[.]example[.]com"),
        ("192.0.2.0/24", None, "192[.]0[.]2[.]0/24"),
        ("2001:db8::/32", None, "2001[:]db8[:][:]/32"),
        ("a.clerk@mail.example.com", None, "a.clerk[@]mail[.]example[.]com"),
        ("clerk{@example.com", None, "clerk{@example[.]com"),
        (MD5, None, MD5),
        ("ballots.pdf", "file-name", "ballots.pdf"),
    ],
)
def test_defang_masks_what_a_click_would_open(value: str, kind: str | None, expected: str) -> None:
    assert defang(recognize(value, kind)) == expected


defanged = st.text(alphabet="abcEX.:/[](){}@-_%0129 hxtp\u200bü\n\\…'\"<>", max_size=40)
hosts = st.sampled_from(["example.com", "a-b.test.example", "192.0.2.1", "[2001:db8::1]", "bücher.example"])
web = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https", "hxxp", "ftp", "tcp"]),
    hosts,
    st.sampled_from(["", ":80", ":8080"]),
    st.text(alphabet="/.?&=%#aB[]()'\\~ü0", max_size=20).map(lambda path: f"/{path}"),
)


@settings(deadline=None)
@given(defanged | web | st.text(max_size=60))
@example("http://example.com/a[%0A.]b")
@example("http://example.com/[\t.]")
def test_recognize_and_refang_change_nothing_the_second_time(text: str) -> None:
    assert refang(refang(text)) == refang(text)
    try:
        found = recognize(text)
    except ValueError:
        return
    assert recognize(found.value) == found
    assert recognize(found.value, found.kind) == found
    assert read(found.kind, found.value) == found


values = st.one_of(
    st.ip_addresses().map(str),
    web,
    st.from_regex(r"[a-z]{1,8}(-[a-z]{1,3})?\.(com|example)", fullmatch=True),
    st.text("0123456789abcdefABCDEF", min_size=64, max_size=64),
    st.from_regex(r"[a-z'.]{1,9}@example\.org", fullmatch=True),
    st.integers(0, 2**32 - 1).map(lambda number: f"AS{number}"),
)
names = st.text(alphabet="abAB.[](){}@\\:- \u202eé\n", max_size=20)
keys = st.builds("{}\\{}".format, st.sampled_from(["HKLM", "hku", "Computer\\HKCU", "HKEY_USERS", ""]), names)
macs = st.builds(
    lambda pairs, sign: sign.join(pairs),
    st.lists(st.from_regex("[0-9a-fA-F]{2}", fullmatch=True), min_size=6, max_size=6),
    st.sampled_from(["", ":", "-"]),
)


@settings(deadline=None)
@given(names | keys | macs | defanged | web, st.sampled_from(observables.KINDS))
@example("HKLM\\İΣ", "windows-registry-key")
def test_what_has_a_kind_is_the_same_whoever_reads_it_once_more(text: str, kind: str) -> None:
    try:
        found = recognize(text, kind)
    except ValueError:
        return
    assert recognize(found.value, found.kind) == found
    assert read(found.kind, found.value) == found
    if found.kind != "cve":
        assert patterns.check(observables.pattern(found)).observables == (found,)


@settings(deadline=None)
@given(names | keys | macs | defanged | web | values, st.sampled_from([None, *observables.KINDS]))
@example("tcp://a.b.example/[.]", None)
@example("::", None)
@example("{@a.example", "email-addr")
def test_refang_undoes_defang(text: str, kind: str | None) -> None:
    try:
        found = recognize(text, kind)
    except ValueError:
        return
    assert recognize(defang(found), found.kind) == found
    if found.kind not in ("file-name", "windows-registry-key"):
        assert refang(defang(found)) == found.value


@settings(deadline=None)
@given(defanged | web | st.text(max_size=60), st.sampled_from(observables.KINDS))
def test_every_kind_reads_or_raises_value_error(text: str, kind: str) -> None:
    for reader in (recognize, lambda value, name: read(name, value)):
        try:
            found = reader(text, kind)
        except ValueError:
            continue
        assert found is None or found.kind in observables.KINDS


plain = st.builds(
    "http{}://{}.{}{}/{}".format,
    st.sampled_from(["", "s"]),
    st.text("ab0-", min_size=1, max_size=6),
    st.sampled_from(["com", "a.example", "0x1", "c-d.org"]),
    st.sampled_from(["", "", ":81", ":80", ":443", ":0", ":8080"]),
    st.text("aB0/.~!$&()*+,;=:@%?-_", max_size=20),
)


@settings(max_examples=500, deadline=None)
@given(plain)
def test_what_counts_as_a_plain_url_is_canonical(text: str) -> None:
    if observables._PLAIN_URL.fullmatch(text):
        assert ada_url.URL(text).href == text


@settings(deadline=None)
@given(values)
def test_the_pattern_of_an_observable_names_it_again(text: str) -> None:
    try:
        found = recognize(text)
    except ValueError:
        return
    checked = patterns.check(observables.pattern(found))
    assert checked.observables == (found,)
    assert checked.alternatives


def test_a_cve_has_no_pattern() -> None:
    with pytest.raises(ValueError, match="not something that a pattern can detect"):
        observables.pattern(Observable("cve", "CVE-2024-0001"))


def test_quotes_and_backslashes_are_escaped_in_a_pattern() -> None:
    assert (
        observables.pattern(Observable("url", "http://example.com/'\\")) == r"[url:value = 'http://example.com/\'\\']"
    )


@pytest.mark.parametrize(
    "text",
    [
        *("192.0.2.9", "198.51.100.0/25", "203.0.113.7", "2001:db8::5", "2001:db8:1::/48", "3fff::1", "3fff:fff::/32"),
        *("example.com", "a.b.example.org", "x.test", "deep.y.invalid", "county.example", "AS64496", "AS65551"),
        *(
            "00-00-5E-00-53-7F",
            "https://user@www.example.net:8443/x?y",
            "http://192.0.2.1/",
            "http://[2001:db8::1]:8080/",
            "a@b.example",
        ),
    ],
)
def test_documentation_values_accuse_nobody(text: str) -> None:
    assert documentation(recognize(text))


@pytest.mark.parametrize(
    "observable",
    [
        Observable("ipv4-addr", "192.0.2.0/23"),
        Observable("ipv4-addr", "192.0.20.1"),
        Observable("ipv6-addr", "2001:db8::/31"),
        Observable("ipv6-addr", "3fff:1000::1"),
        Observable("domain-name", "example.com.evil.net"),
        Observable("domain-name", "notexample.com"),
        Observable("domain-name", "example.edu"),
        Observable("url", "http://a.net/example.com"),
        Observable("url", "http://example.com@a.net/"),
        Observable("url", "http://localhost/"),
        Observable("autonomous-system", "AS1"),
        Observable("mac-addr", "00:00:5e:00:52:01"),
        Observable("sha-256", "a" * 64),
        Observable("cve", "CVE-2024-0001"),
    ],
)
def test_other_values_are_no_documentation(observable: Observable) -> None:
    assert not documentation(observable)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://user:pw@www.example.com:81/x", Observable("domain-name", "www.example.com")),
        ("http://192.0.2.1/", Observable("ipv4-addr", "192.0.2.1")),
        ("http://[2001:db8::1]:81/x", Observable("ipv6-addr", "2001:db8::1")),
        ("clerk@example.com", Observable("domain-name", "example.com")),
        ("http://localhost/", None),
        ("192.0.2.1", None),
    ],
)
def test_host_is_where_a_url_or_message_leads(text: str, expected: Observable | None) -> None:
    assert observables.host(recognize(text)) == expected


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("domain-name", "localhost", None),
        ("domain-name", "*.example.com", None),
        ("domain-name", "192.0.2.1", Observable("ipv4-addr", "192.0.2.1")),
        ("url", "mailto:clerk@example.com", None),
        ("url", "http://example.com/a b", Observable("url", "http://example.com/a%20b")),
        ("url", "example.com/a", Observable("url", "http://example.com/a")),
        ("email-addr", "clerk@localhost", None),
        ("file-name", "/tmp/a", None),
        ("file-name", "a[.]b", Observable("file-name", "a[.]b")),
        ("windows-registry-key", r"\REGISTRY\Machine", None),
    ],
)
def test_read_is_lenient_with_what_may_mean_something(kind: str, value: str, expected: Observable | None) -> None:
    assert read(kind, value) == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("mac-addr", "«02:00:5e:10:00:01»"),
        ("url", "hxxp://example[.]com/"),
        ("ipv4-addr", "192.0.2[.]1"),
        ("domain-name", "example[.]com"),
    ],
)
def test_read_says_when_a_value_is_defanged(kind: str, value: str) -> None:
    with pytest.raises(ValueError, match="is defanged"):
        read(kind, value)


@given(st.ip_addresses(v=6) | st.integers(0, 2**48).map(ipaddress.IPv6Address), st.booleans(), st.booleans())
def test_ipv6_is_written_as_the_library_writes_it(address: ipaddress.IPv6Address, exploded: bool, upper: bool) -> None:
    text = address.exploded if exploded else str(address)
    expected = address.ipv4_mapped or address
    found = recognize(text.upper() if upper else text)
    assert (found.kind, found.value) == (f"ipv{expected.version}-addr", str(expected))


@given(st.text("0123af:.", max_size=12))
def test_what_is_no_address_to_the_library_is_none_here(text: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        with pytest.raises(ValueError):
            read("ipv6-addr", text)
