"""One plain spelling for text as it really comes: quoted, wrapped, marked up, scanned, dictated, tabulated.

`legible` is for searching only: nothing of it is ever shown or stored. Every step is linear in the length of the text.
"""

import html
import re
import unicodedata

from isac.stix.fangs import ZERO_WIDTH

_SAME = ZERO_WIDTH | dict.fromkeys(map(ord, "‐‑‒–—―−﹣－"), "-") | dict.fromkeys(map(ord, "’‘ʼ`´"), "'")
_CELL_END = re.compile(r"</t[dh]>\s*<t[dh][^<>]{0,80}>", re.I)
_TAG = re.compile(r"</?([A-Za-z][\w:]{0,30})(?:\s[^<>]{0,200})?/?>")
_VALUE = re.compile(r"(?:href|value|content|jurisdiction)=(?:3D)?[\"']?([^\"'\s>]{1,100})")
_BREAKS = frozenset({"br", "tr", "p", "li", "div", "BR", "TR", "P", "LI", "DIV"})
_HTML = frozenset(
    re.findall(
        r"[\w-]+",
        """a abbr b big blockquote body br center code dd div dl dt em font form h1 h2 h3 h4 hr head html i img
        input label li link meta ol option p pre q s script select small span strong style sub sup table tbody
        td textarea tfoot th thead title tr u ul""",
    )
)
# Lines as they are quoted, drawn as tables and broken by markup.
_LINE = re.compile(r"(?:\r?\n|\r|\\[nr])[\s>|*#]*")
_HYPHENATED = re.compile(r"(?<=[a-z])-\n(?=[a-z])")
_ENCODED = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_QUOTED = re.compile(r"=(?:([0-7][0-9A-F])|\r?\n)")
_QUERY_PLUS = re.compile(r"(?<=\w)\+(?=\w)")
# «D A T E   O F   B I R T H», «9 8 7 - 6 5 - 4 3 2 6»: more than one blank parts words there.
_SPACED = re.compile(r"(?<!\S)\S (?:\S ){2,60}\S(?!\S)")
_LETTER_O = re.compile(
    r"(?<=\d)[Oo](?=[\d)\s/.-]|\Z)|(?<=[(/.-])[Oo](?=[lI]?\d)|(?<![A-Za-z0-9])[Oo](?=\d)|(?<=\d )[Oo](?= ?[\dlO])"
)
_LETTER_L = re.compile(r"(?<=\d)[lI](?=[\d)\s/.,-]|\Z)|(?<=\d)[lI](?=\d)|(?<=\d\d\d)[lI]\b")
_MISREAD = re.compile(r"(?<![\w@.])(?=[A-Za-z01]*[A-Za-z]{2}|[A-Z]0|0[A-Z]\b)[A-Za-z]*[01][A-Za-z01]*(?![\w@])")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")


def legible(text: str) -> str:
    """The text with one kind of blank, dash and digit, without markup; a line's end is a line feed."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_SAME)).translate(_SAME)
    if "&" in text and ";" in text:
        text = unicodedata.normalize("NFKC", html.unescape(text)).translate(_SAME)
    if "<" in text:
        text = _TAG.sub(_tag, _CELL_END.sub(" | ", text))
    if "=" in text and ("=0A" in text or "=20" in text or "=3A" in text or "=3D" in text):
        text = _QUOTED.sub(lambda one: chr(int(one[1], 16)) if one[1] else "", text)
    if "%" in text and _ENCODED.search(text):
        text = _ENCODED.sub(lambda one: bytes.fromhex(one[0].replace("%", "")).decode(errors="replace"), text)
    if "=" in text and "+" in text:
        text = " ".join(
            _QUERY_PLUS.sub(" ", part) if "=" in part and "@" not in part else part for part in text.split(" ")
        )
    if _SPACED.search(text):
        text = _SPACED.sub(lambda one: one[0].replace(" ", ""), text)
    text = _HYPHENATED.sub("", _LINE.sub("\n", text)) if "\n" in text or "\r" in text or "\\" in text else text
    text = "\n".join([" ".join(line.split()) for line in text.split("\n")])
    text = _LETTER_L.sub("1", _LETTER_O.sub("0", text))
    text = _MISREAD.sub(_word, text)
    text = _CAMEL.sub(" ", text)
    if "*" in text:
        text = text.replace("**", "") if "***" not in text else text
    text = _dictated(text)
    return text + _columns(text) + _slug(text)


def _tag(one: re.Match[str]) -> str:
    """What a tag leaves: an end of line, its values, or its name if it is none of HTML's."""
    name = one[1].rpartition(":")[2]
    if one[0][1] == "/":
        return "\n" if name in _BREAKS else " "
    values = " ".join(_VALUE.findall(one[0]))
    lead = "\n" if name in _BREAKS else " "
    return f"{lead}{values} " if name.lower() in _HTML else f" {name} {values}: "


def _word(one: re.Match[str]) -> str:
    """`REG1STRATI0N`, as scanners read it; numbers with letters stay."""
    word = one[0]
    digits = sum(char in "01" for char in word)
    if digits * 3 > len(word) + 1 or (len(word) < 3 and word not in ("N0", "0F")):
        return word
    upper = word.isupper() or word[1:].isupper()
    return word.replace("0", "O" if upper else "o").replace("1", "I" if upper else "l")


_UNITS = {
    word: number
    for number, word in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
} | {"oh": 0}
_TEENS = {
    word: number
    for number, word in enumerate(
        re.findall(
            r"[\w-]+",
            """ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen""",
        ),
        10,
    )
}
_TENS = {
    word: number * 10
    for number, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2)
}
_ORDINALS = {
    word: number
    for number, word in enumerate(
        re.findall(
            r"[\w-]+",
            """first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth
    fifteenth sixteenth seventeenth eighteenth nineteenth twentieth""",
        ),
        1,
    )
} | {"thirtieth": 30}
_NUMERAL = "|".join([*_TEENS, *_TENS, *_UNITS])
DICTATED = re.compile(
    rf"\b(?:{_NUMERAL})(?:(?:,?[\s-]|,?\sthen\s|\shundred\s(?:and\s)?)(?:{_NUMERAL}))+\b(?:\shundred)?", re.I
)
_ORDINAL = re.compile(rf"(?<=[a-z] )(?:(twenty|thirty)[\s-])?({'|'.join(_ORDINALS)})(?=,? \d)", re.I)


_THEN = re.compile(r"(?<=\d),? then (?=\d)")


def _dictated(text: str) -> str:
    """Numbers in words, as voice mail is written down: «nine eight seven», «nineteen fifty-five»."""
    text = DICTATED.sub(lambda one: _figures(one[0].lower()), text)
    text = _THEN.sub("-", text)
    return _ORDINAL.sub(lambda one: f"{_TENS.get((one[1] or '').lower(), 0) + _ORDINALS[one[2].lower()]}th", text)


def _figures(words: str) -> str:
    figures, tens = "", False
    found = re.findall(r"[a-z]+", words)
    for place, word in enumerate(found):
        if word == "hundred":
            rest = found[place + 1 :]
            small = sum(
                _UNITS.get(each, 0) + _TEENS.get(each, 0) + _TENS.get(each, 0) for each in rest if each != "and"
            )
            return figures + f"{small:02d}"
        if tens and word in _UNITS and word not in ("zero", "oh"):
            figures = figures[:-1]
        if word in ("then", "and"):
            continue
        value = _UNITS.get(word, _TEENS.get(word, _TENS.get(word, 0)))
        figures += str(value)
        tens = word in _TENS
    return figures


_DELIMITERS = ("\t", "|", ",", ";", "^")
_MAX_CELLS = 4000


def _columns(text: str) -> str:
    """Of a table whose first line has names: each cell after the name of its column, a line each."""
    lines = [line.strip("| ") for line in text.split("\n") if line]
    for place in range(min(len(lines) - 1, 3)):
        for delimiter in _DELIMITERS:
            head = [cell.strip(" \"'") for cell in lines[place].split(delimiter)]
            below = lines[place + 1].split(delimiter)
            if len(head) < 3 or len(below) != len(head) or any(len(cell) > 40 or ":" in cell for cell in head):
                continue
            cells = [
                f"{name}: {cell.strip(chr(34) + chr(39) + ' ')}"
                for line in lines[place + 1 :]
                for name, cell in zip(head, line.split(delimiter), strict=False)
                if name and any(char.isdigit() or char == "@" for char in cell)
            ]
            return "".join(f"\n\n{cell}" for cell in cells[:_MAX_CELLS])
    return ""


_SLUG = re.compile(r"(?<!\S)[^\s@]{0,200}[A-Za-z][-_.+/][^\s@]{0,200}(?!\S)")


_PARTED = re.compile(r"[-_+][^-_+]{0,100}[-_+]|[A-Za-z]-[A-Za-z]?\d|/")


def _bare(word: str) -> str:
    return word.strip("\"'()[]<>,.;")


def _slug(text: str) -> str:
    """Labels and names of files, where dashes stand for blanks: once more with blanks."""
    if len(text) > 300 or text.count(" ") > 12:
        return ""
    words = [
        re.sub(r"[-_+/]", " ", word)
        for word in map(_bare, text.split())
        if word and word[0].isalpha() and _PARTED.search(word) and "://" not in word and "@" not in word
    ]
    return "".join(f"\n\n{word}" for word in words)
