"""Numbers and dates under which offices keep a person: Social Security, voter rolls, licenses, birth."""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice

from isac.policy.privacy import names

# --- numbers with words around ----------------------------------------------------------------------

_DATE_WORD = re.compile(r"\d{4}-\d\d-\d\d|\d{1,2}-\d{1,2}-\d{2,4}|(?:19|20)\d\d")
_NO_NUMBER = re.compile(
    r"(?:CVE|CWE|ORA|KB|AS|APT|RFC|UNC|TA|MS|UTC|GMT|HTTP|PID|TLP|FIN|DEV|SHA|MD|ZIP|HB|SB)[- ]?\d"
    r"|(?:tickets?|case|ref\w*|port|build|invoice|order|incident|tkt|form|section)\W{1,3}(?:no\.?\s|#)?\s?\w*\d"
)
# How many there are, not which.
_COUNTED = re.compile(
    r"\s(?:\w+\s)?(?:records?|voters?|rows|people|persons|entries|accounts|lines|numbers|users|files|times|licen[sc]es"
    r"|ids|registrations|votantes|registros)\b",
    re.I,
)
_WORDS = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*")
_SENTENCE = re.compile(r"(?<=\w{4})[.;!?]\s(?=[A-ZÀ-Ý])|\n\n")
#: between a number and the words that say what it is («… is her Ohio …», «… (…»)
_SAYS_WHAT = re.compile(
    r"[\s,)\"'*-]{0,3}(?:\(|\[|is|was|as|are|=|:|being|es|for)?[\s:]?"
    r"(?:(?:her|his|their|the|my|a|an|our|su|el|la|state|county|valid|[A-Z]\w+|[a-z]{2})\s){0,4}[\s(\[]?"
)


_LOOSE = re.compile(r"[^.;\d]{0,40}")


# Nobody writes more; what is left of such a text is a list, and its beginning has told all.
_MOST = 500


def candidates(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """The first places that the pattern names. The bound keeps text that was made to be slow from being so."""
    return islice(pattern.finditer(text), _MOST)


def _numbers_in(text: str, offset: int) -> Iterator[tuple[int, int, str]]:
    """Numbers with letters of a short text, as (start, end, squeezed): the longest that blanks and dashes may join."""
    words = [word for word in _WORDS.finditer(text) if not _DATE_WORD.fullmatch(word[0])]
    for place, word in enumerate(words):
        here = word.start()
        if not any(char.isdigit() for char in word[0]) and not (
            len(word[0]) <= 3 and word[0].isupper() and re.match(r"[ -]\d", text[word.end() : word.end() + 2])
        ):
            continue
        if re.search(r"[\d\w][.,@$%]\Z", text[max(0, here - 2) : here]) or re.search(
            r"(?:ticket|case|ref|port|build|invoice|order|incident|tkt|area code|ssn|security|social)"
            r"\W{0,3}(?:no\.?|#|ID)?\W{0,2}\Z",
            text[max(0, here - 14) : here],
            re.I,
        ):
            continue
        if _NO_NUMBER.match(text, here):
            continue
        for last in range(min(place + 9, len(words)) - 1, place - 1, -1):
            until = words[last].end()
            joined = text[here:until]
            if last > place and not re.fullmatch(r"[A-Z0-9 \n-]+", joined):
                continue
            if re.match(r"[./@%:][A-Za-z\d]|,\d|[ -][xX*]{3}", text[until : until + 4]) or _COUNTED.match(text, until):
                continue
            yield offset + here, offset + until, re.sub(r"[\s-]", "", joined).upper()


def _beside(
    text: str, words: re.Pattern[str], fits: Callable[[str, str], bool], reach: int
) -> Iterator[tuple[int, int]]:
    """Numbers that fit, the first after each place where the words stand, or just before it («…, his voter ID»)."""
    done = 0
    for word in candidates(words, text):
        at = word.end()
        window = _SENTENCE.split(text[at : at + reach])[0]
        around = text[max(0, word.start() - 30) : at + 60]
        for start, end, number in _numbers_in(window, at):
            if start >= done and fits(number, around):
                done = end
                yield start, end
                break
        else:
            if word[0].lower().endswith(("ids", "licenses", "numbers")):
                continue  # of many, how many
            before = max(0, word.start() - 45, done)
            for start, end, number in _numbers_in(text[before : word.start()], before):
                gap = text[end : word.start()]
                says = _SAYS_WHAT.fullmatch(gap) or (not number.isdigit() and _LOOSE.fullmatch(gap))
                if says and "\n\n" not in gap and fits(number, around):
                    done = max(done, end)
                    yield start, end
                    break


def in_url(text: str, at: int) -> bool:
    """Does the place lie in a URL, where numbers are anything?"""
    piece = text[max(0, at - 200) : at].rpartition(" ")[2].rpartition("\n")[2]
    return "://" in piece or "www." in piece


# --- Social Security numbers ------------------------------------------------------------------------

_SSN_WORD = (
    r"(?:ssns?\d?|s\.s\.n\.?|ss\s?(?:#|no\b|num\w*)|soc(?:ial|\.)?\W{0,2}sec(?:urity|\.)?"
    r"|social(?=\W{0,3}(?:is|number|no|\#|:|was|\d))|itin|tin\b|tax(?:payer)?\s?id\w*|seguro\ssocial|nss|ssno?)"
)
_LAST_FOUR = r"(?:last\s?(?:four|4)|final\s(?:four|4)|end(?:ing|s)?\sin|ending|[úu]ltim[oa]s(?:\s(?:cuatro|4))?)"
# Nine digits, however they are cut, after the words or before them.
_SSN_SAID = (
    re.compile(rf"(?<![a-z]){_SSN_WORD}\D{{0,40}}?(?<![\d.])(\d(?:[-. \n/]{{0,3}}\d){{8}})(?![\d-])", re.I),
    re.compile(
        rf"(?<!\w)(\d(?:[-. \n]{{0,3}}\d){{8}})\W{{0,3}}(?:(?:is|was|as|as an|es)\s)?"
        rf"(?:(?:her|his|their|the|my|a|an|su)\s)?{_SSN_WORD}",
        re.I,
    ),
    # Four digits are how voters without a license are known (52 U.S.C. § 21083).
    re.compile(
        rf"(?<![a-z])(?:(?:{_SSN_WORD}|soc(?:ial)?\b)\D{{0,25}}{_LAST_FOUR}(?:\s?(?:digits|of))?\D{{0,20}}?"
        rf"|{_LAST_FOUR}\D{{0,40}}?(?:{_SSN_WORD}|soc(?:ial)?\b)\D{{0,30}}?|ssn4\W{{0,3}}|ssn\W{{0,2}}last\W{{0,2}}4\W{{0,3}}"
        rf")(?<!\d)(\d{{4}})(?!\d)",
        re.I,
    ),
    re.compile(
        rf"(?<!\d)(\d{{4}})\s?[(=,:]\s?(?:(?:her|his|their|the|is)\s){{0,2}}(?:{_SSN_WORD}\s{_LAST_FOUR}"
        rf"|{_LAST_FOUR}\D{{0,25}}(?:{_SSN_WORD}|social))",
        re.I,
    ),
)
_SSN_SHAPE = re.compile(r"\d{3}(?:(\s?[-./]\s?)|\s)\d{2}(?:\s?[-./]\s?|\s)\d{4}(?![\w@]|[-./]\d)")
_SSN_HALF = re.compile(
    r"(?<![\w*])(?:[xX]{3}|\*{3}|\#{3}|•{3})[-. ]?(?:[xX]{2}|\*{2}|\#{2}|•{2})[-. ]?(\d{4})(?!\w)"
    r"|(?<![\w-])(\d{3}-\d\d)-[Xx*•#]{4}"
)
_SSN_HINTS = ("ssn", "soc", "ss#", "ss ", "s.s.n", "itin", "tax", "tin", "seguro", "nss")
_NO_SSN = re.compile(
    r"(?:case|ref\w*|ticket|tkt|invoice|order|part|p/n|serial|model|sku|isbn|docket|v|ver|version|build)\W{0,5}\Z", re.I
)
# A row of a list of people: nine digits after a name.
_NINE = re.compile(r"(?<=[,;:'\" \n])(\d{9})(?![\w.-])")


def ssns(text: str, low: str) -> Iterator[tuple[int, int]]:
    """`text` is legible; the same for all rules."""
    for one in candidates(_SSN_SHAPE, text):
        start, end = one.span()
        before = text[max(0, start - 20) : start]
        if re.search(r"[A-Za-z0-9]\Z|\d[-./,]\Z|[$€£]\Z", before) and not re.search(r"(?:ssn|ss)\Z", before, re.I):
            continue
        if _NO_SSN.search(before) or re.match(r"/[A-Z]", text[end : end + 2]):
            continue
        if "-" not in one[0] and (re.search(r"\d\s\Z", before) or re.match(r"\s\d|[\s,]?%", text[end : end + 2])):
            continue
        if in_url(text, start) and not re.search(r"ss|soc", before, re.I):
            continue
        yield start, end
    if "x" in low or "*" in text or "#" in text or "•" in text:
        for one in candidates(_SSN_HALF, text):
            yield one.span(1 if one[1] else 2)
    if any(hint in low for hint in _SSN_HINTS):
        for pattern in _SSN_SAID:
            for one in candidates(pattern, text):
                yield one.span(1)
    for one in candidates(_NINE, text):
        if names.ends_with_name(text[max(0, one.start() - 40) : one.start()], row=True):
            yield one.span(1)


# --- voter ids --------------------------------------------------------------------------------------

_ID = (
    r"(?:i\.?\s?d\.?s?\b|identification|identifier|number|num(?:ber)?\b|nos?\b\.?|nbr|\#|card|record|cert(?:ificate)?\b"
    r"|file\s?(?:\#|no|num\w*|id)|key\b|affidavit)"
)
_VOTERS = r"(?:voters?'?s?'?|vtr|registrants?'?s?|electors?'?s?'?|electoral|elections?)"
_VOTER = re.compile(
    rf"(?<![a-z])(?:{_VOTERS}[\s:-]{{0,3}}(?:(?:unique|state|county|statewide|reg\w*\.?|record|roll|file|card|history"
    rf"|affidavit|sos|vr|legacy|cert\w*)[\s-]{{1,3}}){{0,3}}{_ID}"
    rf"|{_VOTERS}[\s]?(?:reg\w*\.?|record|file|roll)\s?(?=[:#]?\s?[A-Z]{{0,4}}[ -]?\d)"
    rf"|(?:voter|elector)\s(?=\d{{6,10}}\b)|state\s?unique\s?id|legacy\s?voter\s?\w*"
    r"|\w{0,4}voter[\s-]?id|s\.?o\.?s[\s-]?id|v(?:u|r|t|tr|s)[\s-]?id\b|v\.?r\.?\s?(?:\#|no\b|num\w*)"
    r"|vuid\b|vrn\b|svid\b|vid\b(?=\W{0,3}\d)|ncid\b|cvid\b|cvrs\b|van\sid|sure\sid|sboe\s?id|boe\s?id|reg\s?(?:num|nbr)\b|reg\.?\s?no\b"
    r"|id\s(?:number|no)\b(?=.{0,90}(?:vot|ballot|elector))"
    rf"|(?:registration|affidavit)\s{_ID}(?!\w)|registration\s(?:is\s)?(?=\#?\d)"
    r"|(?:n[úu]mero|núm|no\.?|id(?:entificaci[óo]n)?|tarjeta|registro|credencial|clave)\s(?:\w+\s){0,3}(?:votante\b|elector(?:al)?\b)"
    r"|选民登记号|选民号)",
    re.I,
)
_VOTER_SHAPE = re.compile(r"[A-Z]{0,4}\d{5,18}[A-Z]{0,3}|[A-Z]{1,4}\d[A-Z0-9]{4,10}|\d{2,6}[A-Z]{1,3}\d{3,8}")
_VOTER_HINTS = (
    "vot",
    "vtr",
    "elector",
    "regist",
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
    "sure",
    "boe",
    "affid",
    "unique",
    "ballot",
    "选民",
)
_NO_VOTER = re.compile(
    r"business|company|domain|vehicle|trademark|event|webinar|conference|product|software|copyright", re.I
)


def voter_ids(text: str, low: str) -> Iterator[tuple[int, int]]:
    if any(hint in low for hint in _VOTER_HINTS):
        yield from _beside(text, _VOTER, _fits_voter, 70)


def _fits_voter(number: str, around: str) -> bool:
    fits = _VOTER_SHAPE.fullmatch(number) is not None and sum(char.isdigit() for char in number) >= 5
    return fits and not _NO_VOTER.search(around)


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
        re.findall(
            r"[^|]+",
            "Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|"
            "District of Columbia|Florida|Georgia|Hawaii|Idaho|Illinois|Indiana|Iowa|Kansas|"
            "Kentucky|Louisiana|Maine|Maryland|Massachusetts|Michigan|Minnesota|Mississippi|"
            "Missouri|Montana|Nebraska|Nevada|New Hampshire|New Jersey|New Mexico|New York|"
            "North Carolina|North Dakota|Ohio|Oklahoma|Oregon|Pennsylvania|Rhode Island|"
            "South Carolina|South Dakota|Tennessee|Texas|Utah|Vermont|Virginia|Washington|"
            "West Virginia|Wisconsin|Wyoming|Puerto Rico",
        ),
        strict=True,
    )
)
_ANY_STATE = re.compile(
    rf"(?<![A-Za-z])(?:(?i:{'|'.join(_STATE_NAMES.values())}|tenn|penn|mass|wash|calif|fla|okla|W\.Va)\b|(?:{'|'.join(_LICENSES)})(?=\W|DL|LIC)|(?i:{'|'.join(_LICENSES)})(?=[\s.-]?(?:dl|(?i:drv\s)?li[cs]|driver|photo|id)))"
)
_LICENSE = r"(?:li[cs]+en[sc]e?s?\b|lisence|lic\b\.?)"
_DL_STRONG = re.compile(
    rf"(?<![a-z])(?:(?:driver|drv|drvr|operator|learner|chauffeur)[\s'-]{{0,2}}s?[\s'-]{{0,3}}(?:{_LICENSE}|permit|id\b)|driving\s(?:{_LICENSE}|permit)"
    r"|licencia(?:\sde\s(?:conducir|manejo|conductor|chofer))?|permis\sde\sconduire|f[üu]hrerschein\w*|commercial\s(?:driver|licen)"
    r"|(?:state|photo|non-?\s?driver'?s?|real|walker)[\s-](?:issued\s)?(?:photo\s)?id(?:entification)?(?:\scard)?\b"
    rf"|(?:\w\w)?(?:bmv|dmv|dps|mvd|mva|rmv|dds|dol|penndot|dot)\s?(?:{_LICENSE}|cust\w*\.?|client|id|no\b|number|\#|record|file)\W?\s?(?:\#|no\b|number|id)?"
    r"|\bid(?:entification|entity)?\scard|\bcdl\b|\bdln\b|\boln\b|\bo\.l\.n\.?|\bd\.l\.|\bdl\s?/\s?id\b|\bd/l\b)(?!\s?(?:plates?|keys?)\b)",
    re.I,
)
# The number has to stand next to these, or its State.
_DL_WEAK = re.compile(
    rf"(?<![A-Za-z/-])(?<![A-Za-z]\.)(?:DL|OL|DLID|WDL|(?i:{'|'.join(_LICENSES)})-?(?i:dl|ol)|ODL|dl(?=\s?[#:=?]|\s)|(?i:bmv|dmv|rmv|mvd|mva|dds|penndot)(?=\W)|Dl(?=\s?[#:=]))(?![A-Za-z.])"
    rf"|(?<![a-z])(?i:{_LICENSE})(?!\s?(?:plates?|keys?)\b)|\bDAQ(?=[A-Z]{{0,3}}\d)"
)
_DL_GAP = re.compile(
    r"(?:\W|\b(?:is|no|num|number|nbr|id|was|card|d|on|file|of|the|state|wdl)\b){0,12}(?:[A-Za-z]{2}\W{1,3})?", re.I
)
_NO_LICENSE = re.compile(
    r"software|product|server|windows|office\s365|serial|activation|vendor\slic|plate|business|liquor|medical|nurs|notary"
    r"|contractor|\bbar\b|cobalt|beacon|plugin|license\skey|spdx|open.?source|\bMIT\b|GPL|DLL|watermark|seat|svc|feature|subscription|real\sestate|broker",
    re.I,
)
_DL_HINTS = (
    "driv", "drv", "lic", "lisen", "permi", "dl", "oln", "d.l", "d/l", "id card", "photo", "state id", "state-issued",
    "identi", "ol ", "bmv", "dmv", "dps", "o.l.n", "mva", "rmv", "mvd", "dds", "dot", "dol", "hrerschein", "daq",
)  # fmt: skip


def licenses(text: str, low: str) -> Iterator[tuple[int, int]]:
    if not any(hint in low for hint in _DL_HINTS):
        return
    yield from _beside(text, _DL_STRONG, _fits_license, 70)
    for word in candidates(_DL_WEAK, text):
        at = word.end()
        around = text[max(0, word.start() - 40) : at + 45]
        if _NO_LICENSE.search(around):
            continue
        gap = _DL_GAP.match(text, at)
        near = gap.end() + 1 if gap else at
        state = _ANY_STATE.search(around)
        window = _SENTENCE.split(text[at : at + 60])[0]
        for start, end, number in _numbers_in(window, at):
            if number.isdigit() and not state and in_url(text, start):
                continue
            if (start <= near or state) and _fits_license(number, around):
                yield start, end
                break
        else:
            before = max(0, word.start() - 40)
            for start, end, number in _numbers_in(text[before : word.start()], before):
                if len(number) > 6 and _SAYS_WHAT.fullmatch(text[end : word.start()]) and _fits_license(number, around):
                    yield start, end
                    break


@lru_cache(maxsize=256)
def _states(number: str) -> tuple[str, ...]:
    return tuple(code for code, shape in _LICENSES.items() if shape.fullmatch(number))


def _fits_license(number: str, around: str) -> bool:
    fitting = _states(number)
    if not fitting or _NO_LICENSE.search(around):
        return False
    if len(number) >= 6:
        return True
    # Short ones only where their State is named.
    return any(re.search(rf"\b(?:{code}|{_STATE_NAMES[code]})\b", around) for code in fitting)


# --- dates of birth ---------------------------------------------------------------------------------

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre"
    r"|janvier|f[ée]vrier|mars|avril|mai|juin|juillet|ao[ûu]t|septembre|octobre|novembre|d[ée]cembre)"
)
_YEAR = r"(?:(?:19|20)\d\d|'?\d\d)"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_AFTER = r"(?!\w|[/-]\d|\.\d|:\d)"
_FIGURES = re.compile(
    rf"{_DAY}\s?[/.-]\s?{_DAY}\s?[/.-]\s?(?P<a>{_YEAR}){_AFTER}"
    rf"|(?P<b>(?:19|20)\d\d)\s?[/.-]\s?{_DAY}\s?[/.-]\s?{_DAY}(?:T00:00[:0-9.Z]*)?{_AFTER}"
)
_MONTHS = re.compile(
    rf"(?<![\w./])(?:{_DAY}(?:st|nd|rd|th|er)?[\s-]{{0,2}}(?:of\s|de\s)?{_MONTH}\.?,?[\s-]{{0,2}}(?:de(?:l)?\s)?(?P<c>{_YEAR})"
    rf"|{_MONTH}\.?[\s-]{{0,2}}{_DAY}(?:st|nd|rd|th)?,?[\s-]{{1,2}}(?P<d>{_YEAR})){_AFTER}",
    re.I,
)
_SIX_OR_EIGHT = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d[01]\d[0-3]\d|[01]\d[0-3]\d(?:19|20)\d\d|[0-3]\d[0-3]\d\d\d)(?:0{6}Z)?(?!\d)"
)
_SPLIT = re.compile(
    r"(?:year\sof\sbirth|birth\s?year|dob\s?year|bday\s?year|b(?:irth)?\s?yr)\W{0,4}((?:19|20)\d\d)"
    r"|(?:dob|birth|bday)[\s_-]?(?:month|day)\W{0,4}\d{1,2}.{0,60}?(?:dob|birth|bday)[\s_-]?year\W{0,4}((?:19|20)\d\d)",
    re.I | re.S,
)
_BIRTH = re.compile(
    r"(?<![a-z])(?:d\.?\s?/?o\.?\s?/?b\b|dob|date\s?of\s?birth|birth\s?(?:date|day)?s?\b|b-?day|bd(?:ate)?\b|born|fecha\sde\snac\w*|nacid[oa]"
    r"|naci[óo]|nacimiento|f\.?\s?nac|b\.(?=\s?(?:\d|\Z))|d\.b\b|geb(?:\.|oren|urtsdatum)|n[ée]{1,2}e?(?=\sle)|naissance|dbb)",
    re.I,
)
_BIRTH_HINTS = (
    "birth",
    "dob",
    "d.o",
    "d/o",
    "d. o",
    "d o b",
    "born",
    "day",
    "bd",
    "nac",
    "b.",
    "d.b",
    "geb",
    "né",
    "naiss",
    "dbb",
)
_NO_BIRTH = re.compile(
    r"on\sor\sbefore|\bmin\b|\bmax\b|masked|default|placeholder|happy|date\sof\sbuild|firmware|build", re.I
)
# Who was born later does not vote yet; dates of the trade are younger.
_LAST_BIRTH = 2010
# What stands where nobody knows.
_NEVER = ("1900", "1800", "2000")
_OLD_YEAR = re.compile(r"19\d\d|200\d|2010|[-/. ']\d\d(?!\d)")


def birth_dates(text: str, low: str) -> Iterator[tuple[int, int]]:
    said = any(hint in low for hint in _BIRTH_HINTS)
    if said:
        for one in candidates(_SIX_OR_EIGHT, text):
            around = text[max(0, one.start() - 45) : one.end() + 12]
            if _BIRTH.search(around) and not _NO_BIRTH.search(around):
                yield one.span()
        for one in candidates(_SPLIT, text):
            yield one.span(1 if one[1] else 2)
    if not said and not _OLD_YEAR.search(text):
        return
    for one in _dates(text, low):
        start, end = one.span()
        year = next(each for each in one.groups() if each).lstrip("'")
        if (said and _said_birth(text, start, end, year)) or (
            _old(year)
            and (names.ends_with_name(text[max(0, start - 60) : start]) or names.begins_with_name(text[end : end + 50]))
        ):
            yield start, end
    for one in candidates(_SIX_OR_EIGHT, text):
        if len(one[0]) == 8 and names.ends_with_name(text[max(0, one.start() - 60) : one.start()]):
            year = int(one[0][:4]) if one[0][:2] in ("19", "20") else int(one[0][4:])
            if year <= _LAST_BIRTH:
                yield one.span()


def _old(year: str) -> bool:
    return int(year) <= _LAST_BIRTH if len(year) == 4 else not 11 <= int(year) <= 39


def _dates(text: str, low: str) -> Iterator[re.Match[str]]:
    for one in candidates(_FIGURES, text):
        if (
            not re.search(r"[\w./]\Z|[\d-]-\Z", text[max(0, one.start() - 2) : one.start()])
            and one[0][:4] not in _NEVER
        ):
            yield one
    if re.search(r"[a-z]{3}", low):
        yield from candidates(_MONTHS, text)


def _said_birth(text: str, start: int, end: int, year: str) -> bool:
    before = text[max(0, start - 45) : start]
    if _NO_BIRTH.search(text, max(0, start - 45), end + 30):
        return False
    words = list(_BIRTH.finditer(before))
    # Of several dates the nearest to the word is meant.
    if words:
        gap = before[words[-1].end() :]
        if not _FIGURES.search(gap) and not re.search(r"[.!?]\s[A-Z]|\n\n", gap):
            return "born" not in words[-1][0].lower() or len(year) == 2 or int(year) <= _LAST_BIRTH
    after = text[end : end + 45]
    word = _BIRTH.search(after)
    if word is None:
        return False
    gap = after[: word.start()]
    return _SAYS_WHAT.fullmatch(gap) is not None or (
        len(year) == 4 and int(year) <= _LAST_BIRTH and not re.search(r"[.!?]\s[A-Z]|\d", gap)
    )
