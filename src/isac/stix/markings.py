"""Data markings: TLP as an ordered scale, the marking in force for an object, and what must never come in.

STIX 2.1 §7.2; TLP 1.0 and 2.0 of FIRST, whose marking definitions OASIS fixed once and for all.
"""

import enum
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson


class TLP(enum.IntEnum):
    """Traffic Light Protocol; a greater value reaches fewer people. `white` of TLP 1 is `clear` of TLP 2."""

    CLEAR = 0
    GREEN = 1
    AMBER = 2
    AMBER_STRICT = 3
    RED = 4

    def __str__(self) -> str:
        return self.name.lower().replace("_", "+")

    @classmethod
    def parse(cls, text: str) -> "TLP":
        """From `amber+strict`, `TLP:AMBER`, `tlp: white` and the like. Raises ValueError for anything else."""
        word = re.sub(r"[\s_+-]+", "+", text.strip().lower().removeprefix("tlp").lstrip(": ").strip())
        try:
            return _COLORS[word]
        except KeyError:
            raise ValueError(f"«{text[:40]}» is no TLP: clear, green, amber, amber+strict or red") from None


_COLORS = {str(tlp): tlp for tlp in TLP} | {"white": TLP.CLEAR}

#: The property extension by which a marking definition carries TLP 2.0.
TLP_2_EXTENSION = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d"
_TLP_1_IDS = {
    TLP.CLEAR: "marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9",
    TLP.GREEN: "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da",
    TLP.AMBER: "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82",
    TLP.RED: "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed",
}
_TLP_2_IDS = {
    TLP.CLEAR: "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487",
    TLP.GREEN: "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb",
    TLP.AMBER: "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421",
    TLP.AMBER_STRICT: "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003",
    TLP.RED: "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1",
}
#: The nine fixed marking definitions, of TLP 1 and TLP 2 (S-52, S-53).
MARKINGS: Mapping[str, TLP] = {stix_id: tlp for ids in (_TLP_1_IDS, _TLP_2_IDS) for tlp, stix_id in ids.items()}


def definition(tlp: TLP, version: int = 2) -> dict[str, Any]:
    """The marking definition that OASIS published for this color. Raises ValueError for AMBER+STRICT in version 1."""
    ids = _TLP_1_IDS if version == 1 else _TLP_2_IDS
    if tlp not in ids:
        raise ValueError(f"TLP {version} has no {tlp}")
    color = "white" if version == 1 and tlp == TLP.CLEAR else str(tlp)
    head = {"type": "marking-definition", "spec_version": "2.1", "id": ids[tlp]}
    if version == 1:
        own = {"definition_type": "tlp", "name": f"TLP:{color.upper()}", "definition": {"tlp": color}}
        return {**head, "created": "2017-01-20T00:00:00.000Z", **own}
    extension = {TLP_2_EXTENSION: {"extension_type": "property-extension", "tlp_2_0": color}}
    return {**head, "created": "2022-10-01T00:00:00.000Z", "name": f"TLP:{color.upper()}", "extensions": extension}


_GENUINE = {
    stix_id: definition(tlp, version)
    for version, ids in ((1, _TLP_1_IDS), (2, _TLP_2_IDS))
    for tlp, stix_id in ids.items()
}
#: The nine as JSON, for the store to begin with: they are never taken from a member (S-51).
SEEDS: tuple[bytes, ...] = tuple(orjson.dumps(body) for body in _GENUINE.values())


def refs(tlp: TLP) -> list[str]:
    """`object_marking_refs` of objects that we write: TLP 2, and TLP 1 for programs that know no other (S-55)."""
    return [_TLP_2_IDS[tlp], *([_TLP_1_IDS[tlp]] if tlp in _TLP_1_IDS else [])]


class Marking(NamedTuple):
    """What an object's own markings say."""

    # None: no TLP marking at all; the source's default applies then.
    tlp: TLP | None
    # Ids, in lower case, of markings that are no TLP: statements, ACS, ones we do not know.
    others: tuple[str, ...] = ()


UNMARKED = Marking(None)
_ALONE = {stix_id: Marking(tlp) for stix_id, tlp in MARKINGS.items()}


def in_force(body: dict[str, Any]) -> Marking:
    """The strictest TLP of the object and of any part of it (S-50): a part cannot be cut out, so it rules the whole."""
    ids = body.get("object_marking_refs", [])
    if len(ids) == 1 and ids[0] in MARKINGS and "granular_markings" not in body:
        return _ALONE[ids[0]]  # the usual case
    if "granular_markings" in body:
        ids = [*ids, *(part["marking_ref"] for part in body["granular_markings"] if "marking_ref" in part)]
    if not ids:
        return UNMARKED
    strictest: TLP | None = None
    others: list[str] = []
    for stix_id in ids:
        tlp = MARKINGS.get(stix_id)
        if tlp is None:
            stix_id = stix_id.lower()
            tlp = MARKINGS.get(stix_id)
        if tlp is None:
            others.append(stix_id)
        elif strictest is None or tlp > strictest:
            strictest = tlp
    return Marking(strictest, tuple(dict.fromkeys(others)))


# --- marking definitions that come in -----------------------------------------------------------

ACS_EXTENSION = "extension-definition--3a65884d-005a-4290-8335-cb2d778a83ce"
IEP_EXTENSION = "extension-definition--762e2e97-ee51-43e5-a9ea-165fbb862c4a"
CUI_EXTENSION = "extension-definition--dff17fb3-edcb-4f99-ad1b-4b751c95738a"
# They tell the reader what to do and keep nobody out, but for a TLP that they name (S-58, S-61, S-62).
_HARMLESS_EXTENSIONS = {IEP_EXTENSION, CUI_EXTENSION, TLP_2_EXTENSION}
_HARMLESS_TYPES = {"statement", "tlp", "pap", "ais"}
_TLP_LABEL = re.compile(r"\s*TLP\s*:\s*(?:clear|white|green|amber|red)\b", re.I)


def genuine(body: dict[str, Any]) -> bool | None:
    """Is this marking definition one of the nine with exactly their content (S-51)?

    False: forged, by other content under a fixed id, or by a TLP under another id, be it only by its name or statement.
    None: it has nothing to do with TLP. `name` may be missing, and `created` have any number of zeros.
    """
    fixed = _GENUINE.get(str(body.get("id")).lower())
    if fixed is None:
        return False if _claims_tlp(body) else None
    created = re.sub(r"(?:\.0+)?Z\Z", ".000Z", str(body.get("created")))
    return {"name": fixed["name"], **body, "id": fixed["id"], "created": created} == fixed


def _claims_tlp(body: dict[str, Any]) -> bool:
    inner = body.get("definition")
    words = (body.get("name"), inner.get("statement") if isinstance(inner, dict) else None)
    return (
        str(body.get("definition_type")).lower() == "tlp"
        or TLP_2_EXTENSION in extensions(body)
        or any(isinstance(word, str) and _TLP_LABEL.match(word) for word in words)
    )


def implied(body: dict[str, Any]) -> TLP | None:
    """The TLP that a marking definition asks for: one of the nine, or an IEP or AIS marking that names a color.

    A color that cannot be read is RED.
    """
    fixed = MARKINGS.get(str(body.get("id")).lower())
    if fixed is not None:
        return fixed
    for rules in (body.get("definition"), extensions(body).get(IEP_EXTENSION)):
        if isinstance(rules, dict) and "tlp" in rules:
            try:
                return TLP.parse(str(rules["tlp"]))
            except ValueError:
                return TLP.RED
    return None


def understood(body: dict[str, Any]) -> bool:
    """Do we know what this marking definition forbids? What we do not understand is held for a steward (S-60, S-61).

    Statements, TLP, AIS, IEP, CUI and PAP are understood; ACS and every extension that we do not know are not.
    """
    own = extensions(body)
    if not own:
        return str(body.get("definition_type")).lower() in _HARMLESS_TYPES
    return all(
        key in _HARMLESS_EXTENSIONS or ("pap" in rules and rules.keys() <= {"extension_type", "pap"})
        for key, rules in own.items()
    )


def classified(body: dict[str, Any]) -> bool:
    """Does an ACS marking say that it is for classified data (S-59, S-60)? Anything but `U` counts."""
    controls = extensions(body).get(ACS_EXTENSION, {}).get("control_set")
    return isinstance(controls, dict) and controls.get("classification", "U") != "U"


def extensions(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The extensions of any object by their ids in lower case; what is no dictionary is left out."""
    found = body.get("extensions")
    if not isinstance(found, dict):
        return {}
    return {key.lower(): value for key, value in found.items() if isinstance(value, dict)}


# A level, then `//` and a control marking in capitals; or the same as a portion mark in brackets. Intelligence
# Community Directive 710 is the source of the form. The bare word is no banner: malware is called «secret» too.
_BANNER = re.compile(
    r"(?<![\w/:.])(?:TOP SECRET|SECRET|CONFIDENTIAL)[ \t]*//[ \t]*[A-Z]{2}|\((?:TS|S|C)//[A-Z]{2,}[A-Z, /-]*\)"
)


def banner(text: str) -> bool:
    """Does a classification banner stand in the text, such as `TOP SECRET//SI//NOFORN` or `(S//NF)`?"""
    return _BANNER.search(text) is not None


def strings(value: Any) -> Iterator[str]:
    """Every text in a JSON value, for `banner` and other readers of free text; keys are left out."""
    heap = [value]
    while heap:
        here = heap.pop()
        if isinstance(here, str):
            yield here
        elif isinstance(here, dict):
            heap.extend(here.values())
        elif isinstance(here, list):
            heap.extend(here)
