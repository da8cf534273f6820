"""One valid object of each STIX 2.1 type, invented, with documentation addresses only; `make` copies one."""

import copy
from typing import Any
from uuid import UUID, uuid5

import orjson

Body = dict[str, Any]


def an_id(kind: str, number: int = 1) -> str:
    """A random-looking id for tests: UUID version 4, always the same."""
    return f"{kind}--00000000-0000-4000-8000-{number:012x}"


def sco_id(kind: str, **contributing: Any) -> str:
    """The deterministic id of STIX 2.1 §2.9."""
    name = orjson.dumps(contributing, option=orjson.OPT_SORT_KEYS).decode()
    return f"{kind}--{uuid5(UUID('00abedb4-aa42-466c-9c01-fed23315a9b7'), name)}"


COUNTY = an_id("identity")
WHEN = {"created": "2024-05-01T08:00:00.000Z", "modified": "2024-05-02T08:00:00.000Z"}
SHA256 = "0123456789abcdef" * 4
MD5 = "0123456789abcdef" * 2
GREEN = "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb"
A_FILE = an_id("file")
AN_ADDRESS = sco_id("ipv4-addr", value="192.0.2.1")


def _sdo(kind: str, **own: Any) -> Body:
    return {"type": kind, "spec_version": "2.1", "id": an_id(kind), "created_by_ref": COUNTY, **WHEN, **own}


def _sco(kind: str, stix_id: str | None = None, **own: Any) -> Body:
    return {"type": kind, "spec_version": "2.1", "id": stix_id or an_id(kind), **own}


_SEEN = {"first_seen": "2024-04-01T00:00:00Z", "last_seen": "2024-04-02T00:00:00Z"}

EXAMPLES: dict[str, Body] = {
    str(body["type"]): body
    for body in (
        _sdo(
            "indicator",
            name="Lookalike of a results page",
            description="Imitates the county's election night results",
            indicator_types=["malicious-activity"],
            pattern="[domain-name:value = 'results.example.com']",
            pattern_type="stix",
            pattern_version="2.1",
            valid_from="2024-05-01T08:00:00Z",
            valid_until="2024-08-01T08:00:00Z",
            kill_chain_phases=[{"kill_chain_name": "example-chain", "phase_name": "delivery"}],
            labels=["phishing"],
            confidence=80,
            lang="en",
            revoked=False,
            external_references=[
                {"source_name": "case", "external_id": "7", "hashes": {"SHA-256": SHA256}},
                {"source_name": "page", "url": "https://example.com/7"},
            ],
            object_marking_refs=[GREEN],
            granular_markings=[{"selectors": ["labels.[0]", "name"], "marking_ref": GREEN}],
        ),
        _sdo("attack-pattern", name="Spear phishing", aliases=["lure"]),
        _sdo("campaign", name="Paper Ballot", objective="disrupt", **_SEEN),
        _sdo("course-of-action", name="Block it"),
        _sdo("grouping", name="Case 7", context="suspicious-activity", object_refs=[an_id("indicator")]),
        {
            **_sdo("identity", name="Example County", identity_class="organization", sectors=["government"]),
            "id": COUNTY,
        },
        _sdo("incident", name="Outage"),
        _sdo("infrastructure", name="Relay", infrastructure_types=["command-and-control"], **_SEEN),
        _sdo("intrusion-set", name="Set", resource_level="government", **_SEEN),
        _sdo("location", region="northern-america", country="US", administrative_area="US-XX"),
        _sdo(
            "malware",
            name="Lantern",
            is_family=True,
            malware_types=["trojan"],
            sample_refs=[A_FILE],
            operating_system_refs=[an_id("software")],
            **_SEEN,
        ),
        _sdo("malware-analysis", product="scanner", result="malicious", sample_ref=A_FILE),
        _sdo("note", content="Seen twice", object_refs=[an_id("indicator")], authors=["an analyst"]),
        _sdo(
            "observed-data",
            first_observed="2024-04-01T00:00:00Z",
            last_observed="2024-04-02T00:00:00Z",
            number_observed=3,
            object_refs=[AN_ADDRESS],
        ),
        _sdo("opinion", opinion="agree", object_refs=[an_id("indicator")]),
        _sdo("report", name="Report", published="2024-05-01T00:00:00Z", object_refs=[an_id("indicator")]),
        _sdo("threat-actor", name="Actor", threat_actor_types=["criminal"], **_SEEN),
        _sdo("tool", name="Tool", tool_version="1"),
        _sdo(
            "vulnerability",
            name="CVE-2024-0001",
            external_references=[{"source_name": "cve", "external_id": "CVE-2024-0001"}],
        ),
        _sdo(
            "relationship",
            relationship_type="indicates",
            source_ref=an_id("indicator"),
            target_ref=an_id("malware"),
            start_time="2024-04-01T00:00:00Z",
            stop_time="2024-04-02T00:00:00Z",
        ),
        _sdo(
            "sighting",
            sighting_of_ref=an_id("indicator"),
            where_sighted_refs=[COUNTY],
            observed_data_refs=[an_id("observed-data")],
            count=2,
            summary=False,
            **_SEEN,
        ),
        _sdo(
            "extension-definition",
            name="Rank",
            schema="https://example.com/rank.json",
            version="1.0",
            extension_types=["property-extension"],
        ),
        _sdo("language-content", object_ref=an_id("indicator"), contents={"es": {"name": "Imitación"}}),
        {
            "type": "marking-definition",
            "spec_version": "2.1",
            "id": an_id("marking-definition"),
            "created_by_ref": COUNTY,
            "created": WHEN["created"],
            "definition_type": "statement",
            "definition": {"statement": "For members only"},
        },
        _sco("artifact", payload_bin="aGVsbG8=", mime_type="text/plain", hashes={"MD5": MD5}),
        _sco("autonomous-system", sco_id("autonomous-system", number=64500), number=64500, name="Example"),
        _sco("directory", sco_id("directory", path="/tmp/x"), path="/tmp/x", mtime="2024-04-01T00:00:00Z"),
        _sco(
            "domain-name",
            sco_id("domain-name", value="results.example.com"),
            value="results.example.com",
            resolves_to_refs=[AN_ADDRESS],
        ),
        _sco("email-addr", sco_id("email-addr", value="clerk@example.com"), value="clerk@example.com"),
        _sco(
            "email-message",
            is_multipart=True,
            subject="Invoice",
            from_ref=an_id("email-addr"),
            to_refs=[an_id("email-addr")],
            date="2024-04-01T00:00:00Z",
            additional_header_fields={"X-Mailer": "Example"},
            body_multipart=[{"content_type": "text/plain", "body": "Hello"}],
        ),
        _sco(
            "file",
            hashes={"SHA-256": SHA256},
            name="ballot.pdf",
            size=12,
            magic_number_hex="25504446",
            extensions={"pdf-ext": {"version": "1.7", "is_optimized": True}},
        ),
        _sco("ipv4-addr", AN_ADDRESS, value="192.0.2.1", defanged=False),
        _sco("ipv6-addr", sco_id("ipv6-addr", value="2001:db8::1"), value="2001:db8::1"),
        _sco("mac-addr", sco_id("mac-addr", value="02:00:5e:10:00:01"), value="02:00:5e:10:00:01"),
        _sco("mutex", sco_id("mutex", name="lantern"), name="lantern"),
        _sco(
            "network-traffic",
            src_ref=AN_ADDRESS,
            dst_port=443,
            protocols=["tcp", "http"],
            start="2024-04-01T00:00:00Z",
            end="2024-04-01T00:00:01Z",
            is_active=False,
            extensions={"http-request-ext": {"request_method": "get", "request_value": "/x"}},
        ),
        _sco("process", pid=12, command_line="lantern --now", image_ref=A_FILE),
        _sco("software", sco_id("software", name="Word", vendor="Example"), name="Word", vendor="Example"),
        _sco("url", sco_id("url", value="https://example.com/a"), value="https://example.com/a"),
        _sco(
            "user-account", sco_id("user-account", user_id="7", account_type="unix"), user_id="7", account_type="unix"
        ),
        _sco(
            "windows-registry-key",
            key="HKEY_LOCAL_MACHINE\\Example",
            values=[{"name": "a", "data": "b", "data_type": "REG_SZ"}],
        ),
        _sco("x509-certificate", issuer="CN=Example", serial_number="01", validity_not_after="2025-01-01T00:00:00Z"),
    )
}


def make(kind: str = "indicator", *without: str, **changed: Any) -> Body:
    """The example of this type without some properties and with others changed."""
    body = copy.deepcopy(EXAMPLES[kind]) | changed
    return {key: value for key, value in body.items() if key not in without}


def raw(kind: str = "indicator", *without: str, **changed: Any) -> bytes:
    return orjson.dumps(make(kind, *without, **changed))
