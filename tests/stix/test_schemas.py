"""The schemas in `schemas/stix/` are what the library's tables say today."""

import re

import jsonschema_rs

from isac.package_data import package_data
from isac.stix import conformance, schemas

FOLDER = package_data("schemas") / "stix"


def test_the_files_are_what_build_makes() -> None:
    built = {f"{name}.json": schemas.render(schema) for name, schema in schemas.build().items()}
    kept = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    assert kept.keys() == built.keys()
    assert [name for name in built if kept[name] != built[name]] == [], "run `isac schemas build`"


def test_every_type_of_stix_has_a_schema_that_compiles() -> None:
    built = schemas.build()
    assert len(built) == 43
    for schema in built.values():
        jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


def test_the_schemas_name_their_origin() -> None:
    for schema in schemas.build().values():
        assert "stix2 (BSD-3-Clause)" in schema["$comment"]


def test_every_check_has_words() -> None:
    """A complaint is a sentence only if each property says what it must be."""
    for name in conformance.types():
        for key, property_schema in conformance.rules(name).schema["properties"].items():
            target = re.sub(r"^#/\$defs/", "", property_schema.get("$ref", ""))
            described = conformance.rules(name).schema["$defs"][target] if target else property_schema
            assert "description" in described, (name, key)
