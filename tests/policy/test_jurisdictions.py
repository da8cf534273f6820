"""Rosters: the shipped one against its sources, another one of 6,467 rows, and whatever a file may get wrong."""

import csv
import gzip
import io
import os
import pathlib
import re
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isac.package_data import package_data
from isac.policy.jurisdictions import (
    COLUMNS,
    NOT_STATES,
    PARENTS,
    STATE_FIPS,
    Jurisdiction,
    Roster,
    differences,
    read,
    title,
)

CORPUS = pathlib.Path(os.environ.get("ISAC_CORPUS", pathlib.Path(__file__).parents[3] / "shared" / "corpus"))
corpus = pytest.mark.skipif(
    not (CORPUS / "elections").is_dir(), reason=f"no corpus in {CORPUS}: set ISAC_CORPUS to its folder"
)

HEADER = ",".join(COLUMNS)
US = Jurisdiction("us", "United States", "nation", None, "", None)
OHIO = Jurisdiction("us-oh", "Ohio", "state", "us", "39", None)
TEXAS = Jurisdiction("us-tx", "Texas", "state", "us", "48", None)
HARMONY = Jurisdiction("us-oh-39999", "Harmony County", "county", "us-oh", "39999", 1200)
KNOWN = {each.code: each for each in (US, OHIO, TEXAS, HARMONY)}


def problems(*lines: str, known: dict[str, Jurisdiction] = KNOWN) -> list[tuple[int, str]]:
    roster = read("\n".join((HEADER, *lines)), known)
    return [(problem.line, problem.text) for problem in roster.problems]


def corpus_rows(name: str) -> Iterator[dict[str, str]]:
    with gzip.open(CORPUS / name, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


@pytest.fixture(scope="module")
def shipped() -> Roster:
    return read((package_data("feeds") / "jurisdictions.csv").read_text("utf-8"))


# --- the roster that we ship -----------------------------------------------------------------------------------------


def test_the_shipped_roster_has_no_problem(shipped: Roster) -> None:
    assert shipped.problems == ()


def test_the_shipped_roster_is_the_nation_then_50_states_then_1100_locals(shipped: Roster) -> None:
    kinds = [each.kind for each in shipped.jurisdictions]

    assert kinds[:51] == ["nation"] + ["state"] * 50
    assert Counter(kinds[51:]) == {"county": 1081, "city": 19}


def test_the_shipped_roster_is_in_the_order_of_the_fips_codes() -> None:
    lines = (package_data("feeds") / "jurisdictions.csv").read_text("utf-8").splitlines()
    fips = [line.split(",")[4] for line in lines if line.startswith("us-")]

    assert fips == sorted(fips[:50]) + sorted(fips[50:])


def test_every_shipped_local_hangs_from_its_state(shipped: Roster) -> None:
    states = {each.fips: each.code for each in shipped.jurisdictions[1:51]}

    assert all(each.parent == states[each.fips[:2]] for each in shipped.jurisdictions[51:])
    assert {each.parent for each in shipped.jurisdictions[51:]} == set(states.values()) - {"us-ak", "us-nd"}


def test_shipped_titles_are_unique_and_hold_no_character_that_clients_split_at(shipped: Roster) -> None:
    by_code = {each.code: each for each in shipped.jurisdictions}
    titles = [title(each, by_code.get(each.parent or "")).casefold() for each in shipped.jurisdictions]

    assert len(set(titles)) == 1151
    assert not any(letter in each for each in titles for letter in ".,")


def test_the_states_of_the_code_are_those_of_the_roster(shipped: Roster) -> None:
    states = {each.code.removeprefix("us-"): each.fips for each in shipped.jurisdictions[1:51]}

    assert states == {postal: fips for postal, fips in STATE_FIPS.items() if postal not in NOT_STATES}


@pytest.mark.parametrize(
    "gap",
    [
        "Alaska",
        "North Dakota",
        "District of Columbia",
        "New England",
        "Wisconsin and Michigan",
        "Oglala Lakota",
        "23099",
    ],
)
def test_the_shipped_roster_says_its_gaps(gap: str) -> None:
    text = (package_data("feeds") / "jurisdictions.csv").read_text("utf-8")

    assert gap in text.partition(HEADER)[0]


@corpus
def test_the_shipped_locals_are_the_1100_with_most_registered_voters(shipped: Roster) -> None:
    boards = {"17140": "1714000", "17650": "1765000", "17066": "1706613", "29380": "2938000"}
    rows = [
        (int(row["total_reg"]), row["state_abbr"].lower(), row["fips"].zfill(5))
        for row in corpus_rows("elections/eavs-2022-counties-registration.csv.gz")
        if row["state_abbr"] != "DC"
    ]
    most = sorted(rows, reverse=True)[:1100]

    assert {(each.registered_voters, each.code) for each in shipped.jurisdictions[51:]} == {
        (voters, f"us-{state}-{boards.get(fips, fips)}") for voters, state, fips in most
    }


@corpus
def test_a_shipped_states_voters_are_the_sum_of_its_rows(shipped: Roster) -> None:
    sums: Counter[str] = Counter()
    for row in corpus_rows("elections/eavs-2022-counties-registration.csv.gz"):
        sums[f"us-{row['state_abbr'].lower()}"] += int(row["total_reg"])

    assert all(each.registered_voters == (sums[each.code] or None) for each in shipped.jurisdictions[1:51])


@corpus
def test_trap_17_shipped_names_and_kinds_are_those_of_the_census(shipped: Roster) -> None:
    census: dict[str, tuple[str, str]] = {}
    with gzip.open(CORPUS / "geo/census-national-county-2010.txt.gz", "rt", encoding="utf-8", newline="") as file:
        for _, state, county, name, kind in csv.reader(file):
            census[state + county] = (name, "city" if kind == "C7" else "county")
    for row in corpus_rows("geo/ocd-us-census-places.csv.gz"):
        if re.fullmatch("place-[0-9]{7}", row["census_geoid"]):
            census[row["census_geoid"].removeprefix("place-")] = (row["name"].replace("City city", "City"), "city")

    assert all((each.name, each.kind) == census[each.fips] for each in shipped.jurisdictions[51:])


# --- another roster --------------------------------------------------------------------------------------------------


def eavs_2016() -> str:
    """The 6,467 rows of EAVS 2016 as a roster: towns directly below their State, since not every county is there."""
    lines = [HEADER]
    for row in corpus_rows("elections/eavs-2016-jurisdictions.csv.gz"):
        state, digits, name = row["state"].lower(), row["fipscode"], row["juris"]
        code, local = f"us-{state}", STATE_FIPS[state]
        if state in NOT_STATES:
            lines.append(f"{code},{name},district,us,{local},")
        elif digits == "23." or digits.endswith("00000000"):
            # Alaska, and Maine's office for voters overseas: they are the State.
            lines.append(f"{code},{'Maine' if state == 'me' else name},state,us,{local},")
        elif state == "wi":
            kind = "township" if name.startswith("TOWN OF") else "city"
            lines.append(f"{code}-{local}{digits},{name},{kind},{code},{local}{digits},")
        elif (state == "il" and name.endswith(" CITY")) or name == "KANSAS CITY CITY":
            lines.append(f"{code}-{digits[:7]},{name},city,{code},{digits[:7]},")
        elif digits.endswith("00000") or name == "YATES COUNTY":
            # Yates County stands there under the digits of another place.
            county = "36123" if name == "YATES COUNTY" else digits[:5]
            lines.append(f"{code}-{county},{name},{'city' if county[2:] >= '510' else 'county'},{code},{county},")
        else:
            lines.append(f"{code}-{digits},{name},township,{code},{digits},")
    return "\n".join(lines)


@corpus
def test_trap_17_a_roster_of_6467_rows_is_read_in_under_two_seconds(shipped: Roster) -> None:
    text = eavs_2016()
    known = {each.code: each for each in shipped.jurisdictions}

    begin = time.perf_counter()
    roster = read(text, known)
    seconds = time.perf_counter() - begin

    assert roster.problems == ()
    assert len(roster.jurisdictions) == 6467
    assert seconds < 2


@corpus
def test_importing_that_roster_deletes_nothing_and_erases_no_figure(shipped: Roster) -> None:
    known = {each.code: each for each in shipped.jurisdictions}

    found = differences(read(eavs_2016(), known).jurisdictions, known)

    assert {before.code for before, _ in found.changed} | {each.code for each in found.left} == set(known)
    assert all(before.registered_voters == after.registered_voters for before, after in found.changed)
    assert len(found.added) + len(found.changed) > 5000


# --- what a file may look like ---------------------------------------------------------------------------------------


def test_columns_may_stand_in_any_order_among_comments_blank_lines_crlf_and_a_bom() -> None:
    text = (
        "\ufeff# our counties\r\n\r\n"
        "Parent,Registered_Voters,FIPS,Kind,Name,Code\r\n"
        '"# a comment, as a spreadsheet saves it",,,,,\r\n'
        'us-oh,77,39997,county," Oak County, North ",us-oh-39997\r\n'
        ",,,,,\r\n"
    )

    assert read(text, KNOWN) == Roster(
        (Jurisdiction("us-oh-39997", "Oak County, North", "county", "us-oh", "39997", 77),), ()
    )


def test_cells_at_the_end_may_be_missing_and_an_empty_fips_code_is_taken_from_the_code() -> None:
    roster = read(f"{HEADER}\nus-oh-39997,Oak County,county,us-oh", KNOWN)

    assert roster == Roster((Jurisdiction("us-oh-39997", "Oak County", "county", "us-oh", "39997", None),), ())


def test_empty_cells_beyond_the_header_do_no_harm() -> None:
    roster = read(f"{HEADER},,\nus-oh-39997,Oak County,county,us-oh,39997,1,,,\n", KNOWN)

    assert roster == Roster((Jurisdiction("us-oh-39997", "Oak County", "county", "us-oh", "39997", 1),), ())


def test_children_may_stand_before_their_parents_and_come_out_after_them() -> None:
    roster = read(
        f"{HEADER}\nus-oh-3999700001,Elm Town,township,us-oh-39997,,\nus-oh-39997,Oak County,county,us-oh,,", KNOWN
    )

    assert [each.code for each in roster.jurisdictions] == ["us-oh-39997", "us-oh-3999700001"]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("us-oh-39997,Oak County,county,us-oh,39997,", "county"),
        ("us-oh-39996,Pine city,city,us-oh,39996,", "city"),
        ("us-oh-3999999,Pine city,city,us-oh,3999999,", "city"),
        ("us-oh-3999999,Elm Town,township,us-oh,3999999,", "township"),
        ("us-oh-3999900001,Elm Town,township,us-oh-39999,3999900001,", "township"),
        ("us-oh-3999900001,Elm Town,township,us-oh,3999900001,0", "township"),
        ("us-oh-3999900001,Pine city,city,us-oh-39999,3999900001,", "city"),
        ("us-pr,Puerto Rico,district,us,72,", "district"),
        ("us-dc,District of Columbia,district,us,11,", "district"),
        ("us-oh,State of Ohio,state,us,39,8029950", "state"),
    ],
)
def test_codes_have_a_place_for_every_kind(line: str, kind: str) -> None:
    roster = read(f"{HEADER}\n{line}", KNOWN)

    assert roster.problems == ()
    assert [each.kind for each in roster.jurisdictions] == [kind]


# --- what a file may get wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("us-oh-39997,Oak County,parish,us-oh,39997,", "kind «parish» is unknown: write one of nation, state"),
        ("us-oh-39997,Oak County,county,us-ga,39997,", "does not begin with its parent's «us-ga»"),
        ("us-ga-13999,Oak County,county,us-ga,13999,", "parent us-ga is unknown: add a line for it"),
        ("us-oh-39997,Oak County,county,,39997,", "parent is empty: write the code of the district or state"),
        ("us-oh-39997,Oak County,county,us,39997,", "parent us is a nation, but a county's is a district or state"),
        ("us-oh-3999900001,Elm Town,township,us-oh-39998,,", "does not begin with its parent's «us-oh-39998»"),
        ("us-oh-3999999,Pine city,city,us-oh-39999,,", "does not begin with its parent's «us-oh-39999»"),
        ("US-OH-39997,Oak County,county,us-oh,39997,", "code «US-OH-39997» is not of the form us, us-oh"),
        ("us-oh-3999,Oak County,county,us-oh,3999,", "code «us-oh-3999» is not of the form"),
        (",Oak County,county,us-oh,39997,", "code «» is not of the form"),
        ("us-zz-39997,Oak County,county,us-zz,39997,", "begins with no State"),
        (
            "us-oh-3999900001,Oak County,county,us-oh,,",
            "is no county's: it has us-, the State's letters, - and 5 digits",
        ),
        ("us-oh-39997,Elm Town,township,us-oh,,", "is no township's: it has us-, the State's letters, - and 7 or 10"),
        ("us-oh,Ohio,district,us,39,", "is no district's: a district's is us- and one of as, dc, gu, mp, pr, vi"),
        ("us-dc,Capital,state,us,11,", "is no state's"),
        ("us-oh,Ohio,nation,,,", "is no nation's: the nation's is us"),
        ("us,Union,nation,us,,", "the nation has no parent"),
        ("us-oh-39997,,county,us-oh,39997,", "name is empty"),
        ('us-oh-39997,". , - .",county,us-oh,39997,', "name is empty"),
        (f"us-oh-39997,{'Oak ' * 40},county,us-oh,39997,", "159 characters: shorten it to 120"),
        ("us-oh-39997,Oak County,county,us-oh,39997,-1", "registered_voters «-1» is no whole number"),
        ('us-oh-39997,Oak County,county,us-oh,39997,"1,234"', "registered_voters «1,234» is no whole number"),
        (f"us-oh-39997,Oak County,county,us-oh,39997,{'9' * 5000}", "is no whole number below 1 billion"),
        ("us-oh-39997,Oak County,county,us-oh,39997,٣", "registered_voters «٣» is no whole number"),
        ("us-oh-39997,Oak County,county,us-oh,39998,", "fips «39998» and code disagree: write 39997"),
        ("us-oh-48997,Oak County,county,us-oh,48997,", "are of another State: those of us-oh begin with 39"),
        ("us-al,Alabama,state,us,1,", "disagree (spreadsheets drop leading zeros): write 01"),
        ("us-oh-39997,Oak County, North,county,us-oh,39997,1", "has 7 cells below a header of 6: put a cell"),
        (
            'us-oh-39997,"Oak County,county,us-oh,39997,1',
            "is no CSV (unexpected end of data): close every double quote",
        ),
        ("us-oh-39997,Oak\0County,county,us-oh,39997,1", "holds an invisible character (U+0000): save the file as CSV"),
        ("us-oh-39997,Oak\u00a0County,county,us-oh,39997,1", "holds an invisible character (U+00A0): delete it or"),
        ("us-oh-39997,harmony county,county,us-oh,39997,", "name «harmony county» is that of us-oh-39999, too"),
        ("us-oh-39997,Harmony. County,county,us-oh,39997,", "is that of us-oh-39999, too: make them differ"),
        ("us-oh-39999,Harmony,city,us-oh,39999,", "is here already, as county below us-oh: keep both"),
        (f"us-oh-39997,{'a' * 200_000},county,us-oh,39997,", "has more than 100000 characters"),
    ],
)
def test_a_wrong_line_is_refused_with_what_to_do(line: str, words: str) -> None:
    found = problems(line)

    assert [number for number, _ in found] == [2]
    assert words in found[0][1]


def test_all_that_is_wrong_with_a_line_is_said_at_once() -> None:
    found = problems("us-oh-39997,,county,us-oh,39998,many")

    assert [(line, text.split()[0]) for line, text in found] == [(2, "fips"), (2, "name"), (2, "registered_voters")]


def test_a_code_that_stands_twice_is_refused_with_the_line_of_the_first() -> None:
    found = problems(
        "us-oh-39997,Oak County,county,us-oh,,", "# between", "us-oh-39997,Elm County,county,us-oh,,", known=KNOWN
    )

    assert found == [(4, "code «us-oh-39997» stands in line 2 already: keep one of the two lines")]


def test_a_child_of_a_refused_line_names_that_line() -> None:
    found = problems("us-oh-39997,Oak County,county,us-oh,11111,", "us-oh-3999700001,Elm Town,township,us-oh-39997,,")

    assert found[1] == (3, "its parent us-oh-39997 is refused: correct line 2 first")


def test_a_forgotten_quote_costs_one_line_only() -> None:
    roster = read(f'{HEADER}\nus-oh-39997,"Oak,county,us-oh,,\nus-oh-39996,Elm County,county,us-oh,,', KNOWN)

    assert [each.name for each in roster.jurisdictions] == ["Elm County"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "the file has no header: begin it with the line code,name,kind,parent,fips,registered_voters"),
        ("# nothing else\n\n", 1, "the file has no header"),
        ("# c\ncode,name,kind,parent,fips\n", 2, "the header lacks the column registered_voters"),
        (f"{HEADER},county\n", 1, "has the unknown column «county»"),
        (f"{HEADER},code\n", 1, "has the column code twice"),
        ("us,United States,nation,,,\n", 1, "lacks the column code"),
        ("c\0o\0d\0e\0", 1, "holds an invisible character (U+0000): save the file as CSV in UTF-8"),
    ],
)
def test_without_a_right_header_nothing_is_read(text: str, line: int, words: str) -> None:
    roster = read(text, KNOWN)

    assert roster.jurisdictions == ()
    assert [problem.line for problem in roster.problems] == [line]
    assert words in roster.problems[0].text


def test_a_message_quotes_nothing_that_a_terminal_would_obey() -> None:
    found = problems("us-oh-39997,Oak County,\x1b[31mcounty,us-oh,39997,")

    assert found[0][1].isprintable()


# --- names and titles ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jurisdiction", "parent", "expected"),
    [
        (US, None, "United States"),
        (OHIO, US, "Ohio"),
        (HARMONY, OHIO, "Harmony County - Ohio"),
        (
            Jurisdiction("us-oh-39997", "St. Oak, County", "county", "us-oh", "39997", None),
            OHIO,
            "St Oak County - Ohio",
        ),
        (
            Jurisdiction("us-oh-3999900001", "Town of Elm - North", "township", "us-oh-39999", "3999900001", None),
            HARMONY,
            "Town of Elm-North - Harmony County - OH",
        ),
    ],
)
def test_a_title_says_where_a_jurisdiction_is(
    jurisdiction: Jurisdiction, parent: Jurisdiction | None, expected: str
) -> None:
    assert title(jurisdiction, parent) == expected


def test_counties_of_two_states_may_have_one_name() -> None:
    assert problems("us-tx-48999,Harmony County,county,us-tx,,") == []


def test_two_may_swap_their_names_in_one_file() -> None:
    oak = Jurisdiction("us-oh-39997", "Oak County", "county", "us-oh", "39997", None)
    lines = ("us-oh-39999,Oak County,county,us-oh,,", "us-oh-39997,Harmony County,county,us-oh,,")

    assert problems(*lines, known={**KNOWN, oak.code: oak}) == []


def test_the_old_name_of_one_whose_new_name_is_refused_stays_taken() -> None:
    oak = Jurisdiction("us-oh-39997", "Oak County", "county", "us-oh", "39997", None)
    elm = Jurisdiction("us-oh-39996", "Elm County", "county", "us-oh", "39996", None)
    # Harmony's new name is Elm's, so its own is not free for Oak.
    lines = ("us-oh-39997,Harmony County,county,us-oh,,", "us-oh-39999,Elm County,county,us-oh,,")

    found = problems(*lines, known={**KNOWN, oak.code: oak, elm.code: elm})

    assert [line for line, _ in found] == [2, 3]


# --- what an import would do -----------------------------------------------------------------------------------------


def test_an_import_adds_changes_and_leaves() -> None:
    new = read(f"{HEADER}\nus-oh-39997,Oak County,county,us-oh,,5\nus-oh-39999,Harmony,county,us-oh,,1300", KNOWN)

    found = differences(new.jurisdictions, KNOWN)

    assert found.added == (Jurisdiction("us-oh-39997", "Oak County", "county", "us-oh", "39997", 5),)
    assert found.changed == ((HARMONY, Jurisdiction("us-oh-39999", "Harmony", "county", "us-oh", "39999", 1300)),)
    assert found.left == (US, OHIO, TEXAS)


def test_an_empty_figure_erases_none() -> None:
    new = read(f"{HEADER}\nus-oh-39999,Harmony County,county,us-oh,,", KNOWN)

    assert differences(new.jurisdictions, KNOWN).changed == ()


def test_a_second_import_of_the_same_file_changes_nothing() -> None:
    new = read(f"{HEADER}\nus-oh-39997,Oak County,county,us-oh,,5\nus-oh-39999,Harmony,county,us-oh,,", KNOWN)
    found = differences(new.jurisdictions, KNOWN)
    after = KNOWN | {each.code: each for each in (*found.added, *(changed for _, changed in found.changed))}

    again = differences(new.jurisdictions, after)

    assert (again.added, again.changed) == ((), ())


# --- properties ------------------------------------------------------------------------------------------------------

# Near misses find more than noise does: cells that are right, almost right, or anything.
codes = st.sampled_from(
    [
        "us",
        "us-oh",
        "us-tx",
        "us-dc",
        "us-oh-39999",
        "us-oh-39997",
        "us-tx-48999",
        "us-oh-3999900001",
        "us-oh-3999999",
        "u",
    ]
)
names = st.sampled_from(["Harmony County", "harmony. county", "Oak", "Oak - Ohio", "Elm, Town", "Ohio", "-", ""])
cells = st.one_of(
    codes, names, st.sampled_from(["39", "39999", "7", "#", '"', '"a"b', "\ufeff", "\0"]), st.text(max_size=9)
)
rows = st.tuples(codes, names, st.sampled_from([*PARENTS]), codes, st.just(""), st.sampled_from(["", "1", "x"]))
lines = st.one_of(rows.map(",".join), st.lists(cells, max_size=8).map(",".join), st.text(max_size=40))


@given(st.text())
def test_no_text_crashes_it(text: str) -> None:
    read(text)


@given(
    st.lists(lines, max_size=12),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([{}, KNOWN]),
    st.permutations(COLUMNS),
)
def test_whatever_the_lines_say_only_a_sound_tree_is_taken(
    lines: list[str], end: str, known: dict[str, Jurisdiction], header: list[str]
) -> None:
    text = end.join([",".join(header if known else COLUMNS), *lines])

    roster = read(text, known)

    taken = dict(known)
    for each in roster.jurisdictions:
        assert each.code not in taken or (each.kind, each.parent) == (taken[each.code].kind, taken[each.code].parent)
        assert each.parent in taken if each.kind != "nation" else each.parent is None
        taken[each.code] = each
    titles = [title(each, taken.get(each.parent or "")).casefold() for each in taken.values()]
    assert len(titles) == len(set(titles))
    assert not any(re.search(r"[.,]", each) for each in titles)
    assert len({each.code for each in roster.jurisdictions}) == len(roster.jurisdictions)
    numbers = [problem.line for problem in roster.problems]
    assert numbers == sorted(numbers)
    assert all(1 <= number <= len(re.split(r"\r\n|\r|\n", text)) for number in numbers)
    assert all(problem.text.isprintable() for problem in roster.problems)


@given(st.lists(lines, max_size=12))
def test_every_line_is_taken_or_told(lines: list[str]) -> None:
    text = "\n".join([HEADER, *lines])
    content = [line for line in re.split(r"\r\n|\r|\n", text)[1:] if re.search(r"\w", line)]
    content = [line for line in content if not line.lstrip(' \t"').startswith("#")]

    roster = read(text, KNOWN)

    told = {problem.line for problem in roster.problems}
    assert len(roster.jurisdictions) + len(told) >= len(content)


def written(jurisdictions: tuple[Jurisdiction, ...]) -> str:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for each in jurisdictions:
        voters = "" if each.registered_voters is None else each.registered_voters
        writer.writerow([each.code, each.name, each.kind, each.parent or "", each.fips, voters])
    return file.getvalue()


def test_a_roster_written_out_reads_back_the_same(shipped: Roster) -> None:
    assert read(written(shipped.jurisdictions)) == shipped
