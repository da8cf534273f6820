"""Personal data in free text: found by kind in samples of other hands, spared where published, cheap elsewhere."""

import collections
import itertools
import json
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.corpus import documents, needs_corpus

from isac.policy.privacy import KINDS, Finding, in_text, mask, personal
from isac.stix.observables import Observable

# Two people wrote the samples without knowing the rules, and the rules stood before anyone had looked at the samples.
# That first run found, of 67 to 96 samples a kind: ssn 49 of 70, drivers-license 48 of 96, voter-id 43 of 67,
# birth-date 38 of 66, home-address 40 of 67, phone 45 of 66, private-email 50 of 66; and held 27 of the 268 that are
# none: home-address 11, private-email 7, birth-date 5, phone 2, ssn 1, voter-id 1. The rules were mended by these
# samples since, so what the test below holds says less of other samples than those figures do.
SAMPLES = [
    sample
    for name in ("hand_a", "hand_b")
    for sample in tomllib.loads((Path(__file__).parent / f"samples/{name}.toml").read_text(encoding="utf-8"))["sample"]
]
SHARE_FOUND, SHARE_FALSE = 0.98, 0.01


def kinds(text: str, field: str = "description", spared: tuple[Observable | str, ...] = ()) -> set[str]:
    return {found.kind for found in in_text(text, field, spared)}


@pytest.mark.parametrize("kind", KINDS)
def test_nearly_all_samples_of_a_kind_are_found(kind: str) -> None:
    samples = [sample for sample in SAMPLES if sample["kind"] == kind]
    missed = [sample["text"] for sample in samples if kind not in kinds(sample["text"], sample["field"])]
    assert len(samples) >= 60
    assert len(missed) <= (1 - SHARE_FOUND) * len(samples), missed


def test_nearly_nothing_else_is_held() -> None:
    samples = [sample for sample in SAMPLES if sample["kind"] == "none"]
    held = [
        (sample["text"], found)
        for sample in samples
        if (found := [(one.kind, one.shown) for one in in_text(sample["text"], sample["field"])])
    ]
    per_kind = collections.Counter(kind for _, found in held for kind in {kind for kind, _ in found})
    assert len(samples) >= 250
    assert all(count <= SHARE_FALSE * len(samples) for count in per_kind.values()), held


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("ssn", "SSN 987-65-4320"),
        ("ssn", "her social security number is 987654321"),
        ("ssn", "000-12-3456 was in the mail"),
        ("ssn", "987-65-\n4322"),
        ("ssn", "987 65 4323"),
        ("ssn", "ssn:987654324"),
        ("ssn", "Seguro social: 987-65-4325"),
        ("ssn", "SSN (last four): 4326"),
        ("ssn", "last 4 of social 4327"),
        ("ssn", "666.12.3456 on file"),
        ("ssn", "SS# 987 65 4320"),
        ("ssn", "987–65–4320"),
        ("ssn", "987-65-4320 (SSN)"),
        ("ssn", "social: 900-12-3456"),
        ("ssn", "SSN XXX-XX-4320"),
        ("ssn", "Doe,Jane,987654320,1970-03-05"),
        ("ssn", "987 - 65 - 4320"),
        ("ssn", "Social\nSecurity\nNumber:\n987654321"),
        ("ssn", '"ssn": "987654329"'),
        ("ssn", "file voter_987-65-4320.pdf"),
        ("ssn", "ssn=987654320&x=1"),
        ("ssn", "9 8 7 - 6 5 - 4 3 2 0 SSN: 9 8 7 6 5 4 3 2 0"),
        ("drivers-license", "Ohio driver's license TL545796"),
        ("drivers-license", "DL# D1234567"),
        ("drivers-license", "OH DL TL545796"),
        ("drivers-license", "DLN: S514778801230"),
        ("drivers-license", "TX DL 12345678"),
        ("drivers-license", "her license no. is A1234567"),
        ("drivers-license", "OLN RS123456"),
        ("drivers-license", "Driver License Number\nS514-7788-0123"),
        ("drivers-license", "licencia de conducir 12345678"),
        ("drivers-license", "driver’s license number: 123-45-6789"),
        ("drivers-license", "state ID card H12345678"),
        ("drivers-license", "lic # D1234567"),
        ("drivers-license", "TL545796 is her Ohio driver's license"),
        ("drivers-license", "FL drivers lic S514-778-80-123-0"),
        ("drivers-license", "D/L: 99999999"),
        ("drivers-license", "Photo ID presented: 9876543"),
        ("drivers-license", "NH DL 12ABC34567"),
        ("drivers-license", "WA driver license WDLABC1234DE"),
        ("drivers-license", "driver's li-\ncense D1234567"),
        ("drivers-license", "Michigan DL S 514 778 801 230"),
        ("drivers-license", "CDL 123456789"),
        ("drivers-license", "Idaho license number ZZ123456Z"),
        ("drivers-license", "dl: a1234567"),
        ("voter-id", "voter ID OH0012345678"),
        ("voter-id", "Voter registration number 12345678"),
        ("voter-id", "VUID 1234567890"),
        ("voter-id", "voter reg # 104839201"),
        ("voter-id", "registrant ID: 0098765"),
        ("voter-id", "SOS ID 1234567"),
        ("voter-id", "voter_id=4839201"),
        ("voter-id", "state voter id WA 004839201"),
        ("voter-id", "his voter registration no. is 555-12345"),
        ("voter-id", "número de votante 12345678"),
        ("voter-id", "4839201 (voter ID)"),
        ("voter-id", "Voter\nID\nnumber\n00483920"),
        ("voter-id", "NCID AA123456"),
        ("voter-id", "voter record 4839201 was changed"),
        ("voter-id", "Voter certificate 1234567"),
        ("voter-id", "registro electoral 1234567"),
        ("voter-id", "StateVoterID 4839201"),
        ("birth-date", "DOB 03/05/1970"),
        ("birth-date", "born on March 5, 1970"),
        ("birth-date", "Jane Doe, 03/05/1970"),
        ("birth-date", "Doe, Jane A. (3/5/70)"),
        ("birth-date", "date of birth: 1970-03-05"),
        ("birth-date", "birthday 5 March 1970"),
        ("birth-date", "D.O.B.: 03-05-1970"),
        ("birth-date", "DOB 19700305"),
        ("birth-date", "nacida el 5 de marzo de 1970"),
        ("birth-date", "fecha de nacimiento 05/03/1970"),
        ("birth-date", "DOE JANE 03/05/1970"),
        ("birth-date", "03/05/1970 (DOB)"),
        ("birth-date", "Date of\nbirth\n03/05/\n1970"),
        ("birth-date", "jane doe 3/5/1970"),
        ("birth-date", "Marcus Whitfield | M | 11/02/1958"),
        ("birth-date", "b. 5 Mar 1970"),
        ("birth-date", "Doe,Jane,Ann,F,03/05/1970"),
        ("birth-date", "born 03.05.1970"),
        ("birth-date", "Birthdate: Mar 5 '70"),
        ("home-address", "123 Main St, Columbus, OH 43215"),
        ("home-address", "lives at 45 Oak Avenue Apt 3"),
        ("home-address", "Jane Doe, PO Box 12, Harmony OH"),
        ("home-address", "home address: 77 Larkspur, Harmony"),
        ("home-address", "RR 2 Box 45"),
        ("home-address", "99 W 5th Ave #12"),
        ("home-address", "8 Cherry\nTree\nLane\nHarmony, OH 43000"),
        ("home-address", "resides at 12 County Road 9"),
        ("home-address", "12-34 30th Ave, Apt 5B"),
        ("home-address", "3300 Lakeview Blvd Unit 7"),
        ("home-address", "Her house is 19 Willow Ct"),
        ("phone", "call her at (614) 555-0123"),
        ("phone", "614-555-0123"),
        ("phone", "cell 614.555.0123"),
        ("phone", "+1 614 555 0123"),
        ("phone", "tel 6145550123"),
        ("phone", "614 555 0123"),
        ("phone", "555-0142"),
        ("phone", "+44 20 7946 0958"),
        ("phone", "614-\n555-0123"),
        ("phone", "1-614-555-0123 ext 5"),
        ("phone", "WhatsApp +52 55 1234 5678"),
        ("phone", "Voter called the elections office from 614-555-0123"),
        ("phone", "mobile: (614)5550123"),
        ("phone", "614/555-0123"),
        ("phone", "text me 614 5550123"),
        ("phone", "Jane Doe's cell is 6145550199"),
        ("private-email", "jane.doe@gmail.com"),
        ("private-email", "jdoe1970@yahoo.com"),
        ("private-email", "Jane Doe <jdoe77@isp.example>"),
        ("private-email", "jane.doe [at] gmail [dot] com"),
        ("private-email", "jane.doe@county.example"),
        ("private-email", "jane dot doe at gmail dot com"),
        ("private-email", "jane.doe@\ngmail.com"),
        ("private-email", "voter's e-mail doe44@isp.example"),
        ("private-email", "mary_smith@harmony.example.gov"),
        ("private-email", "jane.doe(at)mail.example"),
        ("private-email", "jsmith@comcast.net"),
        ("private-email", "Contact: rob.k.stone@outlook.com"),
        ("private-email", "j.doe@isp.example"),
        ("home-address", "Jane Doe, 1420 N Elm Rd."),
        ("home-address", "Her house: 2210 State Route 161"),
        ("home-address", "the voter at 501 Meadow Brook Dr"),
        ("home-address", "vive en Calle Luna 123, San Juan"),
    ],
)
def test_it_is_found(kind: str, text: str) -> None:
    assert kind in kinds(text)


@pytest.mark.parametrize(
    "text",
    [
        "Emotet C2 192.0.2.1:443 first seen 2024-05-06",
        "CVE-2024-12345 in Windows 10",
        "Call the Board of Elections at 614-555-0100",
        "Franklin County Board of Elections, 1700 Morse Rd",
        "County Courthouse, 12 Main Street, Suite 200",
        "toll-free 1-800-555-0199",
        "hotline 866-555-0100",
        "elections@county.example",
        "security@vendor.example",
        "Sender address: invoice@mail.example",
        "voter registration database breach of 2016",
        "150000 voter IDs leaked",
        "4,500,000 driver's license numbers were exposed",
        "license key 12345678 of the software",
        "Conficker Worm 11/21/2008",
        "Report published 2009-12-01",
        "Supreme Court decision",
        "2020 Wall Street Journal",
        "10 Google Drive links",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "port 8080 and 443",
        "epoch 1609459200",
        "version 10.0.19041.1234",
        "Polling place at 123 Main St",
        "KB5005565 fixes it",
        "MD5: d41d8cd98f00b204e9800998ecf8427e",
        "Windows Server 2008 R2",
        "MITRE ATT&CK T1566.001",
        "AS64496",
        "2024-05-06T12:00:00.000Z",
        "BTC 1BoatSLRHtKNngkdXEeobR76b53LETtpyT",
        "voter registration portal 192.0.2.5",
        "voter registration deadline 10/05/2026",
        "ransom note contact decrypt@protonmail.com",
        "Phishing mail sent from account.update@gmail.com",
        "git@github.com",
        "New York 03/05/2008",
        "Patch Tuesday 01/12/2010",
        "the 9th Circuit Court of Appeals",
        "1 Check Point appliance",
        "SSN: XXX-XX-XXXX",
        "Social Security numbers of 2000 voters",
        "process id 12345 wrote file 67890",
        "license plate ABC1234",
        "UUID 123e4567-e89b-12d3-a456-426614174000",
        "ticket INC0012345",
        "Ballot drop box at 500 Oak Ave",
    ],
)
def test_it_is_nobodys(text: str) -> None:
    assert kinds(text) == set()


INDICATOR: dict[str, Any] = {
    "type": "indicator",
    "spec_version": "2.1",
    "id": "indicator--98765432-0000-4000-8000-987654320001",
    "created": "1970-03-05T00:00:00.000Z",
    "modified": "1970-03-05T00:00:00.000Z",
    "valid_from": "1970-03-05T00:00:00Z",
    "pattern_type": "stix",
    "pattern": "[domain-name:value = 'example.com']",
    "name": "example.com",
}


@pytest.mark.parametrize(
    ("added", "field"),
    [
        ({"name": "SSN 987-65-4320"}, "name"),
        ({"labels": ["phishing", "ssn 987-65-4320"]}, "labels.[1]"),
        (
            {
                "external_references": [
                    {"source_name": "x", "url": "https://example.com/"},
                    {"description": "987-65-4320"},
                ]
            },
            "external_references.[1].description",
        ),
        (
            {"extensions": {"extension-definition--1": {"notes": {"caller": "987-65-4320"}}}},
            "extensions.extension-definition--1.notes.caller",
        ),
        ({"x_ssn": "987654320"}, "x_ssn"),
        ({"x_ssn": 987654320}, "x_ssn"),
        ({"pattern": "[email-message:subject = 'SSN 987-65-4320']"}, "pattern"),
        ({"pattern": "[domain-name:value = 'example.com' AND file:name LIKE 'ssn 987-65-4320%']"}, "pattern"),
        ({"type": "note", "content": "Social\nSecurity\nNumber\n987-65-\n4320"}, "content"),
    ],
)
def test_every_free_text_is_read(added: dict[str, Any], field: str) -> None:
    assert [(found.kind, found.field) for found in personal(INDICATOR | added)][:1] == [("ssn", field)]


@pytest.mark.parametrize(
    "added",
    [
        {},
        {"pattern": "[email-addr:value = 'jane.doe@example.com']"},
        {"pattern": "[file:hashes.MD5 = '98765432098765432098765432098765']"},
        {"pattern_type": "snort", "pattern": 'alert tcp any any -> any any (content:"987-65-4320";)'},
        {"type": "email-addr", "value": "jane.doe@example.com"},
        {"type": "url", "value": "https://example.com/?phone=614-555-0123"},
        {"created_by_ref": "identity--98765432-0000-4000-8000-987654320001"},
    ],
)
def test_what_machines_read_is_no_text(added: dict[str, Any]) -> None:
    assert personal(INDICATOR | added) == []


def test_the_objects_own_value_and_its_producers_contact_are_spared() -> None:
    body = INDICATOR | {
        "name": "jane.doe@example.com",
        "description": "Sent from jane.doe[@]example[.]com; ask pat.roe@example.org or call 614-555-0123.",
    }
    assert {found.kind for found in personal(body)} == {"private-email", "phone"}
    spared: list[Observable | str] = [
        Observable("email-addr", "jane.doe@example.com"),
        "pat.roe@example.org",
        "+1 (614) 555-0123",
    ]
    assert personal(body, spared) == []
    url = Observable("url", "https://example.com/jane.doe@example.org")
    assert kinds("See https://example.com/jane.doe@example.org", spared=(url,)) == set()


def test_a_hold_names_field_and_kind_and_does_not_pass_the_data_on() -> None:
    (found,) = in_text("Her SSN is 987-65-4323.", "description")
    assert found == Finding("ssn", "description", "9**-**-**23")
    assert "description seems to hold a Social Security number (9**-**-**23)" in found.reason


@pytest.mark.parametrize(
    ("text", "shown"),
    [("4320", "****"), ("987654323", "9******23"), ("12\nOak St", "1* *** *t"), ("jane.doe@example.com", None)],
)
def test_a_mask_leaves_little(text: str, shown: str | None) -> None:
    masked = mask(text)
    assert shown is None or masked == shown
    assert sum(char.isalnum() for char in masked) <= 3


@pytest.mark.parametrize(
    "piece",
    ["1", "1 ", "987654321,", "987-65-4320 ", "ssn ", "voter id x 12 ", "dl ", "driver's license 1a ", "dob 1 ",
     "01/02/70 ", "a.b@c.d ", "aaaaaaaa.", "(614) ", "12 Oak St ", "PO Box 1 ", "<a ", "1\n", "five nine ", "a-1-",
     "a,1,b\n", "%31", "[at] ", "lives at 12 ", "***-**-1234 "],
)  # fmt: skip
def test_hostile_text_costs_no_more_the_longer_it_is(piece: str) -> None:
    def cost(size: int) -> float:
        text = f"{piece * (size // len(piece))} ssn 1 @ 1234567"
        start = time.process_time()
        in_text(text, "description")
        return time.process_time() - start

    # Linear is 4 times as much; squared would be 16 times.
    small, large = min(cost(1 << 12) for _ in range(2)), cost(1 << 14)
    assert large < 10 * small + 0.05


def _corpus() -> Iterator[dict[str, Any]]:
    for _, raw in documents("stix21/*"):
        try:
            bundle = json.loads(raw)
        except ValueError:
            continue
        if isinstance(bundle, dict):
            yield from (each for each in bundle.get("objects", []) if isinstance(each, dict))


@needs_corpus
def test_good_objects_of_real_sources_are_not_held() -> None:
    held: collections.Counter[str] = collections.Counter()
    count = 0
    for body in itertools.islice(_corpus(), 0, None, 4):
        count += 1
        held.update({found.kind for found in personal(body)})
    assert count > 2_500
    assert all(each <= SHARE_FALSE * count for each in held.values()), held
