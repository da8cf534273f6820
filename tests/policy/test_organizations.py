"""The file of organizations: what is taken, and every problem with its line."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isac.policy.organizations import COLUMNS, KINDS, MAX_NAME, MIN_NAME, Organization, read

HEADER = "jurisdiction,name,kind,contact_email"
CODES = {"us", "us-oh", "us-oh-39999"}


def problems(*lines: str) -> list[tuple[int, str]]:
    _, found = read("\n".join((HEADER, *lines)), CODES)
    return [(problem.line, problem.text) for problem in found]


def test_members_partners_vendors_and_the_isac_are_read_in_the_order_of_the_file() -> None:
    text = (
        "\ufeff# our members\r\n"
        "Name,Kind,Contact_Email,Jurisdiction\r\n"
        "Harmony County  Clerk,member,clerk@harmony.example,us-oh-39999\r\n"
        "\r\n"
        '"Poll Books, Inc.",vendor,soc@poll-books.example,\r\n'
        "Bureau of Examples,federal,desk@bureau.example,us\r\n"
        "The Center,isac,soc@center.example,\r\n"
    )

    organizations, found = read(text, CODES)

    assert found == ()
    assert organizations == (
        Organization("us-oh-39999", "Harmony County Clerk", "member", "clerk@harmony.example"),
        Organization(None, "Poll Books, Inc.", "vendor", "soc@poll-books.example"),
        Organization("us", "Bureau of Examples", "federal", "desk@bureau.example"),
        Organization(None, "The Center", "isac", "soc@center.example"),
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (",Harmony Clerk,member,clerk@harmony.example", "jurisdiction is empty: write the code"),
        ("us-oh-39998,Harmony Clerk,member,clerk@harmony.example", "jurisdiction «us-oh-39998» is unknown"),
        (
            "us-zz,Poll Books,vendor,soc@poll-books.example",
            "jurisdiction «us-zz» is unknown: correct the code, or import",
        ),
        (
            "us-oh,Harmony Clerk,customer,clerk@harmony.example",
            "kind «customer» is unknown: write one of member, federal",
        ),
        ("us-oh,HC,member,clerk@harmony.example", "name «HC» has 2 characters: write 3 to 200"),
        (f"us-oh,{'x' * 201},member,clerk@harmony.example", "has 201 characters"),
        ("us-oh,Harmony Clerk,member,", "contact_email «» is no e-mail address: write one"),
        ("us-oh,Harmony, Clerk,member,clerk@harmony.example", "has 5 cells below a header of 4"),
        ("us-oh,Harmony Clerk\0,member,clerk@harmony.example", "holds an invisible character (U+0000)"),
    ],
)
def test_a_wrong_line_is_refused_with_what_to_do(line: str, words: str) -> None:
    found = problems(line)

    assert [number for number, _ in found] == [2]
    assert words in found[0][1]


@pytest.mark.parametrize(
    "email",
    [
        *("clerk", "clerk@harmony", "@harmony.example", "clerk@", "a@b@harmony.example", "clerk@-harmony.example"),
        *("Clerk <clerk@harmony.example>", "a@harmony.example;b@harmony.example", "clerk@harmony..example"),
        *("cl..erk@harmony.example", ".clerk@harmony.example", "cl erk@harmony.example", f"a@{'h' * 64}.example"),
        f"a@{'harmony.' * 40}example",
    ],
)
def test_what_is_no_address_is_refused(email: str) -> None:
    assert "is no e-mail address" in problems(f"us-oh,Harmony Clerk,member,{email}")[0][1]


@pytest.mark.parametrize(
    "email", ["clerk@harmony.example", "first.last+isac@mail.co.harmony.example", "O'Brien@HARMONY.EXAMPLE"]
)
def test_a_plausible_address_is_taken_as_it_is_written(email: str) -> None:
    organizations, _ = read(f"{HEADER}\nus-oh,Harmony Clerk,member,{email}", CODES)

    assert [each.contact_email for each in organizations] == [email]


def test_a_name_that_stands_twice_in_any_case_is_refused_with_the_line_of_the_first() -> None:
    found = problems(
        "us-oh,Harmony Clerk,member,a@harmony.example",
        "# between",
        "us-oh-39999,HARMONY  clerk,member,b@harmony.example",
    )

    assert found == [(4, "name «HARMONY clerk» stands in line 2 already: make the two differ, or keep one")]


def test_a_jurisdiction_may_have_several_organizations() -> None:
    assert problems("us-oh,Secretary,member,a@ohio.example", "us-oh,Elections Board,member,b@ohio.example") == []


def test_all_that_is_wrong_is_said_at_once_by_line() -> None:
    found = problems(",H,customer,nobody", "us-oh,Harmony Clerk,member,clerk@harmony.example", ",Oak Clerk,member,x")

    assert [line for line, _ in found] == [2, 2, 2, 4, 4]


def test_without_a_right_header_nothing_is_read() -> None:
    organizations, found = read("name,kind\nHarmony Clerk,member\n", CODES)

    assert organizations == ()
    assert [problem.line for problem in found] == [1]
    assert "lacks the column jurisdiction, lacks the column contact_email" in found[0].text


words = st.one_of(
    st.sampled_from(
        ["us", "us-oh", "us-zz", *KINDS, "Harmony Clerk", "harmony clerk", "a@harmony.example", "", '"', "#", "\0"]
    ),
    st.text(max_size=9),
)
rows = st.tuples(
    st.sampled_from(["us-oh", "us-zz", ""]),
    st.sampled_from(["Harmony Clerk", "HARMONY CLERK", "Oak Clerk", "H"]),
    st.sampled_from([*KINDS, "x"]),
    st.sampled_from(["a@harmony.example", "a"]),
)
lines = st.one_of(rows.map(",".join), st.lists(words, max_size=6).map(",".join), st.text(max_size=40))


@given(st.text())
def test_no_text_crashes_it(text: str) -> None:
    read(text, CODES)


@given(st.lists(lines, max_size=12), st.permutations(COLUMNS))
def test_whatever_the_lines_say_only_sound_organizations_are_taken(lines: list[str], header: list[str]) -> None:
    text = "\n".join([",".join(header), *lines])

    organizations, found = read(text, CODES)

    assert len({each.name.casefold() for each in organizations}) == len(organizations)
    for each in organizations:
        assert each.kind in KINDS
        assert each.jurisdiction in CODES or (each.jurisdiction is None and each.kind != "member")
        assert MIN_NAME <= len(each.name) <= MAX_NAME
        assert re.fullmatch(r"\S+@\S+\.\S+", each.contact_email)
        assert each.name.isprintable()
    numbers = [problem.line for problem in found]
    assert numbers == sorted(numbers)
    assert all(1 <= number <= len(re.split(r"\r\n|\r|\n", text)) for number in numbers)
    assert all(problem.text.isprintable() for problem in found)
