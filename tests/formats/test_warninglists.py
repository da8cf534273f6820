"""Reading warninglists: which entries become what, and what is refused."""

import orjson
import pytest

from isac.errors import Invalid
from isac.formats.warninglists import Warninglist, portals, read


def made(kind: str, *entries: str) -> Warninglist:
    return read("a-list", orjson.dumps({"name": "A list", "type": kind, "version": 7, "list": entries}))


@pytest.mark.parametrize(
    ("kind", "entry", "names"),
    [
        ("string", "www.example.com", {"www.example.com": False}),
        ("hostname", "www.example.com", {"www.example.com": True}),
        ("substring", "www.example.com", {"www.example.com": True}),
        ("string", ".example.com", {"example.com": True}),
        ("hostname", ".example.com", {"example.com": True}),
        ("string", "WWW.Example.COM.", {"www.example.com": False}),
        ("string", "bücher.example", {"xn--bcher-kva.example": False}),
        ("string", "clerk@county.example", {"clerk@county.example": False}),
        ("string", "http://www.example.com/a", {"http://www.example.com/a": False}),
        ("string", "D41D8CD98F00B204E9800998ECF8427E", {"d41d8cd98f00b204e9800998ecf8427e": False}),
        ("hostname", "invoice.zip", {"invoice.zip": True}),
    ],
)
def test_an_entry_is_read_in_canonical_form(kind: str, entry: str, names: dict[str, bool]) -> None:
    assert made(kind, entry).names == names


@pytest.mark.parametrize("kind", ["cidr", "string", "hostname"])
@pytest.mark.parametrize(
    ("entry", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("192.0.2.7/24", "192.0.2.0/24"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
    ],
)
def test_addresses_are_networks_in_a_list_of_any_type(kind: str, entry: str, network: str) -> None:
    assert made(kind, entry).networks == {network}


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        ("regex", "/^(a+)+$/"),
        ("regex", "www.example.com"),
        ("string", "corona helden"),
        ("string", "COM"),
        ("string", ""),
        ("string", "a" * 5000),
        ("cidr", "192.0.2.0/33"),
    ],
)
def test_what_names_nothing_is_counted_and_left_out(kind: str, entry: str) -> None:
    found = made(kind, entry)

    assert (found.entries, found.left_out) == (0, 1)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"{", "no JSON"),
        (b"[]", "no warninglist"),
        (b'{"name": "x", "type": "tree", "list": []}', "'tree'"),
        (b'{"name": "x", "type": "cidr", "list": [1]}', "texts"),
        (b'{"name": "x", "type": "cidr", "list": "192.0.2.1"}', "texts"),
        (b'{"type": "cidr", "list": []}', "no name"),
        (b'{"name": "\\u0000", "type": "cidr", "list": []}', "no name"),
    ],
)
def test_a_broken_list_is_refused_with_its_name(raw: bytes, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        read("a-list", raw)

    assert said in refused.value.detail
    assert refused.value.detail.startswith("a-list: ")


def test_the_states_portals_are_read_from_csv() -> None:
    found = portals("isac-portals", b"\xef\xbb\xbf# ours\nsource,domain\nx,Vote.Example.\n\n")

    assert found.names == {"vote.example": True}


def test_every_mistake_in_the_portals_is_told_with_its_line() -> None:
    with pytest.raises(Invalid) as refused:
        portals("isac-portals", b"domain,source\nvote.example,x\nno domain,x\n192.0.2.1,x\n")

    assert "line 3: " in refused.value.detail
    assert "line 4: " in refused.value.detail


def test_portals_without_a_header_are_refused() -> None:
    with pytest.raises(Invalid, match="first line"):
        portals("isac-portals", b"vote.example\n")
