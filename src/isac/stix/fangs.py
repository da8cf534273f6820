"""Undo what people do to a hostile value so that nobody clicks on it."""

import re

#: Characters without width: they come along when people copy out of web pages, and hide a value from every comparison.
ZERO_WIDTH = dict.fromkeys(map(ord, "\u00ad\u180e\ufeff\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\u2064"))
ZERO_WIDTH |= dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])  # changes of writing direction
_PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">", "«": "»", "“": "”", "‘": "’", '"': '"', "'": "'", "`": "`"}
#: a dot and an at sign as people mask them
DOT = re.compile(r"[ \t]?[\[({]{1,3}[ \t]?(?:\.|dot)[ \t]?[\])}]{1,3}[ \t]?|(?<=\w)\[\.(?=\w)|(?<=\w)\.\](?=\w)", re.I)
AT = re.compile(r"[ \t]?[\[({]{1,3}[ \t]?(?:@|at)[ \t]?[\])}]{1,3}[ \t]?", re.I)
_COLON_SLASH = re.compile(r"[\[({][ \t]?(:/?/?|//?)[ \t]?[\])}]")
_SCHEME = re.compile(r"(?<![a-z0-9])[\[({]?(?:h(?:xx|tt|tx|xt|\*\*|__)p|(f)[x*]p)(s?)[\])}]?:(\\\\)?", re.I)


def refang(text: str) -> str:
    """Undo what people do to a hostile value so that nobody clicks on it, for one value or one line of text.

    Takes off zero-width characters and the blanks, quotes and brackets around the whole; `hxxp`, `[.]`, `(dot)`, `[:]`,
    `[at]` and their relatives become what they stand for. A second run changes nothing.
    """
    # Each round takes off the outer layers; more of them are only there to keep us busy.
    for _ in range(8):
        fanged = _bare(text.translate(ZERO_WIDTH))
        if "[" in fanged or "(" in fanged or "{" in fanged or "]" in fanged:
            fanged = _COLON_SLASH.sub(r"\1", fanged)
            fanged = AT.sub("@", DOT.sub(".", fanged))
        if ":" in fanged:
            fanged = _SCHEME.sub(_scheme, fanged)
        if fanged == text:
            break
        text = fanged
    return text


def _scheme(found: re.Match[str]) -> str:
    name, secure, backslashes = found.groups()
    return f"{'ftp' if name else 'http'}{secure.lower()}:{'//' if backslashes else ''}"


def _bare(text: str) -> str:
    """Without the blanks and the matching quotes or brackets around it."""
    text = text.strip()
    for _ in range(64):
        if len(text) < 2 or _PAIRS.get(text[0]) != text[-1]:
            break
        opening, closing, inner = text[0], text[-1], text[1:-1]
        if opening == closing and opening in inner.strip(opening):
            break
        if opening != closing and inner.find(closing) < inner.find(opening):
            break
        text = inner.strip()
    return text
