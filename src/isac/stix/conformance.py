"""What STIX 2.1 asks of one type: what must be, by the JSON Schemas of `schemas/stix/`, and what should be."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID, uuid5

import jsonschema_rs
import orjson

from isac.errors import Invalid
from isac.package_data import package_data
from isac.stix import markings


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for one type, or for all types that the standard does not name."""

    known: bool
    schema: dict[str, Any]
    validator: jsonschema_rs.Draft202012Validator
    # It has to say spec_version; observables need not.
    versioned: bool
    # Open vocabularies: property and the words that the standard knows.
    vocabularies: tuple[tuple[str, frozenset[str]], ...]
    # Two times in this order, and whether they must differ.
    span: tuple[str, str, bool] | None


#: types that are nothing but an observable
VALUES = ("ipv4-addr", "ipv6-addr", "domain-name", "url", "email-addr", "mac-addr")
_SEEN = ("first_seen", "last_seen", False)
_SPANS = {
    "indicator": ("valid_from", "valid_until", True),
    "relationship": ("start_time", "stop_time", True),
    "observed-data": ("first_observed", "last_observed", False),
    "network-traffic": ("start", "end", False),
    **dict.fromkeys(("campaign", "infrastructure", "intrusion-set", "malware", "sighting", "threat-actor"), _SEEN),
}


@cache
def types() -> frozenset[str]:
    """The types that the standard names."""
    return frozenset(path.stem for path in (package_data("schemas") / "stix").glob("*.json")) - {"custom"}


def rules(type_name: str) -> Rules:
    """The rules for a type."""
    return _read(type_name if type_name in types() else "custom")


@cache
def _read(name: str) -> Rules:
    schema = orjson.loads((package_data("schemas") / "stix" / f"{name}.json").read_bytes())
    open_words = {
        key: property_schema.get("examples") or property_schema.get("items", {}).get("examples")
        for key, property_schema in schema["properties"].items()
        if key != "pattern_type"  # has warnings of its own
    }
    return Rules(
        name != "custom",
        schema,
        jsonschema_rs.Draft202012Validator(schema, validate_formats=True),
        "spec_version" in schema["required"],
        tuple((key, frozenset(words)) for key, words in open_words.items() if words),
        _SPANS.get(name),
    )


def check(body: dict[str, Any], rules: Rules) -> None:
    """Raises Invalid for the first thing that must not be."""
    _check_version(body, rules)
    if not rules.validator.is_valid(body):
        raise Invalid(_complaint(body, rules))


def _check_version(body: dict[str, Any], rules: Rules) -> None:
    """Ask for it before the schema does (S-25): without it, all that follows would be said of the wrong standard."""
    version = body.get("spec_version")
    if version is None and (rules.versioned or (not rules.known and "created" in body)):
        raise Invalid(
            'spec_version is missing, as in STIX 2.0: convert the object to 2.1, or add "spec_version": "2.1"'
        )
    if version is not None and version != "2.1":
        raise Invalid(f"spec_version is {shown(version)}: only 2.1 is taken, convert the object first")


def _complaint(body: dict[str, Any], rules: Rules) -> str:
    """The first thing that the schema finds wrong, in the words that stand in the schema."""
    error = next(iter(rules.validator.iter_errors(body)))
    path = ".".join(str(step) for step in error.instance_path)
    if error.kind.name == "required" and not path and "allOf" not in error.schema_path:
        return f"{error.kind.value} is missing: every {body['type']} has one"
    node: Any = rules.schema
    words = "something else"
    for step in error.schema_path:
        node = node[step]
        if isinstance(node, dict) and "title" in node:
            return f"{path}: {node['title']}" if path else node["title"]
        words = node.get("description", words) if isinstance(node, dict) else words
    if error.kind.name == "required":
        return f"{path}.{error.kind.value} is missing: every entry there has one"
    if error.kind.name == "propertyNames":
        return f"{path} has the key {shown(error.kind.as_dict()['error'].instance)}: it must be {words}"
    return f"{path} is {shown(error.instance)}: it must be {words}"


def shown(value: Any) -> str:
    """The value as a sentence may carry it: short JSON, only printable characters."""
    text = json.dumps(value, ensure_ascii=False)
    text = text if len(text) <= 80 else text[:77] + " …"
    return "".join(char if char.isprintable() else "?" for char in text)


# --- what it should be ----------------------------------------------------------------------------

_VERBS = frozenset(
    re.findall(
        r"[\w-]+",
        """analysis-of attributed-to authored-by av-analysis-of based-on beacons-to belongs-to characterizes
        communicates-with compromises consists-of contains controls delivers derived-from downloads drops duplicate-of
        dynamic-analysis-of exfiltrates-to exploits has hosts impersonates indicates investigates located-at mitigates
        originates-from owns related-to remediates resolves-to static-analysis-of targets uses variant-of""",
    )
)
_KNOWN_EXTENSIONS = {
    markings.ACS_EXTENSION,
    markings.CUI_EXTENSION,
    markings.IEP_EXTENSION,
    markings.TLP_2_EXTENSION,
}
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_SCO_NAMESPACE = UUID("00abedb4-aa42-466c-9c01-fed23315a9b7")
# ID contributing properties (§2.9, §6) of the observables whose canonical JSON is plain text and whole numbers.
_CONTRIBUTING = {
    **dict.fromkeys(VALUES, ("value",)),
    "autonomous-system": ("number",),
    "directory": ("path",),
    "mutex": ("name",),
    "software": ("name", "cpe", "swid", "vendor", "version"),
    "user-account": ("account_type", "user_id", "account_login"),
}


def advice(body: dict[str, Any], rules: Rules) -> Iterator[str]:
    """What is accepted with a warning, as far as one object shows it."""
    type_name = body["type"]
    if not rules.known:
        yield f"type {type_name} is not one of STIX 2.1: only its common properties were checked"
    elif not body.keys() <= rules.schema["properties"].keys():
        yield from _unknown(body, rules)
    if "extensions" in body:
        strange = markings.extensions(body).keys() - _KNOWN_EXTENSIONS
        yield from (f"{key} is not known here" for key in sorted(strange) if key.startswith("extension-definition--"))
    for name, words in rules.vocabularies:
        value = body.get(name)
        if value is not None:
            for word in value if isinstance(value, list) else (value,):
                if word not in words:
                    yield f"{name} has {shown(word)}, which is not in the vocabulary of STIX"
    for name in ("created", "modified"):
        if name in body and len(body[name]) < len("2024-05-31T12:00:00.000Z"):
            yield f"{name} is {body[name]}: the standard asks for milliseconds"
    if rules.versioned and body["id"][-22] != "4":
        yield "id is not a random UUID (version 4), as it should be"
    elif body["id"][-22] == "5" and type_name in _CONTRIBUTING:
        yield from _deterministic(body, type_name)
    if type_name == "indicator" and not ("name" in body and "description" in body):
        yield "an indicator should have a name and a description"
    elif type_name == "relationship" and body["relationship_type"] not in _VERBS:
        yield f"relationship_type is {shown(body['relationship_type'])}, which is none of STIX"
    elif type_name == "artifact" and not _BASE64.fullmatch(body.get("payload_bin", "")):
        yield "payload_bin is not proper base64"


def _unknown(body: dict[str, Any], rules: Rules) -> Iterator[str]:
    extensions = markings.extensions(body).values()
    if not any(extension.get("extension_type") == "toplevel-property-extension" for extension in extensions):
        strange = sorted(body.keys() - rules.schema["properties"].keys())
        yield from (f"{name[:100]} is not a property of {body['type']}" for name in strange if name[:2] != "x_")


def _deterministic(body: dict[str, Any], type_name: str) -> Iterator[str]:
    """Is a UUIDv5 the one that §2.9 prescribes? Another namespace is legal, so a difference is no error (S-11)."""
    named = {name: body[name] for name in _CONTRIBUTING[type_name] if name in body}
    right = f"{type_name}--{uuid5(_SCO_NAMESPACE, orjson.dumps(named, option=orjson.OPT_SORT_KEYS).decode())}"
    if body["id"].lower() != right:
        yield f"id is not the one that follows from the content: {right}"
