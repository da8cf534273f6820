"""How the tables and JSON files of the corpus are read: what somebody who adds such a feed writes into its definition.

Which files have a header, and what of their counted rows never becomes an object or a reason, stands here too.
"""

from fnmatch import fnmatch
from typing import Any

from isac.ingest.feeds import Feed

_VALUE = {"columns": {"value": "value"}}
_SEKOIA = {"columns": {"value": "IOC", "first_seen": "Valid From", "valid_until": "Valid Until", "references": "Link"}}
_SOPHOS = {"columns": {"value": "Data", "kind": "Indicator", "description": "Note"}}
_INTELMQ = "feeds/intelmq-parser-samples-a.tar.gz:"
_DATAPLANE = {"header": ["asn", "name", "value", "seen", "more"], "columns": {"value": "value", "first_seen": "seen"}}

#: Definition by file, or by archive and member; the first that matches. `format` is csv unless it says otherwise.
DEFINITIONS: dict[str, dict[str, Any]] = {
    "feeds/feodo-ipblocklist.csv": {
        "columns": {"value": "dst_ip", "first_seen": "first_seen_utc", "name": "malware"},
        "kind": "ip",
    },
    "feeds/kev-catalog.json.gz": {
        "format": "json",
        "records": "vulnerabilities",
        "kind": "cve",
        "columns": {"value": "cveID", "name": "vulnerabilityName", "description": "shortDescription"},
    },
    "feeds/maltrail-apt-a-l.tar.gz:*": {"format": "text"},
    "feeds/phishtank-2021.csv.gz": {"columns": {"value": "url", "first_seen": "submission_time"}, "kind": "url"},
    "feeds/spamhaus-drop-json-lines.json.gz": {"format": "json", "columns": {"value": "cidr"}},
    "feeds/sslbl-excel-saved.csv.gz": {
        "columns": {"value": "SHA1", "first_seen": "ListingDate", "name": "ListingReason"},
        "kind": "certificate",
        "dates": "us",
    },
    "feeds/threatfox-mangled.csv.gz": {"columns": {"value": "Address"}},
    "feeds/urlhaus-online.csv.gz": {
        "columns": {"value": "url", "first_seen": "dateadded", "labels": ["threat", "tags"]},
        "kind": "url",
    },
    "vendor/loki-hash-iocs.txt.gz": {"header": ["value", "note"], "columns": {"value": "value", "description": "note"}},
    "vendor/microsoft-rapid-release-ti.csv.gz": {
        "columns": {
            "value": "IoC",
            "kind": "IoC_Type",
            "first_seen": "TimeGenerated",
            "valid_until": "ExpirationDateTime",
            "description": "Description",
            "confidence": "ConfidenceScore",
            "tlp": "TrafficLightProtocolLevel",
        },
        "dates": "us",
    },
    "vendor/orange-russia-ukraine.csv.gz": {
        "columns": {"value": "atom_value", "kind": "atom_type", "first_seen": "first_seen", "labels": "subcategories"}
    },
    "vendor/sophos-troj-polazert-iocs.csv.gz": {
        "columns": {"value": "Data", "kind": "Indicator_type", "description": "Note"}
    },
    "vendor/sophos-*": _SOPHOS,
    "vendor/unit42-silverterrier-domains18.csv.gz": {"columns": {"value": "Domain", "labels": "Domain Use"}},
    "vendor/mcafee-atr.tar.gz:*.csv": {"header": ["kind", "value"], "columns": {"value": "value", "kind": "kind"}},
    "vendor/sekoia-a.tar.gz:*DDoSia*": {"columns": {"value": "sha256sum", "first_seen": "Valid From"}},
    "vendor/sekoia-a.tar.gz:apt31*": {
        "columns": {"value": "name", "tlp": "tlp", "valid_until": "valid_until", "confidence": "confidence"}
    },
    "vendor/sekoia-a.tar.gz:bananasulfate*": {
        "columns": {"value": "name", "kind": "observable_types", "tlp": "tlp", "valid_until": "valid_until"}
    },
    "vendor/sekoia-a.tar.gz:calisto/SSL*": {
        "header": ["certificate", "mail", "address"],
        "columns": {"value": ["mail", "address"]},
    },
    "vendor/sekoia-a.tar.gz:nobelium/2022_01_06*": {"columns": {"value": "ioc", "kind": "type"}},
    "vendor/sekoia-a.tar.gz:cs2nginx*": {"columns": {"value": "IOC", "kind": "Type"}},
    "vendor/sekoia-a.tar.gz:emotet*": {
        "columns": {"value": "Indicator", "valid_until": "End of validity", "labels": "Kill chain"}
    },
    "vendor/sekoia-a.tar.gz:sneaky2fa*": {
        "columns": {"value": "ioc", "first_seen": "first seen", "description": "description"}
    },
    "vendor/sekoia-a.tar.gz:*": _SEKOIA,
    "vendor/volexity-a.tar.gz:2025/2025-02-13*": {
        "header": ["value", "type", "notes"],
        "columns": {"value": "value", "kind": "type", "description": "notes"},
    },
    "vendor/volexity-a.tar.gz:*evilbamboo-distribution.csv": {"columns": {"value": "Associated URL"}},
    "vendor/volexity-a.tar.gz:*": _VALUE,
    _INTELMQ + "bambenek/*": {"header": ["value", "note", "seen", "url"], "columns": {"value": "value"}},
    _INTELMQ + "blueliv/*": {"format": "json", "columns": {"value": ["ip", "url"]}},
    _INTELMQ + "cert_eu/*": {"columns": {"value": "source ip", "tlp": "tlp"}},
    _INTELMQ + "dataplane/*": _DATAPLANE,
    _INTELMQ + "generic/extra_regex.csv": {"columns": {"value": "SourceIp"}},
    _INTELMQ + "generic/invalid_sample_report.csv": {"header": ["seen", "ip", "name"], "columns": {"value": "ip"}},
    _INTELMQ + "generic/sample_report.csv": {
        "header": ["seen", "a", "b", "c", "d", "value", "rest"],
        "columns": {"value": "value"},
    },
    _INTELMQ + "github_feed/*": {"format": "json", "columns": {"value": "Indicator"}},
    _INTELMQ + "json/*": {"format": "json", "columns": {"value": "source.ip"}},
    _INTELMQ + "microsoft/*": {"format": "json", "columns": {"value": ["IPAddress", "IpAddress", "SourceIp", "Url"]}},
    _INTELMQ + "shadowserver/*": {"columns": {"value": "ip"}},
    _INTELMQ + "shodan/*": {"format": "json", "columns": {"value": "hostnames"}},
    _INTELMQ + "spamhaus/*": {
        "header": ["ip", "asn", "country", "seen", "bot", "more"],
        "columns": {"value": "ip"},
    },
    _INTELMQ + "zoneh/*": {"columns": {"value": "domain"}},
}


def definition(file: str, member: str | None) -> Feed | None:
    """How a file, or a member of an archive, is read; None where that is told by itself."""
    name = f"{file}:{member}" if member else file
    for pattern, keys in DEFINITIONS.items():
        if fnmatch(name, pattern.replace("[", "[[]")):
            whole = {"name": "a-feed", "path": "x", "format": "csv", "license": "see the corpus", "redistribute": True}
            return Feed.model_validate(whole | keys)
    return None


def is_cut_by_member(file: str) -> bool:
    """Has the archive a layout for each of its files?"""
    return any(pattern.startswith(f"{file}:") for pattern in DEFINITIONS)
