"""JSON Schemas of the STIX 2.1 types, made from the property tables of the stix2 library when the project is built.

`isac schemas build` writes what `build` returns to `schemas/stix/`, and `objects.accept` runs those files: this is the
one place that knows stix2, and nothing on the road imports it. What the tables do not say stands below: properties that
the library fills in by itself, bounds that it forgets, rules between properties that it keeps in code.

Words for people travel in the schemas: `description` completes «it must be …», the `title` of a rule is a sentence.
"""

import json
from typing import Any

from stix2 import properties as table
from stix2 import registry
from stix2.base import _Observable
from stix2.utils import STIXTypeClass
from stix2.v21.common import MarkingProperty

Schema = dict[str, Any]

_MAPS = registry.STIX2_OBJ_MAPS["2.1"]
_SCO = set(_MAPS["observables"])
_SRO = {"relationship", "sighting"}
_META = {"marking-definition", "language-content", "extension-definition"}
_SDO = set(_MAPS["objects"]) - {"bundle"} - _SRO - _META
_CLASSES = {STIXTypeClass.SDO: _SDO, STIXTypeClass.SCO: _SCO, STIXTypeClass.SRO: _SRO}
_CLASS_WORDS = {
    STIXTypeClass.SDO: "a domain object",
    STIXTypeClass.SCO: "an observable",
    STIXTypeClass.SRO: "a relationship or sighting",
}

_UUID = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_HASH_DIGITS = {"MD5": 32, "SHA-1": 40, "SHA-256": 64, "SHA-512": 128, "SHA3-256": 64, "SHA3-512": 128}
# Required by the standard, filled in by the library.
_ALSO_REQUIRED = {"created", "modified", "spec_version", "valid_from"}
# The library lets every extension stand on every observable; the standard says whose they are (§6).
_EXTENSIONS = {
    "file": ("archive-ext", "ntfs-ext", "pdf-ext", "raster-image-ext", "windows-pebinary-ext"),
    "network-traffic": ("http-request-ext", "icmp-ext", "socket-ext", "tcp-ext"),
    "process": ("windows-process-ext", "windows-service-ext"),
    "user-account": ("unix-account-ext",),
}

_TIMESTAMP: Schema = {
    "type": "string",
    "format": "date-time",
    "pattern": "Z$",
    "description": "a real date and time in UTC, such as 2024-05-31T12:00:00.000Z",
}
_SHARED: dict[str, Schema] = {
    "timestamp": _TIMESTAMP,
    "hashes": {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {
            "pattern": "^[a-zA-Z0-9_-]{3,250}$",
            "description": "the name of a hash algorithm, such as SHA-256",
        },
        "properties": {
            name: {
                "type": "string",
                "pattern": f"^[0-9a-fA-F]{{{digits}}}$",
                "description": f"{digits} hexadecimal digits",
            }
            for name, digits in _HASH_DIGITS.items()
        },
        "additionalProperties": {"type": "string", "description": "text"},
        "description": "a dictionary of hash values by algorithm",
    },
}
# Sharper than the tables, by class (or "" for all) and property.
_SHARPER: dict[tuple[str, str], Schema] = {
    ("", "confidence"): {
        "type": "integer",
        "minimum": 0,
        "maximum": 100,
        "description": "a whole number from 0 to 100",
    },
    ("", "lang"): {
        "type": "string",
        "pattern": "^([A-Za-z]{2,8}|[xi])(-[A-Za-z0-9]{1,8})*$",
        "description": "a language code of RFC 5646, such as en or es-MX",
    },
    ("ExternalReference", "url"): {
        "type": "string",
        "pattern": r"^[A-Za-z][A-Za-z0-9+.-]*:\S+$",
        "description": "a URL with its scheme and without blanks",
    },
    ("relationship", "relationship_type"): {
        "type": "string",
        "minLength": 1,
        "description": "a word such as indicates",
    },
    ("autonomous-system", "number"): {
        "type": "integer",
        "minimum": 0,
        "maximum": 4294967295,
        "description": "the number of an autonomous system",
    },
    ("socket-ext", "options"): {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": "^(SO|ICMP|ICMP6|IP|IPV6|MCAST|TCP|IRLMP)_", "description": "a socket option"},
        "additionalProperties": {"type": "integer"},
        "description": "a dictionary of socket options and their whole numbers",
    },
}


def _any_of(title: str, *groups: str) -> Schema:
    return {"title": title, "anyOf": [{"required": group.split("+")} for group in groups]}


def _one_of(title: str, *groups: str) -> Schema:
    return {"title": title, "oneOf": [{"required": [group]} for group in groups]}


def _needs(title: str, **needed: list[str]) -> Schema:
    return {"title": title, "dependentRequired": needed}


def _where(title: str, name: str, value: bool, then: Schema, otherwise: Schema | None = None) -> Schema:
    condition = {"properties": {name: {"const": value}}, "required": [name]}
    return {"title": title, "if": condition, "then": then, **({"else": otherwise} if otherwise else {})}


# The rules between properties: in the library they are code (`_check_object_constraints`), in the standard prose.
_RULES: dict[str, list[Schema]] = {
    "ExternalReference": [
        _any_of(
            "an external reference needs a description, a url or an external_id", "description", "url", "external_id"
        )
    ],
    "GranularMarking": [_one_of("a granular marking has either marking_ref or lang", "marking_ref", "lang")],
    "EmailMIMEComponent": [_any_of("a part of a message needs body or body_raw_ref", "body", "body_raw_ref")],
    "marking-definition": [
        _any_of(
            "a marking-definition needs definition_type and definition, or extensions",
            "definition_type+definition",
            "extensions",
        ),
        {
            "title": "a statement marking needs the text definition.statement",
            "if": {"properties": {"definition_type": {"const": "statement"}}, "required": ["definition_type"]},
            "then": {
                "properties": {
                    "definition": {"required": ["statement"], "properties": {"statement": {"type": "string"}}}
                }
            },
        },
    ],
    "location": [
        _any_of(
            "a location needs region, country, or latitude and longitude", "region", "country", "latitude+longitude"
        ),
        _needs(
            "latitude and longitude stand together, and precision with both",
            latitude=["longitude"],
            longitude=["latitude"],
            precision=["latitude", "longitude"],
        ),
    ],
    "malware": [_where("a malware family needs a name", "is_family", True, {"required": ["name"]})],
    "malware-analysis": [
        _any_of("a malware-analysis needs result or analysis_sco_refs", "result", "analysis_sco_refs")
    ],
    "observed-data": [_one_of("observed-data has either object_refs or the old objects", "object_refs", "objects")],
    "artifact": [
        _one_of("an artifact has either payload_bin or url", "payload_bin", "url"),
        _needs("an artifact with a url needs hashes", url=["hashes"]),
        _needs("decryption_key needs encryption_algorithm", decryption_key=["encryption_algorithm"]),
    ],
    "email-message": [
        _where(
            "an e-mail message has body_multipart if is_multipart is true, else body",
            "is_multipart",
            True,
            {"not": {"required": ["body"]}},
            {"not": {"required": ["body_multipart"]}},
        )
    ],
    "file": [_any_of("a file needs hashes or a name", "hashes", "name")],
    "network-traffic": [
        _any_of("network-traffic needs src_ref or dst_ref", "src_ref", "dst_ref"),
        {
            "title": "network-traffic with an end needs is_active: false",
            "if": {"required": ["end"]},
            "then": {"required": ["is_active"], "properties": {"is_active": {"const": False}}},
        },
    ],
}
# All their properties are optional, but one must be there.
_NEED_ONE = {"process", "user-account", "windows-registry-key", "x509-certificate"}


def build() -> dict[str, Schema]:
    """Every schema by its type's name; `custom` is for the types that STIX does not know."""
    classes = {**_MAPS["objects"], **_MAPS["observables"]}
    schemas = {name: _root(name, classes[name]) for name in sorted(classes) if name != "bundle"}
    schemas["custom"] = _custom(_MAPS["objects"]["tool"])
    return schemas


def render(schema: Schema) -> bytes:
    """The schema as it lies in its file: the same bytes on every run."""
    return json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def _root(name: str, cls: Any) -> Schema:
    defs: dict[str, Schema] = {}
    schema = _object(name, cls, defs)
    if name in _NEED_ONE:
        common = {"type", "spec_version", "id", "defanged", "object_marking_refs", "granular_markings"}
        own = sorted(cls._properties.keys() - common)
        schema.setdefault("allOf", []).append(_any_of(f"a {name} needs at least one property of its own", *own))
    return {**_head(name), **schema, "$defs": defs}


def _head(name: str) -> Schema:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"STIX 2.1 {name}; generated from the property tables of stix2 (BSD-3-Clause). Do not edit.",
    }


def _custom(model: Any) -> Schema:
    """The schema of custom types: the common properties, whatever else there is. `model` is a type that has them."""
    common = (
        *("spec_version", "created", "modified", "created_by_ref", "revoked", "labels", "confidence", "lang"),
        *("external_references", "object_marking_refs", "granular_markings"),
    )
    defs: dict[str, Schema] = {}
    properties = {name: _property("", name, model._properties[name], defs) for name in common}
    properties["id"] = _id("[a-z0-9-]+", "a type, two hyphens and a UUID")
    properties["type"] = {"type": "string"}
    properties["extensions"] = _extensions("", defs, custom_keys=True)
    rule = _needs(
        "an object with created or modified needs both, and spec_version",
        created=["modified", "spec_version"],
        modified=["created", "spec_version"],
    )
    return {
        **_head("custom types"),
        "type": "object",
        "required": ["id", "type"],
        "properties": properties,
        "allOf": [rule],
        "$defs": defs,
    }


def _object(name: str, cls: Any, defs: dict[str, Schema]) -> Schema:
    properties = cls._properties
    # Inside other objects nothing has a spec_version or dates of its own, so the tables' word is enough there.
    also = _ALSO_REQUIRED if "type" in properties and not issubclass(cls, _Observable) else set()
    required = {key for key, prop in properties.items() if prop.required or key in also}
    schema: Schema = {
        "type": "object",
        "properties": {key: _property(name, key, prop, defs) for key, prop in properties.items()},
    }
    required |= {"type", "id"} & properties.keys()
    if required:
        schema["required"] = sorted(required)
    if rules := _RULES.get(name):
        schema["allOf"] = list(rules)
    return schema


def _define(name: str, cls: Any, defs: dict[str, Schema]) -> Schema:
    """A reference to an object that stands inside others, described once."""
    if name not in defs:
        defs[name] = {}
        defs[name] = {
            **_object(name, cls, defs),
            "minProperties": 1,
            "description": "an object with the properties of its kind",
        }
    return _ref(name, defs)


def _ref(name: str, defs: dict[str, Schema]) -> Schema:
    if name in _SHARED:
        defs[name] = _SHARED[name]
    return {"$ref": f"#/$defs/{name}"}


def _property(owner: str, name: str, prop: Any, defs: dict[str, Schema]) -> Schema:
    sharper = _SHARPER.get((owner, name)) or _SHARPER.get(("", name))
    if sharper:
        return sharper
    if getattr(prop, "_fixed_value", None) is not None:
        return {"const": prop._fixed_value, "description": json.dumps(prop._fixed_value)}
    match prop:
        case table.ListProperty():
            inside = prop.contained
            items = (
                _property("", "", inside, defs)
                if isinstance(inside, table.Property)
                else _define(inside.__name__, inside, defs)
            )
            return {
                "type": "array",
                "minItems": 1,
                "items": items,
                "description": "a list with at least one entry",
            }
        case table.EmbeddedObjectProperty():
            return _define(prop.type.__name__, prop.type, defs)
        case table.ExtensionsProperty():
            return _extensions(owner, defs, custom_keys=owner in _SCO)
        case table.TimestampProperty():
            return _ref("timestamp", defs)
        case table.HashesProperty():
            return _ref("hashes", defs)
        case table.IDProperty():
            kind = prop.required_prefix.removesuffix("--")
            return _id(kind, f"{kind}-- and a UUID")
        case table.ReferenceProperty():
            return _reference(prop)
        case table.IntegerProperty() | table.FloatProperty():
            return _number(prop)
        case _:
            return _text_or_object(prop)


def _number(prop: Any) -> Schema:
    whole = isinstance(prop, table.IntegerProperty)
    bounds = {key: value for key, value in (("minimum", prop.min), ("maximum", prop.max)) if value is not None}
    words = "a whole number" if whole else "a number"
    words += f" from {prop.min:g}" if prop.min is not None else ""
    words += f" to {prop.max:.9g}" if prop.max is not None else ""
    return {"type": "integer" if whole else "number", **bounds, "description": words}


def _text_or_object(prop: Any) -> Schema:
    match prop:
        case table.BooleanProperty():
            return {"type": "boolean", "description": "true or false, without quotes"}
        case table.HexProperty():
            return {
                "type": "string",
                "pattern": "^([0-9a-fA-F]{2})+$",
                "description": "an even number of hexadecimal digits",
            }
        case table.BinaryProperty():
            # OASIS's own examples are not proper base64: a warning elsewhere, no refusal here.
            return {"type": "string", "contentEncoding": "base64", "description": "text in base64"}
        case table.SelectorProperty():
            return {
                "type": "string",
                "pattern": table.SELECTOR_REGEX.pattern,
                "description": "a selector such as labels.[0]",
            }
        case table.EnumProperty():
            return {"enum": list(prop.allowed), "description": "one of " + ", ".join(prop.allowed)}
        case table.OpenVocabProperty():
            # Any text is allowed; `accept` warns of what is not among the examples.
            return {"type": "string", "examples": sorted(prop.allowed), "description": "text"}
        case table.DictionaryProperty():
            return {
                "type": "object",
                "minProperties": 1,
                "propertyNames": {
                    "pattern": "^[a-zA-Z0-9_-]{1,250}$",
                    "description": "a key of letters, digits, hyphens and underscores",
                },
                "description": "a dictionary with at least one entry",
            }
        case table.ObservableProperty():
            entry = {
                "type": "object",
                "required": ["type"],
                "properties": {"type": {"type": "string"}},
                "description": "an observable with its type",
            }
            return {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": entry,
                "description": "a dictionary of observables",
            }
        case MarkingProperty():
            return {"type": "object", "minProperties": 1, "description": "the content of the marking"}
        case _:
            return {"type": "string", "description": "text"}


def _id(kind: str, words: str) -> Schema:
    return {"type": "string", "pattern": f"^{kind}--{_UUID}$", "description": words}


def _reference(prop: Any) -> Schema:
    """A *_ref. Custom types stay allowed wherever a whole class of types is (`SDO`): nobody can know what they are."""
    named = set(prop.specifics).union(*(_CLASSES[group] for group in prop.generics))
    allowed = prop.auth_type == prop._WHITELIST
    kinds = [*sorted(prop.specifics), *(_CLASS_WORDS[group] for group in prop.generics)]
    if allowed and not prop.generics:
        return _id(f"({'|'.join(kinds)})", f"an id of type {' or '.join(kinds)}")
    barred = sorted((_SDO | _SCO | _SRO | _META) - named if allowed else named)
    words = f"the id of {' or '.join(sorted(kinds))}" if allowed else f"an id, but of no {' or '.join(barred)}"
    return {**_id("[a-z0-9][a-z0-9-]*", words), "not": {"pattern": f"^({'|'.join(barred)})--"}}


def _extensions(owner: str, defs: dict[str, Schema], *, custom_keys: bool) -> Schema:
    """Extensions: those of the standard checked, all others passed on. Observables may have old ones named `…-ext`."""
    own = {key: _define(key, _MAPS["extensions"][key], defs) for key in _EXTENSIONS.get(owner, ())}
    old = "|[a-z0-9-]{1,246}-ext" if custom_keys else ""
    return {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {
            "pattern": f"^(extension-definition--{_UUID}{old})$",
            "description": "the id of an extension-definition",
        },
        "properties": own,
        "additionalProperties": {"type": "object", "description": "an object"},
        "description": "a dictionary of extensions",
    }
