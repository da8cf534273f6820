"""Personal and voter data in free text: it must never be stored or passed on, so a person looks before it is.

What is text: every string of an object, in properties that STIX knows and in those it does not, but for what only a
machine reads (`_MACHINE`: ids, times, hashes, addresses, the values of observables). Of a STIX pattern the values that
people write (`email-message:subject`, `process:command_line`) are text, observables are not; patterns of other
languages are not read. Whole numbers of unknown properties are text too, and the property's own name counts as a word
in front of it (`x_voter_id`).

How it is found: a shape made of digits or an «@», then what stands around it. Words that say what a number is
(«DOB», «lives at») make shapes count that mean nothing alone; words of an office («Board of Elections: 614 …») or a
role («elections@») spare what is published. Everything is pure, and linear in the length of the text: each rule looks at
a bounded piece around a candidate.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import phonenumbers

from isac.policy import names
from isac.stix.observables import AT, DOT, ZERO_WIDTH, Observable

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
    """type spec_version id created modified valid_from valid_until first_seen last_seen first_observed last_observed
    published start_time stop_time pattern_type pattern_version indicator_types report_types malware_types tool_types
    threat_actor_types infrastructure_types kill_chain_phases granular_markings lang hashes extension_types confidence
    number_observed count revoked defanged is_family is_multipart is_active identity_class tlp url schema payload_bin
    mime_type encryption_algorithm size ctime mtime atime created_time is_hidden pid start end src_port dst_port
    src_byte_count dst_byte_count src_packets dst_packets protocols number serial_number signature_algorithm
    subject_public_key_algorithm subject_public_key_modulus subject_public_key_exponent validity_not_before
    validity_not_after x509_v3_extensions latitude longitude precision country region result cwd modified_time date
    account_created account_expires credential_last_changed account_first_login account_last_login cpe swid
    implementation_languages architecture_execution_envs magic_number_hex decryption_key relationship_type""".split()
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
            if str(body.get("pattern_type")).startswith("stix") and not _PLAIN_PATTERN.fullmatch(str(value)):
                _in_pattern(str(value), spared, found)
        elif type(value) is str:
            if _suspicious(value) and not (key == "value" and body.get("type") in _VALUES):
                found += in_text(value, key, spared)
        elif value and not key.endswith(("_ref", "_refs")):
            _walk(value, key, spared, found)
    return found


def _walk(value: Any, path: str, spared: Collection[Observable | str], found: list[Finding]) -> None:
    if isinstance(value, str):
        if _suspicious(value):
            found += in_text(value, path, spared)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key not in _MACHINE and not key.endswith(("_ref", "_refs")):
                _walk(inner, f"{path}.{key}", spared, found)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            _walk(inner, f"{path}.[{place}]", spared, found)
    elif type(value) is int and value > 9999:
        found += in_text(str(value), path, spared)


def _in_pattern(text: str, spared: Collection[Observable | str], found: list[Finding]) -> None:
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
# Five digits with little between them, or a number and a word: what each rule begins with, but for mail.
_NUMBERS = re.compile(r"@|＠|\d(?:[\s().*/+\u2010-\u2015-]{0,3}\d){3}|\d{1,2}[^\d\s]{0,5}\s+[^\W\d]|\d[\d\W]{4,}\d")
_MASKED_AT = re.compile(r"[\[({]\s?(?:at|@)\s?[\])}]|\s(?:at|AT)\s[^\s]{2,40}\s(?:dot|DOT)\s")


def _suspicious(text: str) -> bool:
    """The cheap question first: nearly all text has nothing that any rule begins with."""
    if _SEED.search(text):
        return True
    return ("at" in text or "AT" in text) and _MASKED_AT.search(text) is not None


def in_text(text: str, field: str, spared: Collection[Observable | str] = ()) -> list[Finding]:
    """Personal data in one text. The last name in `field` counts as a word in front of it."""
    if not _suspicious(text):
        return []
    plain = f"{_label(field)}: {_plain(text)}"
    low = plain.lower()
    if len(low) != len(plain):  # a few capitals of other scripts grow
        plain = low
    values = [str(one.value if isinstance(one, Observable) else one).casefold() for one in spared]
    taken: list[tuple[int, int]] = []
    found: dict[Finding, None] = {}
    for kind, rule in _RULES.items():
        count = 0
        for start, end in rule(plain, low):
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


_TABLE = ZERO_WIDTH | dict.fromkeys(map(ord, "‐‑‒–—―−﹣－"), "-") | dict.fromkeys(map(ord, "’‘ʼ`´"), "'")
# Lines as they are quoted, drawn as tables and broken by markup.
_LINE = re.compile(r"(?:\r?\n|\r|\\n|<br ?/?>)[\s>|*#]*")
_HYPHENATED = re.compile(r"(?<=[a-z])-\n(?=[a-z])")


def _plain(text: str) -> str:
    """The same with one kind of blank, dash and digit; a line's end is a line feed, of a word broken there nothing."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_TABLE)).translate(_TABLE)
    if "\n" in text or "\r" in text or "\\n" in text or "<" in text:
        text = _HYPHENATED.sub("", _LINE.sub("\n", text))
        text = "\n".join([" ".join(line.split()) for line in text.split("\n")])
    else:
        text = " ".join(text.split())
    return text.replace("**", "").replace("__", "") if "**" in text or "__" in text else text


# --- words around -----------------------------------------------------------------------------------

_OFFICE_WORDS = r"""(?:board\sof\s(?:elections?|registrars?|supervisors|canvassers)|elections?\s(?:office|board|department
|division|commission|officials?|administrator|director|supervisor|center|line|help|protection|bureau|services|hq
|headquarters|warehouse|worker\sline)|supervisor\sof\selections?|registrars?(?:'s)?(?:\soffice|\sof\svoters)?\b
|(?:county|city|town|municipal|village|township|court|deputy)\s(?:clerk|auditor|recorder|registrar|hall|building|office
|courthouse|administration|government)|clerk(?:'s)?\soffice|clerk(?:-|\s)recorder|auditor(?:'s)?\soffice|court\s?house
|secretary\sof\sstate|attorney\sgeneral|sheriff|police\s(?:department|station)|(?:city|town|village)\shall
|county\s(?:office|annex|center)|government\scenter|state\s(?:house|capitol|office)|capitol|annex|polling\s(?:place
|location|station|site)|vote\scent(?:er|re)|voting\s(?:location|site|cent(?:er|re))|drop\s?box|ballot\s(?:drop|box)
|early\svoting|precinct|elementary|middle\sschool|high\sschool|library|church|community\scenter|recreation\scenter
|fire\s(?:station|house|department)|senior\scenter|hot\s?line|help\s?(?:line|desk)|service\sdesk|switchboard|front\sdesk
|press\soffice|media\s(?:contact|office|relations)|(?:tip|info(?:rmation)?|toll[\s-]?free|public|office|main|general
|central|customer\s\w+|support|service|published)\s(?:line|number|phone|hours)|tech(?:nical)?\ssupport|customer\s
(?:service|care|support)|cisa|ms-isac|ei-isac|isac|fbi|field\soffice|homeland|department\sof|dept\.?\sof|bureau\sof
|offices?\b|headquarters|hq|warehouse|campus|university|college|hospital|bank|inc\b|llc|corp(?:oration)?\b|ltd|gmbh
|company|vendor|data\scenter|hosting|security\soperations|soc\b|noc\b|abuse|whois|voter\s(?:services|hotline
|registration\soffice|information|assistance|help|protection)|republican\sparty|democratic\sparty|oficina|junta|condado)"""
_OFFICE = re.compile(re.sub(r"\n", "", rf"\b{_OFFICE_WORDS}"), re.I)
_PERSON = re.compile(
    r"\b(?:voters?(?!\s(?:services|hotline|registration|information|info|assistance|help|protection|guide|outreach))"
    r"|callers?|cell(?:ular|phone)?|mobile|móvil|celular|home(?!\s?page|land)|casa|domicilio|personal|private|his|her|their"
    r"|mother|father|husband|wife|spouse|son|daughter|neighbor|residen[ct]\w*|resid\w+|lives?|living|complain\w*|victim"
    r"|citizen|poll\s?worker|election\sjudge|volunteer|constituent|elector|registrant|applicant|sra?\.|mrs?\b|ms\.|whatsapp"
    r"|votante|vive)\b",
    re.I,
)


def _published(text: str, start: int, end: int) -> bool:
    """Does an office stand beside it, and nothing that speaks of a private person?"""
    before, after = text[max(0, start - 90) : start], text[end : end + 45]
    # Only what is in the same sentence counts, and in front only what stands nearest.
    before = re.split(r"(?<=\w{3})[.;!?]\s|\n\n", before)[-1]
    after = re.split(r"[.;!?]\s|\n\n", after)[0]
    offices = [one for one in _OFFICE.finditer(before)]
    if offices:
        people = [one for one in _PERSON.finditer(before)]
        gap = before[offices[-1].end() :]
        if re.search(r"\b(?:from|by|de)\b", gap, re.I):
            return False
        return not people or people[-1].start() < offices[-1].start() - 40
    office = _OFFICE.search(after)
    if office and not _PERSON.search(before) and not _PERSON.search(after[: office.start()]):
        gap = after[: office.start()]
        return not re.search(
            r"\b(?:called|calls|phoned|contacted|rang|complained|told|wrote|visited|emailed)\b", gap, re.I
        )
    return False


_DATE_WORD = re.compile(r"\d{4}-\d\d-\d\d|\d{1,2}-\d{1,2}-\d{2,4}")
_NO_NUMBER = re.compile(
    r"(?:CVE|CWE|KB|AS|APT|RFC|UNC|TA|MS|UTC|GMT|HTTP|PID|TLP|FIN|DEV|SHA|MD|ZIP|HB|SB)[- ]?\d", re.I
)
_COUNTED = re.compile(
    r"\s(?:\w+\s)?(?:records?|voters?|rows|people|persons|entries|accounts|lines|numbers|users|files|times)\b", re.I
)
_WORDS = re.compile(r"[A-Za-z0-9*]+(?:-[A-Za-z0-9*]+)*")


def _numbers_in(text: str, offset: int) -> Iterator[tuple[int, int, str]]:
    """Numbers with letters of a short text, as (start, end, squeezed): the longest that blanks and dashes may join."""
    words = [word for word in _WORDS.finditer(text) if not _DATE_WORD.fullmatch(word[0])]
    for place, word in enumerate(words):
        here = word.start()
        if not any(char.isdigit() for char in word[0]) and not (
            len(word[0]) <= 3 and word[0].isupper() and re.match(r"[ -]\d", text[word.end() : word.end() + 2])
        ):
            continue
        if (here and text[here - 1] in ",./@$%:" and text[max(0, here - 2) : here - 1].isdigit()) or _NO_NUMBER.match(
            text, here
        ):
            continue
        for last in range(min(place + 6, len(words)) - 1, place - 1, -1):
            until = words[last].end()
            joined = text[here:until]
            if last > place and (not re.fullmatch(r"[A-Z0-9 *\n-]+", joined)):
                continue
            if re.match(r"[./@%:]\w|,\d", text[until : until + 2]) or _COUNTED.match(text, until):
                continue
            yield offset + here, offset + until, re.sub(r"[\s-]", "", joined).upper()


def _after_words(
    text: str, words: re.Pattern[str], fits: Callable[[str, str], bool], reach: int
) -> Iterator[tuple[int, int]]:
    """Numbers that fit, the first after each place where the words stand, or just before it («…, his voter ID»)."""
    done = 0
    for word in words.finditer(text):
        at = word.end()
        window = text[at : at + reach]
        window = re.split(r"(?<=\w{4})[.;!?]\s(?=[A-ZÀ-Ý])", window)[0]
        around = text[max(0, word.start() - 30) : at + 60]
        for start, end, number in _numbers_in(window, at):
            if start >= done and fits(number, around):
                done = end
                yield start, end
                break
        else:
            if word[0].endswith(("s", "S")):
                continue  # of many, how many
            before = max(0, word.start() - 45, done)
            for start, end, number in _numbers_in(text[before : word.start()], before):
                gap = text[end : word.start()]
                if _SAYS_WHAT.fullmatch(gap) and fits(number, around):
                    done = max(done, end)
                    yield start, end
                    break


_SAYS_WHAT = re.compile(
    r"[\s,)]{0,2}(?:\(|\[|is|was|as|=|being|-|:|es)?\s?(?:(?:her|his|their|the|my|a|an|our|su|el|la|state|county|valid|[A-Z]\w+)\s){0,3}"
    r"[\s(\[]?"
)

# --- Social Security numbers ------------------------------------------------------------------------

_SSN_WORD = r"(?:ssns?|s\.s\.n\.?|ss\s?(?:#|no\b|num\w*)|soc(?:ial|\.)?\s?sec(?:urity|\.)?|social(?=\W{0,3}(?:is|number|no|#|:|was|\d))|itin|tin\b|tax(?:payer)?\s?id\w*|seguro\ssocial|nss|ssno?)"
_SSN_BARE = re.compile(rf"(?<![a-z]){_SSN_WORD}\D{{0,40}}?(?<![\d.])(\d(?:[-. \n/]{{0,3}}\d){{8}})(?![\d-])", re.I)
_SSN_SAID = re.compile(
    rf"(?<!\w)(\d(?:[-. \n]{{0,3}}\d){{8}})\W{{0,3}}(?:(?:is|was|as|as an|es)\s)?(?:(?:her|his|their|the|my|a|an|su)\s)?{_SSN_WORD}",
    re.I,
)
_SSN_LAST = re.compile(
    rf"(?<![a-z])(?:{_SSN_WORD}\D{{0,25}}(?:last\s?(?:four|4)|final\s(?:four|4)|end(?:ing|s)|últimos)(?:\s?(?:digits|of))?\D{{0,20}}?"
    rf"|(?:last\s?(?:four|4)|final\s(?:four|4)|últimos\s(?:cuatro|4))\D{{0,25}}{_SSN_WORD}\D{{0,20}}?|ssn4\W{{0,3}}"
    rf"|{_SSN_WORD}\W{{0,3}}[x*#•]{{3}}\W?[x*#•]{{2}}\W?)(?<!\d)(\d{{4}})(?!\d)",
    re.I,
)
_SSN_SHAPE = re.compile(r"\d{3}(?:(\s?[-./]\s?)|\s)\d{2}(?:\s?[-./]\s?|\s)\d{4}(?![\w@]|[-./]\d)")
_SSN_HINTS = ("ssn", "soc", "ss", "s.s.n", "itin", "tax", "tin", "seguro", "nss")


def _ssns(text: str, low: str) -> Iterator[tuple[int, int]]:
    for one in _SSN_SHAPE.finditer(text):
        start, end = one.span()
        before = text[max(0, start - 12) : start]
        if re.search(r"[A-Za-z0-9]\Z|\d[-./,]\Z|[$€£]\Z", before) and not re.search(r"(?:ssn|ss)\Z", before, re.I):
            continue
        dashes = "-" in one[0]
        if not dashes and (
            re.search(r"v|ver\.?\s|version\s|build\s|\d\s\Z", before, re.I)
            or re.match(r"\s\d|[\s,]?%", text[end : end + 2])
        ):
            continue
        if _in_url(text, start) and not re.search(r"ss|soc", before, re.I):
            continue
        yield start, end
    if any(hint in low for hint in _SSN_HINTS):
        for pattern in (_SSN_BARE, _SSN_SAID, _SSN_LAST):
            for one in pattern.finditer(text):
                yield one.span(1)
    # A row of a list of people: nine digits between a name and a date.
    for one in _NINE.finditer(text):
        if names.ends_with_name(text[max(0, one.start() - 40) : one.start()]) and _DATE.search(
            text[one.end() : one.end() + 16]
        ):
            yield one.span(1)


_NINE = re.compile(r"[,;|]\s?(\d{9})(?=\s?[,;|])")


def _in_url(text: str, at: int) -> bool:
    piece = text[max(0, at - 200) : at].rpartition(" ")[2].rpartition("\n")[2]
    return "://" in piece or "www." in piece or ("/" in piece and "." in piece)


# --- voter ids --------------------------------------------------------------------------------------

_NUMBER_WORD = r"(?:i\.?d\.?s?\b|identification|identifier|number|num(?:ber)?\b|nos?\b\.?|nbr|#|card|record|file\s?(?:#|no|num\w*|id)|key\b|certificate)"
_VOTER = re.compile(
    rf"(?<![a-z])(?:(?:voters?'?s?'?|registrants?'?s?|electors?'?s?'?|electoral|elections?)[\s_-]{{0,3}}(?:(?:unique|state|county|statewide|reg\w*\.?|record|roll|file|card|history|affidavit|sos|vr)"
    rf"[\s_-]{{1,3}}){{0,3}}{_NUMBER_WORD}|(?:voter|registrant|elector)'?s?[\s_-]?(?:reg\w*\.?|record|file|roll)\s?(?=[:#]?\s?[A-Z]{{0,4}}[ -]?\d)"
    rf"|(?:state|county|sos)[\s_-]?(?:voter)?[\s_-]?voter[\s_-]?id|sos[\s_-]?id|\bv(?:u|r|tr|s|oter)[\s_-]?id\b|\bv\.?r\.?\s?(?:#|no|num\w*)|\bvuid\b|\bvrn\b|\bsvid\b|\bvid\b(?=\W{{0,3}}\d)|\bncid\b|\bcvid\b|\bvan\sid"
    rf"|registration\s{_NUMBER_WORD}(?=.{{0,40}}\bvot|\W{{0,4}}[A-Z]{{0,3}}\d)|reg(?:istration|\.)?\s?(?:#|no\b|num\w*)(?=.{{0,60}}\bvot)"
    rf"|(?:n[úu]mero|núm|no\.?|id(?:entificaci[óo]n)?|tarjeta|registro|credencial|clave)\s(?:\w+\s){{0,3}}(?:votante|elector(?:al)?))",
    re.I,
)
_VOTER_SHAPE = re.compile(r"[A-Z]{0,4}\d{5,14}[A-Z]{0,3}|[A-Z]{1,4}\d[A-Z0-9]{4,10}|\d{2,6}[A-Z]{1,3}\d{3,8}")
_VOTER_HINTS = (
    "vot",
    "elector",
    "registra",
    "vuid",
    "vrn",
    "vrid",
    "sos",
    "ncid",
    "cvid",
    "svid",
    "vid",
    "reg",
    "v.r",
    "vr",
)


def _voter_ids(text: str, low: str) -> Iterator[tuple[int, int]]:
    if any(hint in low for hint in _VOTER_HINTS):
        yield from _after_words(text, _VOTER, _fits_voter, 60)


def _fits_voter(number: str, around: str) -> bool:
    return _VOTER_SHAPE.fullmatch(number) is not None and sum(char.isdigit() for char in number) >= 4


# --- driver's licenses ------------------------------------------------------------------------------

#: Shapes by State, written without blanks and dashes.
_LICENSES = {
    code: re.compile(shapes.replace("A", "[A-Z]").replace("#", r"\d").replace("?", r"[A-Z\d*]"))
    for code, shapes in (
        row.split()
        for row in r"""AL #{7,8}
AK #{5,7}
AZ A#{8}|#{9}
AR #{4,9}
CA A#{7}
CO #{9}|A#{3,6}|AA#{2,5}
CT #{9}
DE #{5,7}
DC #{7}|#{9}
FL A#{12}
GA #{7,9}
HI A#{8}|#{9}
ID AA#{6}A|#{9}
IL A#{11,12}|#{11}A
IN A#{9}|#{9,10}
IA #{9}|#{3}AA#{4}
KS A#A#A|A#{8}|#{9}
KY A#{8,9}|#{9}
LA #{7,9}
ME #{7}A?|#{8}
MD A#{12}
MA A#{8}|AA#{7}|#{9}
MI A#{10}|A#{12}
MN A#{12}
MS #{9}
MO A#{5,9}|A#{6}R|#{8}AA|#{9}A?|#{3}A#{6}
MT A#{8}|#{9}|#{13,14}
NE A#{6,8}
NV #{9,10}|#{12}|X#{8}
NH #{2}AAA#{5}|NHL#{8}
NJ A#{14}
NM #{8,9}
NY A#{7}|A#{18}|#{8,9}|#{16}
NC #{5,12}
ND AAA#{6}|#{9}
OH A#{4,8}|AA#{3,7}|#{8}
OK A#{9}|#{9}
OR #{5,9}|A#{6}
PA #{8}
RI #{7,8}|A#{6}
SC #{5,11}
SD #{6,10}|#{12}
TN #{7,9}
TX #{7,8}
UT #{4,10}
VT #{8}|#{7}A
VA A#{8,11}|#{9}
WA WDL?{9}|?{7}#{3}?{2}
WV #{7}|AA?#{5,6}
WI A#{13}
WY #{9,10}
PR #{5,7}""".splitlines()
    )
}
_STATE_NAMES = dict(
    zip(
        _LICENSES,
        """Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|District of Columbia|Florida|Georgia|Hawaii|Idaho|Illinois|Indiana|Iowa|Kansas|Kentucky|Louisiana|Maine|Maryland|Massachusetts|Michigan|Minnesota|Mississippi|Missouri|Montana|Nebraska|Nevada|New Hampshire|New Jersey|New Mexico|New York|North Carolina|North Dakota|Ohio|Oklahoma|Oregon|Pennsylvania|Rhode Island|South Carolina|South Dakota|Tennessee|Texas|Utah|Vermont|Virginia|Washington|West Virginia|Wisconsin|Wyoming|Puerto Rico""".split(
            "|"
        ),
        strict=True,
    )
)
_DL_STRONG = re.compile(
    r"(?<![a-z])(?:driver\W{0,2}s?\W{0,2}\s?(?:licen[sc]e?s?\b|lic\b\.?|id\b|permit)|driving\s(?:licen[sc]e|permit)|operator\W{0,2}s?\W?\s?(?:licen[sc]e|lic\b|permit|id\b)"
    r"|learner\W{0,2}s?\W?\s?permit|licencia(?:\sde\s(?:conducir|manejo|conductor|chofer))?|commercial\s(?:driver|licen)|chauffeur\W{0,2}s?\slicen[sc]e"
    r"|(?:state|photo|bmv|dmv|dps|mvd|dot|non-?\s?driver'?s?|real|walker)[\s-](?:issued\s)?(?:photo\s)?id(?:entification)?(?:\scard)?\b"
    r"|\bid(?:entification|entity)?\scard|driver_?s?_?lic\w*|\bcdl\b|\bdln\b|\boln\b|\bo\.l\.n\.?|\bd\.l\.|\bdl\s?/\s?id\b|\bd/l\b)(?!\s?plates?)",
    re.I,
)
_DL_DIRECT = re.compile(
    r"(?<![A-Za-z./-])(?:DL|dl(?=\s?(?:#|:|no\b|num))|Dl(?=\s?(?:#|:))|OL|DLID)\b(?!\.\w)|(?<![a-z])(?i:lic(?:en[cs]e)?\b\.?\s?(?:no\b\.?|num(?:ber)?\b|nbr|#|id\b|:))"
)
_DL_GAP = re.compile(r"\W{0,4}(?:(?:is|no|num|number|nbr|id|was|card)\b\W{0,3}){0,2}(?:[A-Z]{2}\W{1,3})?", re.I)
_NO_LICENSE = re.compile(
    r"software|product|server|windows|office|serial|activation|vendor|plate|business|liquor|medical|nurs|notary|contractor|bar\b|cobalt|beacon|plugin|license\skey|spdx|open.?source",
    re.I,
)
_DL_HINTS = (
    "driv",
    "licen",
    "lic",
    "permit",
    "dl",
    "oln",
    "d.l",
    "d/l",
    "id card",
    "photo id",
    "state id",
    "state-issued",
    "identification",
    "identity card",
    "non-driver",
    "ol ",
    "bmv",
    "dmv",
    "dps",
    "o.l.n",
    " id",
)


def _licenses(text: str, low: str) -> Iterator[tuple[int, int]]:
    if not any(hint in low for hint in _DL_HINTS):
        return
    yield from _after_words(text, _DL_STRONG, _fits_license, 60)
    for word in _DL_DIRECT.finditer(text):
        at = word.end()
        if _NO_LICENSE.search(text, max(0, word.start() - 40), at + 20):
            continue
        gap = _DL_GAP.match(text, at)
        around = text[max(0, word.start() - 30) : at + 60]
        reach = text[at : at + 40]
        for start, end, number in _numbers_in(reach, at):
            if gap and start <= gap.end() + 1 and _fits_license(number, around):
                yield start, end
                break
        else:
            before = max(0, word.start() - 30)
            for start, end, number in _numbers_in(text[before : word.start()], before):
                if _SAYS_WHAT.fullmatch(text[end : word.start()]) and _fits_license(number, around):
                    yield start, end
                    break


def _fits_license(number: str, around: str) -> bool:
    fitting = [code for code, shape in _LICENSES.items() if shape.fullmatch(number)]
    if not fitting or _NO_LICENSE.search(around):
        return False
    if len(number) >= 7:
        return True
    # Short ones only where their State is named.
    return any(re.search(rf"\b(?:{code}|{_STATE_NAMES[code]})\b", around) for code in fitting) or len(number) == 6


# --- dates of birth ---------------------------------------------------------------------------------

_MONTH = r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre)"
_YEAR = r"(?:(?:19|20)\d\d|'?\d\d)"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_DATE = re.compile(
    rf"(?<![\w./-])(?:{_DAY}\s?[/.-]\s?{_DAY}\s?[/.-]\s?(?P<a>{_YEAR})|(?P<b>(?:19|20)\d\d)\s?[/.-]\s?{_DAY}\s?[/.-]\s?{_DAY}"
    rf"|{_DAY}(?:st|nd|rd|th)?[\s-]{{0,2}}(?:of\s|de\s)?{_MONTH}\.?,?[\s-]{{0,2}}(?:de(?:l)?\s)?(?P<c>{_YEAR})"
    rf"|{_MONTH}\.?[\s-]{{0,2}}{_DAY}(?:st|nd|rd|th)?,?[\s-]{{1,2}}(?P<d>{_YEAR}))(?![\w/-]|\.\d|:\d)",
    re.I,
)
_EIGHT = re.compile(r"(?<!\w)(?:(?:19|20)\d\d[01]\d[0-3]\d|[01]\d[0-3]\d(?:19|20)\d\d)(?!\w)")
_BIRTH = re.compile(
    r"(?<![a-z])(?:d\.?\s?o\.?\s?b\b|date[\s_]of[\s_]birth|birth[\s_-]?(?:date|day)?s?\b|b-?day|born|fecha\sde\snac\w*|nacid[oa]|naci[óo]|nacimiento|f\.?\s?nac|b\.(?=\s?(?:\d|\Z))|d\.b\b)",
    re.I,
)
# Who was born later does not vote yet; dates of the trade are younger.
_LAST_BIRTH = 2010


def _birth_dates(text: str, low: str) -> Iterator[tuple[int, int]]:
    said = any(hint in low for hint in ("birth", "dob", "d.o", "d. o", "d o b", "born", "day", "nac", "b.", "d.b"))
    if said:
        for one in _EIGHT.finditer(text):
            if _BIRTH.search(text, max(0, one.start() - 25), one.start()):
                yield one.span()
    for one in _DATE.finditer(text):
        start, end = one.span()
        year = (one["a"] or one["b"] or one["c"] or one["d"]).lstrip("'")
        if said and _said_birth(text, start, end, year):
            yield start, end
        elif (len(year) == 4 and int(year) <= _LAST_BIRTH) or (len(year) == 2 and not 11 <= int(year) <= 39):
            if names.ends_with_name(text[max(0, start - 60) : start]) or names.begins_with_name(text[end : end + 50]):
                yield start, end


def _said_birth(text: str, start: int, end: int, year: str) -> bool:
    before = text[max(0, start - 45) : start]
    words = list(_BIRTH.finditer(before))
    # Of several dates the nearest to the word is meant.
    if (
        words
        and not _DATE.search(before, words[-1].end())
        and not re.search(r"[.!?]\s[A-Z]", before[words[-1].end() :])
    ):
        return words[-1][0].lower() != "born" or len(year) == 2 or int(year) <= _LAST_BIRTH
    after = text[end : end + 30]
    word = _BIRTH.search(after)
    return word is not None and _SAYS_WHAT.fullmatch(after[: word.start()]) is not None


# --- telephone numbers ------------------------------------------------------------------------------

_PHONE = re.compile(
    r"(?:(?<![\w.])(?:\+?1[-. \n]{0,2})?(?:\((?:[2-9]\d{2})\)\s?[-. \n]?|(?<![\w./])[2-9]\d{2}\s?[-. \n/]\s?)[2-9]\d{2}\s?[-. \n]?\s?\d{4}(?!\w|[-./:]\d)"
    r"|(?<![\w.-])555[-. ]01\d\d(?!\w|[-.]\d))"
)
_TEN = re.compile(
    r"(?<![\w./=-])(?:\+?1)?([2-9]\d{2}[2-9]\d{6}|[2-9]\d{2}[-.][2-9]\d{6}|[2-9]\d{2}[-.][2-9]\d{2}\d{4}|[2-9]\d{2}[-. ]\d{4})(?!\w|[-./]\d)"
)
_ABROAD = re.compile(r"(?<![\w+])(?:\+|00|011[ -])[1-9](?:[\s().-]{0,3}\d){7,14}(?![\w])")
_TELEPHONE = re.compile(
    r"(?<![a-z])(?:tele?phones?|phones?|tel\b|ph\b|cell(?:phone|ular)?|mobile|mob\b|call(?:ed|er|s|ing|back)?|text(?:ed|s|ing)?|sms|fax|whats\s?app|signal|dial\w*|contact\w*|reach\w*|landline|home\s(?:number|no)|tel[ée]fono|celular|m[óo]vil|llam\w+|vishing|voicemail|c:|h:|m:|p:|t:)",
    re.I,
)


def _phones(text: str, low: str) -> Iterator[tuple[int, int]]:
    for one in _PHONE.finditer(text):
        start, end = one.span()
        digits = re.sub(r"\D", "", one[0])
        if _toll_free(digits) or _published(text, start, end):
            continue
        before = text[max(0, start - 30) : start]
        said = _TELEPHONE.search(before)
        if _in_url(text, start) and not re.search(r"(?:tel|phone|cell|mobile)\W{0,3}\Z", before, re.I):
            continue
        if (
            not said
            and " " in one[0]
            and "(" not in one[0]
            and (re.search(r"\d[\s,]{1,2}\Z", before) or re.match(r"[\s,]{1,2}\d", text[end : end + 3]))
        ):
            continue
        yield start, end
    for one in _TEN.finditer(text):
        start, end = one.span()
        if _TELEPHONE.search(text, max(0, start - 30), start) and not _toll_free(one[1]):
            if not _in_url(text, start) and not _published(text, start, end) and not _COUNTED.match(text, end):
                yield start, end
    if "+" in text or "00" in text or "011" in text:
        for one in _ABROAD.finditer(text):
            if one[0][0] != "+" and not _TELEPHONE.search(text, max(0, one.start() - 30), one.start()):
                continue
            if _dialed(one[0]) and not _published(text, *one.span()):
                yield one.span()


def _toll_free(digits: str) -> bool:
    return (
        digits.removeprefix("1")[:3] in {"800", "822", "833", "844", "855", "866", "877", "888"} and len(digits) >= 10
    )


def _dialed(text: str) -> bool:
    """Is it a number that somewhere in the world could ring, and is not free of charge?"""
    digits = re.sub(r"\A(?:00|011)|\D", "", text)
    try:
        number = phonenumbers.parse(f"+{digits}")
    except phonenumbers.NumberParseException:
        return False
    if not phonenumbers.is_possible_number(number):
        return False
    kind = phonenumbers.number_type(number)
    return kind not in (phonenumbers.PhoneNumberType.TOLL_FREE, phonenumbers.PhoneNumberType.PREMIUM_RATE)


# --- mail -------------------------------------------------------------------------------------------

_MAIL = re.compile(
    r"(?<![\w.%+/=-])([a-z0-9][\w.%+'-]{0,63})\s?@\s?((?:[a-z0-9-]{1,63}\s?\.\n?){1,4}[a-z]{2,20})(?![\w@])", re.I
)
_PROVIDERS = re.compile(
    r"(?:[\w-]+\.)*(?:gmail|googlemail|ya?hoo|ymail|rocketmail|hotmail|outlook|live|msn|passport|icloud|me|mac|aol|aim|proton(?:mail)?|pm|tutanota|tuta(?:mail)?"
    r"|gmx|mail|email|zoho(?:mail)?|yandex|ya|inbox|fastmail|hey|hushmail|comcast|xfinity|verizon|att|sbcglobal|bellsouth|cox|charter|spectrum|rr|roadrunner|earthlink|mindspring"
    r"|juno|netzero|frontier(?:net)?|windstream|centurylink|centurytel|q|optonline|optimum|suddenlink|mediacombb|cableone|embarqmail|ptd|tds|excite|lycos|netscape|web|t-online|freenet"
    r"|orange|wanadoo|free|laposte|libero|virgilio|rediffmail|qq|163|126|sina|foxmail|naver|hanmail|daum|uol|bol|terra|btinternet|ntlworld|sky|talktalk|shaw|rogers|bigpond|mailbox|startmail|mailfence"
    r"|prodigy|wowway|consolidated|rcn|insightbb|wi|\w*(?:freemail|webmail|homemail|family|mail))\.(?:com|net|org|me|ch|de|fr|it|uk|co\.uk|ca|com\.\w\w|co\.\w\w|co|es|mx|ru|in|cn|kr|br|jp|us|edu|io|eu|at|[a-z]{2}|example|test|invalid|example\.(?:com|net|org))",
    re.I,
)
_ROLE = re.compile(
    r"(?:\A|[._+-])(?:info|contact|support|help|desk|abuse|security|secure|elections?|vote|voting|voters?|clerk|webmaster|postmaster|hostmaster|admin\w*|no|not|noreply|reply|donotreply|do|press|media|news\w*"
    r"|sales|billing|invoice|account\w*|service\w*|office|team|staff|jobs|careers?|hr|legal|privacy|registrar|registration|records|soc|cert|csirt|isac|noc|it|tech|ops|alerts?|notif\w*|update\w*|verify|verification"
    r"|mail\w*|mailer|daemon|root|test|demo|user|example|git|public|marketing|customer\w*|care|helpdesk|feedback|orders?|payments?|shipping|delivery|bank|county|city|town|state|board|auditor|recorder|director|hotline|tips?|report\w*|phish\w*|spam|threat\w*|intel|research|ransom\w*|decrypt\w*|recover\w*|restore|unlock\w*|files?|data|backup|hack\w*|crypt\w*|lock\w*|onion|dark\w*|evil|anonymous|paypal|microsoft|apple|google|amazon|facebook|docusign|dropbox|fedex|dhl|ups|usps|irs|covid|who)(?:\Z|[._+\d-])"
    r"|election|clerk|registrar|noreply|helpdesk|support|service|county|votes?\Z|decrypt|ransom|recover|unlock|locker",
    re.I,
)
_PERSONAL_NAME = re.compile(r"([a-z]{2,20})[._-](?:[a-z][._-])?([a-z]{2,20})[._-]?\d{0,4}", re.I)
_INITIAL_NAME = re.compile(r"[a-z][._-][a-z]{3,20}\d{0,4}", re.I)
_HOSTILE = re.compile(
    r"\b(?:senders?|sent\sfrom|spoof\w*|attackers?|actors?|operators?|gang|group|adversary|threat|ransom\w*|malicious|phish\w*|scam\w*|fraud\w*|c2|exfiltrat\w*|registrants?|whois|registered|reply-to|return-path|hacker|extort\w*|decrypt\w*|attribut\w+|from-?address)"
    r"(?:'s)?(?:\W+(?:e-?mails?|address(?:es)?|accounts?|mailbox(?:es)?|contacts?|is|was|are|were|at|to|used|using|uses|by|with|from|via|the|of|for|messages?|and|domains?|drop|note)){0,6}\W{0,4}\Z",
    re.I,
)
_OWNED = re.compile(
    r"\b(?:personal|private|home|voters?'?s?|her|his|their|my|resident'?s?|caller'?s?|citizen'?s?|reach(?:ed)?|victim'?s?|recipients?|complainant'?s?|poll\s?worker'?s?|correo|registrant'?s?|applicant'?s?)\b[^@.;]{0,40}\Z",
    re.I,
)


def _mails(text: str, low: str) -> Iterator[tuple[int, int]]:
    if "@" not in text and not _MASKED_AT.search(text):
        return
    shift: list[tuple[int, int]] = []
    plain = text
    if "@" not in text or "[" in text or "(" in text or "{" in text:
        plain, shift = _unmasked(text)
    for one in _MAIL.finditer(plain):
        local, domain = one[1], re.sub(r"\s", "", one[2])
        start, end = one.span()
        if _ROLE.search(local) or _HOSTILE.search(plain, max(0, start - 80), start):
            continue
        before = plain[max(0, start - 60) : start]
        words = _PERSONAL_NAME.fullmatch(local)
        person = words is not None and names.is_name(words[1].title(), words[2].title())
        if (
            person
            or _INITIAL_NAME.fullmatch(local)
            or _PROVIDERS.fullmatch(domain)
            or _OWNED.search(before)
            or _signed(before, local)
        ):
            yield _original(start, shift), _original(end, shift)


def _signed(before: str, local: str) -> bool:
    """Does the name in front, `Jane Doe <`, stand in the address?"""
    said = re.search(r"([^\W\d_]{2,})[,\s]+(?:[^\W\d_]\.?\s)?([^\W\d_]{2,})[\"',]?\s?[<(\[]?\Z", before)
    return said is not None and is_part(local, said[1], said[2]) and names.is_name(said[1], said[2])


def is_part(local: str, *words: str) -> bool:
    """Does one of the words stand in the local part?"""
    return any(word.lower()[:5] in local.lower() for word in words)


_WORD_DOT = re.compile(r"(?<=\w)\s(?:dot|DOT|punto)\s(?=\w)")
_WORD_AT = re.compile(r"(?<=\w)\s(?:at|AT|arroba)\s(?=[\w-]{2,40}(?:\.|\s(?:dot|DOT|punto)\s)\w)")


def _unmasked(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text with at signs and dots as they are meant, and where that has made it shorter: (place, by how much)."""
    parts, shift, at, size = [], [], 0, 0
    marks = sorted(
        (one.start(), one.end(), char)
        for pattern, char in ((AT, "@"), (DOT, "."), (_WORD_AT, "@"), (_WORD_DOT, "."))
        for one in pattern.finditer(text)
    )
    for start, end, char in marks:
        if start < at:
            continue
        parts += [text[at:start], char]
        size += start - at + 1
        at = end
        shift.append((size, at - size))
    return "".join([*parts, text[at:]]), shift


def _original(place: int, shift: list[tuple[int, int]]) -> int:
    by = 0
    for where, more in shift:
        if where > place:
            break
        by = more
    return place + by


# --- home addresses ---------------------------------------------------------------------------------

_ROAD = r"(?:st(?:reet)?|ave?(?:nue)?|r(?:oa)?d|bl(?:v|oule)?v?(?:ar)?d|la?ne?|pkwy|parkway|hwy|highway|terr?(?:ace)?|cir(?:cle)?|trl|aly|xing|expy|fwy|calle|avenida)"
_ROAD_CAPITAL = r"(?:Dr(?:ive)?|Ct|Court|Way|Pl(?:ace)?|Trail|Loop|Sq(?:uare)?|Pike|Run|Row|Path|Alley|Crossing|Cove|Cv|Pt|Point(?:e)?|Ridge|Rdg|Hill|Bend|Walk|Plaza|Plz|Heights|Hts|Hollow|Holw|Landing|Lndg|Park|Pass|Spur|Station|Terrace|Turnpike|Tpke|View|Vw|Village|Grove|Glen|Green|Meadows?|Manor|Knoll|Estates?|Broadway|DR|CT|WAY|PL|LOOP|TRAIL|RUN|PIKE)"
_STREET = re.compile(
    rf"(?<![\w./:$#-])(?P<no>\d{{1,6}}(?:-\d{{1,4}})?[A-Za-z]?(?:\s1/2)?)[\s]{{1,2}}(?P<name>(?:(?:[NSEWnsew]\.?|[NSns][EWew]\.?|(?i:north|south|east|west))\s)?"
    rf"(?:(?:\d{{1,3}}(?:st|nd|rd|th|ST|ND|RD|TH)|[^\W\d_][\w'’.-]{{0,20}})\s){{1,4}}?)(?P<road>(?i:{_ROAD})|{_ROAD_CAPITAL})\b(?!['’]|-\w|\.\w|/\w)"
)
_ROUTE = re.compile(
    r"(?<![\w./:$#-])\d{1,6}[A-Za-z]?\s(?:(?:[NSEW]\.?|[NS][EW]|North|South|East|West)\s)?(?:(?:old|county|co\.?|state|u\.?s\.?|township|twp\.?|forest|farm[\s-]to[\s-]market|ranch)\s){0,2}"
    r"(?:c\.?r\.?|s\.?r\.?|f\.?m\.?|hwy\.?|highway|route|rte\.?|r(?:oa)?d\.?|us|th)[\s-]\d{1,4}[A-Z]?\b(?![./:])",
    re.I,
)
_RURAL = re.compile(r"(?<![\w])(?:r\.?r\.?|rural\sroute|hc|star\sroute)\s?#?\d{1,3},?\s(?:po\s)?box\s\d{1,6}", re.I)
_BOX = re.compile(
    r"(?<![\w])(?:p\.?\s?o\.?\s?box|post\soffice\sbox|apartado(?:\spostal)?|apdo\.?)\s?#?\s?\d{1,6}", re.I
)
_CALLE = re.compile(
    r"(?<!\w)(?:calle|avenida|av\.|urb\.?|carrera|camino|carr\.)\s(?:[^\W\d_][\w'.-]{0,20}\s?){1,4},?\s?(?:#|n[úu]m\.?|no\.?)?\s?\d{1,5}\b",
    re.I,
)
_RESIDES = re.compile(
    r"\b(?:liv(?:es|ed|ing)\s(?:at|in|on)|resid(?:es|ed|ing)\s(?:at|in|on)|home\saddress|residence|residential\saddress|mailing\saddress|street\saddress|home\sat|house\sat|home\sis|address\s(?:is|of\srecord|on\sfile)|addr(?:ess)?:|domicilio|direcci[óo]n|vive\sen|moved\s(?:to|from)|(?:his|her|their|voter'?s)\saddress)"
    r"[^.;\d]{0,30}\Z",
    re.I,
)
_ANY_HOUSE = re.compile(
    r"(?<![\w./:$#-])\d{1,6}[A-Za-z]?\s(?:[NSEW]\.?\s)?[A-Z][\w'.-]{2,20}(?:\s[A-Z][\w'.-]{2,20}){0,2}(?=,|\n|\Z|\.(?:\s|\Z)|\s(?:in|apt|unit|#)\b)"
)
_TOWN = re.compile(r"[.,]?\s?(?:[^\W\d_][\w'. -]{1,30}),?\s(?:[A-Z]{2}\b|[A-Z][a-z]{3,})\.?,?\s\d{5}(?:-\d{4})?")
_FLAT = re.compile(
    r"[.,]?\s?(?:apt|apartment|unit|lot|trlr|trailer|#|rear|upper|lower|depto|apto)\b\.?\s?#?\s?[\w-]{1,6}|[.,]?\s?#\s?\w{1,5}",
    re.I,
)
_SUITE = re.compile(r"[.,]?\s?(?:suite|ste|floor|fl|room|rm|bldg|building|\d+(?:st|nd|rd|th)\sfloor)\b", re.I)
_NO_STREET = frozenset(
    """the a an of and or in to for with from by on this that is was are were has have had google hard disk usb flash network shared supreme federal district circuit appeals
    appellate criminal high attack access data check easy windows microsoft registry files file domains domain hosts host ips ip new different other more first per days day hours
    hour minutes seconds years year months weeks percent bytes kb mb gb bit bits times users samples million billion which when via only using used as at it its be same search
    known unique total active malicious c2 command case cases version wall entry key keys end one two three fast no all any his her their but not cve process logical mapped external""".split()
)


def _addresses(text: str, low: str) -> Iterator[tuple[int, int]]:
    for one in _STREET.finditer(text):
        start, end = one.span()
        words = re.findall(r"[^\W\d_]{2,}", one["name"].casefold())
        if not _NO_STREET.isdisjoint(words) or re.match(
            r"\s(?:journal|market|address(?!es)|times)\b", text[end : end + 9], re.I
        ):
            continue
        flat = _FLAT.match(text, end)
        town = _TOWN.match(text, flat.end() if flat else end)
        if one["name"].islower() and not (flat or town or one["no"].isdigit() and one["road"].lower() in _CLEAR):
            continue
        if _home(text, start, end, flat):
            yield start, end
    for pattern in (_ROUTE, _RURAL, _CALLE):
        for one in pattern.finditer(text):
            if _home(text, one.start(), one.end(), _FLAT.match(text, one.end())):
                yield one.span()
    if "box" in low or "apartado" in low or "apdo" in low:
        for one in _BOX.finditer(text):
            start, end = one.span()
            around = text[max(0, start - 60) : start]
            if not _published(text, start, end) and (
                names.contains_name(around.replace("\n", " "))
                or _RESIDES.search(around)
                or _PERSON.search(around)
                or names.contains_name(text[end : end + 40])
            ):
                yield start, end
    if any(hint in low for hint in ("liv", "resid", "home", "house", "addr", "direcc", "domicilio", "vive", "moved")):
        for one in _ANY_HOUSE.finditer(text):
            if _RESIDES.search(text, max(0, one.start() - 70), one.start()) and _home(text, *one.span(), None):
                yield one.span()


_CLEAR = frozenset("st street ave avenue rd road blvd boulevard lane ln hwy highway parkway pkwy".split())


def _home(text: str, start: int, end: int, flat: re.Match[str] | None) -> bool:
    before = text[max(0, start - 70) : start]
    if flat or _RESIDES.search(before):
        return True
    return not _SUITE.match(text, end) and not _published(text, start, end)


_RULES: dict[str, Callable[[str, str], Iterator[tuple[int, int]]]] = {
    "ssn": _ssns,
    "voter-id": _voter_ids,
    "drivers-license": _licenses,
    "birth-date": _birth_dates,
    "private-email": _mails,
    "phone": _phones,
    "home-address": _addresses,
}
