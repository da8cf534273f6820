"""Does a domain look like a member's? Pure: two names in, how the one imitates the other out.

Found are: letters that look alike (Unicode's in their IDNA form, 0 and o, 1 and l and i, rn and m, vv and w), one typo
(a letter more, less, another, two swapped), hyphens more or less, another ending, words such as `vote` or `login`
added, and the member's name as a host of somebody else's domain. `keys` makes texts for both sides that meet wherever
`resembles` says yes, so that a database finds them by equality among a hundred thousand; the rare pair that only
shares a key is told apart by `resembles`.
"""

import functools
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from isac.policy import places

#: Letters of a member's name without hyphens. Of shorter names everybody has one: they are not looked after.
SHORTEST = 5
#: Below these a typo, or a name without the words around it, is somebody else's name far too often.
SHORTEST_MISTYPED, SHORTEST_CORE = 7, 7

#: how one name may imitate another
KINDS = ("ending", "hyphen", "letters", "dots", "typo", "words", "host")

#: what is put before or behind a member's name
WORDS = (
    *("absentee", "account", "admin", "app", "auth", "ballot", "ballots", "board", "clerk", "clerks", "election"),
    *("elections", "gov", "help", "info", "login", "mail", "my", "official", "online", "pollworker", "portal"),
    *("register", "registration", "results", "secure", "security", "signin", "sso", "support", "update", "usa"),
    *("us", "verify", "vote", "voter", "voters", "votes", "voting", "web", "www"),
)

_ALIKE = {
    "a": "аαɑаᴀ",
    "b": "ьƅвβɓ",
    "c": "сϲᴄⅽ",
    "d": "ԁɗđⅾ",
    "e": "еεєɛҽ",
    "f": "ƒſ",
    "g": "ɡցġ",
    "h": "һհħн",
    "i": "іιıɩɪ",
    "j": "јϳᴊ",
    "k": "кκᴋ",
    "l": "ӏłⅼɭǀ",
    "m": "мᴍⅿ",
    "n": "пηոռŋ",
    "o": "оοօσөø",
    "p": "рρþ",
    "q": "ԛզ",
    "r": "гᴦʀ",
    "s": "ѕꜱʂ",
    "t": "тτᴛŧ",
    "u": "υսʋцᴜ",
    "v": "ѵνᴠⅴ",
    "w": "ԝωшᴡѡ",
    "x": "хχⅹ",
    "y": "уγүʏ",
    "z": "ᴢʐƶ",
}
#: letter → the Latin one that people read
LOOKS_LIKE = {other: letter for letter, others in _ALIKE.items() for other in others}
_LATIN = str.maketrans(LOOKS_LIKE)
# Of letters that are mistaken for each other one stands for all.
_FOLD = str.maketrans({**LOOKS_LIKE, "0": "o", "1": "l", "i": "l", "-": None})
for _letter in "іιıɩɪ":
    _FOLD[ord(_letter)] = "l"
# Longer words first: `elections` is no `election` with an s. A look at all of them at once costs a microsecond.
_LONGEST_FIRST = tuple(sorted(WORDS, key=len, reverse=True))


class Name(NamedTuple):
    """A domain, taken apart."""

    #: the labels above what somebody registered, without a leading `www`
    above: tuple[str, ...]
    #: the label that somebody registered
    label: str
    #: the public suffix below which he did
    suffix: str


@functools.lru_cache(8192)
def parts(domain: str) -> Name | None:
    """A canonical domain, taken apart; None for a public suffix."""
    own = places.registrable(domain)
    if own is None:
        return None
    label, _, suffix = own.partition(".")
    above = domain[: -len(own) - 1].split(".") if len(domain) > len(own) else []
    return Name(tuple(above[1:] if above[:1] == ["www"] else above), label, suffix)


def resembles(domain: str, member: str) -> str | None:
    """How a domain imitates a member's, as a word of KINDS; None if it does not, or lies on the member's own."""
    theirs, ours = parts(domain), parts(member)
    if theirs is None or ours is None or theirs[1:] == ours[1:]:
        return None
    if f".{member}." in f".{'.'.join(theirs.above)}.":
        return "host"
    plain = ours.label if not ours.above else "".join([*ours.above, ours.label])
    label, mine = theirs.label, _flat(plain)
    if len(mine) < SHORTEST:
        return None
    if label == plain:
        return "ending"
    if label.replace("-", "") == plain.replace("-", ""):
        return "hyphen"
    if _shape(label) == _shape(plain):
        return "letters"
    if _shape(label) == _shape(member.replace(".", "")):
        return "dots"
    if len(mine) >= SHORTEST_MISTYPED and _one_typo(_flat(label), mine):
        return "typo"
    cores = {_shape(core) for core in (plain, *_cores(plain))}
    if any(_shape(core) in cores for core in _cores(label)):
        return "words"
    if any(_shape(each) in (_shape(plain), _shape(member.replace(".", ""))) for each in _long(theirs.above)):
        return "host"
    return None


# ---------------------------------------------------------------------------------------------------------------- keys


def member_keys(member: str) -> set[str]:
    """What a member's domain is kept under."""
    found = {f".{member}"}
    ours = parts(member)
    if ours is None:
        return found
    plain = ours.label if not ours.above else "".join([*ours.above, ours.label])
    mine = _flat(plain)
    if len(mine) < SHORTEST:
        return found
    found |= {f"={_shape(plain)}", f"={_shape(member.replace('.', ''))}"}
    found |= {f"+{_shape(core)}" for core in (plain, *_cores(plain))}
    if len(mine) >= SHORTEST_MISTYPED:
        found |= {*typo_keys(mine), *_member_halves(mine)}
    return found


class Keys(NamedTuple):
    """What a domain that came is looked up under."""

    #: some stand twice
    keys: list[str]
    #: only where one of these is some member's can it be a member's with a typo, which takes many keys
    halves: tuple[str, ...]
    #: what `typo_keys` makes those of
    flat: str


def keys(domain: str) -> Keys:
    theirs = parts(domain)
    if theirs is None:
        return Keys([], (), "")
    label = theirs.label
    flat = _flat(label)
    found = [f"={_spread(flat)}"] if len(flat) >= SHORTEST - 1 else []
    found += [f"+{_shape(core)}" for core in _cores(label)]
    if theirs.above:
        found += [f"={_shape(each)}" for each in _long(theirs.above)]
        found += [f".{each}" for each in _runs(theirs.above)]
    if len(flat) < SHORTEST_MISTYPED - 1:
        return Keys(found, (), flat)
    cut = len(flat) // 2
    return Keys(found, (f"<{len(flat)}{flat[:cut]}", f">{len(flat)}{flat[cut:]}"), flat)


def typo_keys(flat: str) -> list[str]:
    """Two names that differ by one typo are alike, or are so without one letter each."""
    return [flat, *(flat[:place] + flat[place + 1 :] for place in range(len(flat)))]


def _member_halves(flat: str) -> set[str]:
    """A typo spares one half of a name, but for two letters that are swapped in its middle."""
    found, size = set(), len(flat)
    for length in (size - 1, size, size + 1):
        cut = length // 2
        found |= {f"<{length}{flat[:cut]}", f">{length}{flat[size - (length - cut) :]}"}
    cut = size // 2
    found.add(f"<{size}{flat[: cut - 1]}{flat[cut]}")
    return found


# ------------------------------------------------------------------------------------------------------------- details


def _flat(label: str) -> str:
    """Letter by letter as people see it, without hyphens."""
    if label.startswith("xn--"):
        label = _unicode(label)
    return label.translate(_FOLD)


def _shape(label: str) -> str:
    return _spread(_flat(label))


def _spread(flat: str) -> str:
    return flat.replace("m", "rn").replace("w", "vv")


@functools.lru_cache(4096)
def _unicode(label: str) -> str:
    """An IDNA label as it is shown, without accents."""
    try:
        shown = label[4:].encode().decode("punycode").lower()
    except ValueError:
        return label
    apart = unicodedata.normalize("NFKD", shown.translate(_LATIN))
    return "".join(each for each in apart if not unicodedata.combining(each))


def _one_typo(one: str, other: str) -> bool:
    """A letter more, less, another, or two neighbors swapped."""
    if abs(len(one) - len(other)) > 1 or one == other:
        return one == other
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    first, second = one[start:], other[start:]
    swapped = first[2:] == second[2:] and first[:2] == second[:2][::-1] and len(first) > 1
    return first[1:] == second[1:] or first[1:] == second or first == second[1:] or swapped


def _cores(label: str) -> list[str]:
    """The label without a word before it, behind it, or both, where a name is left."""
    if len(label) < SHORTEST_CORE + 2:
        return []
    found = []
    if label.startswith(_LONGEST_FIRST):
        found += [label[len(word) :] for word in _LONGEST_FIRST if label.startswith(word)]
    if label.endswith(_LONGEST_FIRST):
        found += [rest[: -len(word)] for word in _LONGEST_FIRST for rest in (label, *found) if rest.endswith(word)]
    cores = (core.strip("-") for core in found)
    return [core for core in cores if len(core.replace("-", "")) >= SHORTEST_CORE and core not in _COMMON]


#: no names by themselves
_COMMON = frozenset({"county", "counties", "election", "elections", "township", "government", "official"})


def _long(labels: tuple[str, ...]) -> Iterator[str]:
    return (each for each in labels if len(each) >= SHORTEST_CORE)


def _runs(labels: tuple[str, ...]) -> Iterator[str]:
    """All dotted names of neighboring labels; nobody needs more than eight of them."""
    near = labels[-8:]
    for start in range(len(near)):
        for end in range(start + 2, len(near) + 1):
            yield ".".join(near[start:end])
