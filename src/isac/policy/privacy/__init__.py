"""Personal and voter data in free text: it must never be stored or passed on, so a person looks before it is.

What is text: every string of an object, in properties that STIX knows and in those it does not, but for what only a
machine reads (`_MACHINE`: ids, times, hashes, addresses, the values of observables). Of a STIX pattern the values that
people write (`email-message:subject`, `process:command_line`) are text, observables are not; patterns of other
languages are not read. Whole numbers of unknown properties are text too, and the property's own name counts as a word
in front of it (`x_voter_id`).

How it is found: a shape made of digits or an «@», then what stands around it. Words that say what a number is
(«DOB», «lives at») make shapes count that mean nothing alone; words of an office («Board of Elections: 614 …») or a
role («elections@») spare what is published. Each rule looks at a bounded piece around a candidate, so that the work is
linear in the length of the text.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from isac.policy.privacy import contacts, legible, records
from isac.stix.fangs import AT, DOT
from isac.stix.observables import Observable

#: every kind of finding, in words for people
KINDS = {
    "ssn": "a Social Security number",
    "drivers-license": "a driver's license or State ID number",
    "voter-id": "a voter's ID",
    "birth-date": "a person's date of birth",
    "home-address": "a home address",
    "phone": "a private telephone number",
    "private-email": "a private person's e-mail address",
}
# More of one text tell nobody anything new.
_MAX_FINDINGS = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that looks like personal data. `kind` is one of KINDS."""

    kind: str
    #: as in granular markings: `external_references.[0].description`
    field: str
    #: masked, so that a hold does not pass on what it holds: `9**-**-**23`
    shown: str

    @property
    def reason(self) -> str:
        """The finding in a sentence, for the submitter and the analyst."""
        return f"{self.field} seems to hold {KINDS[self.kind]} ({self.shown}). Take it out and send the rest again."


# --- which fields -----------------------------------------------------------------------------------

_MACHINE = frozenset(
    re.findall(
        r"[\w-]+",
        """created_by_ref type spec_version id created modified valid_from valid_until first_seen last_seen
        first_observed last_observed published start_time stop_time pattern_type pattern_version indicator_types
        report_types malware_types tool_types threat_actor_types infrastructure_types kill_chain_phases
        granular_markings lang hashes extension_types confidence number_observed count revoked defanged
        is_family is_multipart is_active identity_class tlp url schema payload_bin mime_type
        encryption_algorithm size ctime mtime atime created_time is_hidden pid start end src_port dst_port
        src_byte_count dst_byte_count src_packets dst_packets protocols number serial_number signature_algorithm
        subject_public_key_algorithm subject_public_key_modulus subject_public_key_exponent validity_not_before
        validity_not_after x509_v3_extensions latitude longitude precision country region result cwd
        modified_time date account_created account_expires credential_last_changed account_first_login
        account_last_login cpe swid implementation_languages architecture_execution_envs magic_number_hex
        decryption_key relationship_type""",
    )
)
# The value of these is the object's own, and judged as such elsewhere.
_VALUES = frozenset({"ipv4-addr", "ipv6-addr", "domain-name", "url", "email-addr", "mac-addr"})
# Patterns that compare one observable, as nearly all do.
_PLAIN_PATTERN = re.compile(
    r"\[(?:(?:ipv[46]-addr|domain-name|url|email-addr|mac-addr):value|file:hashes\.[A-Za-z0-9'-]+) ?= ?'[^'\\]*'\]"
)
_COMPARISON = re.compile(
    r"([a-z0-9-]{3,60}:[\w.'\[\]*-]{1,250}) ?(?:NOT )?(?:=|!=|IN|LIKE|MATCHES|[<>]=?) ?(\(?) ?'((?:[^'\\]|\\.)*)'"
)
_MACHINE_PATH = re.compile(
    r"(?:ipv[46]-addr|domain-name|url|email-addr|mac-addr|autonomous-system):value"
    r"|[a-z0-9-]+:(?:.*hashes.*|.*(?:from|sender|src|dst|resolves_to|belongs_to)_refs?(?:\[[\d*]+\])?\.value"
    r"|(?:.*\.)?(?:serial_number|protocols.*|mime_type|pid|number|payload_bin|type|key|id))"
)


def personal(body: Mapping[str, Any], spared: Collection[Observable | str] = ()) -> list[Finding]:
    """Personal data in all free text of one STIX object.

    `spared`: values that are no finding: the object's observables, and the mail address and telephone number under
    which its producer wants to be reached.
    """
    found: list[Finding] = []
    for key, value in body.items():
        if key in _MACHINE:
            continue
        if key == "pattern":
            if type(value) is str and not _PLAIN_PATTERN.fullmatch(value):
                _in_pattern(value, str(body.get("pattern_type")), spared, found)
        elif type(value) is str:
            if _suspicious(value) and not (key == "value" and body.get("type") in _VALUES):
                found += _search(value, key, spared)
        elif value and not key.endswith("_refs") and isinstance(value, list | dict):
            texts: list[tuple[str, str]] = []
            _collect(value, key, texts)
            for text, path in texts:
                found += _search(text, path, spared)
        elif type(value) is int and value > 9999:
            found += _search(str(value), key, spared)
    return found


def _collect(value: list[Any] | dict[str, Any], path: str, texts: list[tuple[str, str]]) -> None:
    """Add the suspicious texts within, each with its path: `external_references.[0].description`."""
    for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if step in _MACHINE:
            continue
        if type(inner) is str:
            if _suspicious(inner):
                texts.append((inner, _step(path, step)))
        elif isinstance(inner, list | dict):
            _collect(inner, _step(path, step), texts)
        elif type(inner) is int and inner > 9999:
            texts.append((str(inner), _step(path, step)))


def _step(path: str, step: str | int) -> str:
    return f"{path}.[{step}]" if isinstance(step, int) else f"{path}.{step}"


def _in_pattern(text: str, language: str, spared: Collection[Observable | str], found: list[Finding]) -> None:
    if not language.startswith("stix"):
        return
    for one in _COMPARISON.finditer(text):
        if not _MACHINE_PATH.fullmatch(one[1]):
            # The path's last step is the word in front: `user-account:display_name`.
            label = one[1].rpartition(":")[2].replace("to_refs[*].value", "recipient")
            found += (
                Finding(each.kind, "pattern", each.shown)
                for each in in_text(one[3].replace("\\'", "'").replace("\\\\", "\\"), label, spared)
            )


# --- the search -------------------------------------------------------------------------------------

_SEED = re.compile(r"[\d@＠]")
# Digits and what stands between them, in a group; without one hashes, addresses, versions, young dates and CVEs.
_RUN = re.compile(
    r"\d(?:[0-9a-f]{19,}|\d*(?:\.\d+){3,}(?![\d-])|(?<=2)0[12]\d(?:[-/.]\d\d?){1,2}(?![\d-])|(?<=cve-\d)\d{3}-\d{4,7}"
    r"|([\d\s().*/+\u00a0\u2010-\u2015-]*))"
)
# A road, or what stands for one, behind a short number; matched in lower case.
_ROADISH = re.compile(
    r"(?<![a-z])(?:str?e?e?t?|ave?n?u?e?|r(?:oa)?d|blvd|boulevard|ln|lane|pkwy|parkway|hwy|highway|terr?a?c?e?|cir(?:cle)?|trl|mews"
    r"|dr(?:ive)?|ct|court|way|pl(?:ace)?|trail|loop|square|pike|run|row|path|alley|crossing|cove|ridge|hill|bend|close"
    r"|hollow|pass|bnd|xing|rue|calle|road|route|box|mobile|south|north|west|east|plaza|point|park|grove|glen)(?![a-z])"
)
# Words without which numbers of few digits say nothing.
_HINTS = (
    "ssn", "social", " soc", "birth", "dob", "d.o.b", "d/o/b", "born", "bday", " bd", "nac", "geb", "licen", " lic",
    "_lic", "dl ", "dl=", "dl#", "dl:", "dl-", "wdl", "box", "voter id", "voter_id", "vuid", "ncid", "elector",
    "last 4", "last four", "xxx", "***", "calle", "addr", "resid", "house", "home", "lives", "555-", "%40", "=0a",
    "b-day", "bdate", "&bd", "phone", "ph0ne", "area code",
)  # fmt: skip


def _suspicious(text: str) -> bool:
    """The cheap question first: nearly all text has nothing that any rule begins with."""
    if not _SEED.search(text):
        if ("nine" in text or "five" in text or " oh " in text or "teen " in text) and legible.DICTATED.search(text):
            return True
        return ("at" in text or "AT" in text) and any(mark in text for mark in _AT_MARKS)
    if "@" in text or "＠" in text or any(mark in text for mark in _AT_MARKS):
        return True
    low = text.lower()
    for run in _RUN.finditer(low):
        if run.lastindex is None:
            continue
        start, end = run.span()
        if end - start > 5 and sum(map(str.isdigit, run[0])) > 5:
            return True
        if end - start > 5 and _SHORT_DATE.match(low, start):
            return True
        behind = low[end - 1]
        if behind.isdigit():
            behind = low[end : end + 1]
        if behind and behind in " \n\t\r_+|-" and end - start < 10 and _ROADISH.search(low, end, end + 60):
            return True
        if low.startswith(_OLD, start) and _OLD_DATE.search(low, max(0, start - 20), end):
            return True
    return any(hint in low for hint in _HINTS)


_SHORT_DATE = re.compile(r"[01]?\d[/-][0-3]?\d[/-]\d\d(?!\d)")
_OLD = ("19", "200", "2010")
_OLD_DATE = re.compile(r"(?:[a-zéû]{3}\.?,? |[a-z]{3}-|\d[/-])(?:19\d\d|200\d|2010)(?!\d)|(?:19\d\d|200\d|2010)[/-]\d")
_AT_MARKS = ("at]", "at)", "at}", "AT]", "AT)", "@]", " dot ", " DOT ", " AT ", " arroba ")


def in_text(text: str, field: str, spared: Collection[Observable | str] = ()) -> list[Finding]:
    """Personal data in one text. The last name in `field` counts as a word in front of it."""
    if not _suspicious(text):
        return []
    return _search(text, field, spared)


def _search(text: str, field: str, spared: Collection[Observable | str]) -> list[Finding]:
    plain = f"{_label(field)}: {legible.legible(text)}"
    low = plain.lower()
    if len(low) != len(plain):  # a few capitals of other scripts grow
        plain = low
    values = [str(one.value if isinstance(one, Observable) else one).casefold() for one in spared]
    taken: list[tuple[int, int]] = []
    found: dict[Finding, None] = {}
    # As in names of files and rows of lists.
    words, low = plain.translate(_BLANKS), low.translate(_BLANKS)
    for kind, rule in _RULES.items():
        count = 0
        for start, end in rule(plain if kind == "private-email" else words, low):
            if count == _MAX_FINDINGS:
                break
            if any(start < until and begin < end for begin, until in taken) or _own(plain[start:end], kind, values):
                continue
            count += 1
            taken.append((start, end))
            found[Finding(kind, field, mask(plain[start:end]))] = None
    return list(found)


def mask(text: str) -> str:
    """The value as a hold may show it: its first and last characters, in long ones, and its shape."""
    text = " ".join(text.split())
    count = sum(char.isalnum() for char in text)
    kept, seen, shown = 2 if count > 8 else 1 if count > 4 else 0, 0, []
    for char in text[:60]:
        seen += char.isalnum()
        open_here = not char.isalnum() or (kept and seen == 1) or seen > count - kept
        shown.append(char if open_here else "*")
    return "".join(shown)


def _own(text: str, kind: str, values: list[str]) -> bool:
    """Is it, or is it part of, a value that is spared?"""
    low = AT.sub("@", DOT.sub(".", text.casefold()))
    if any(low in value for value in values):
        return True
    digits = re.sub(r"\D", "", text)[-10:]
    return kind == "phone" and any(digits in re.sub(r"\D", "", value) for value in values if len(value) < 40)


@lru_cache(maxsize=256)
def _label(field: str) -> str:
    name = re.sub(r"\.?\[[\d*]+\]", "", field).rpartition(".")[2]
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removeprefix("x_")).replace("_", " ").replace("-", " ")


_BLANKS = dict.fromkeys(map(ord, "_|^"), " ")
_RULES: dict[str, Callable[[str, str], Iterator[tuple[int, int]]]] = {
    "drivers-license": records.licenses,
    "ssn": records.ssns,
    "voter-id": records.voter_ids,
    "birth-date": records.birth_dates,
    "private-email": contacts.mails,
    "phone": contacts.phones,
    "home-address": contacts.addresses,
}
