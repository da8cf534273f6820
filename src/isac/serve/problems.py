"""Errors of the API as problem details (RFC 9457): what is wrong, and what to do."""

import orjson

#: what is asked below it is answered so; all else is TAXII's
ROOT = "/api/v1/"
MEDIA_TYPE = "application/problem+json"

#: by status, the name that programs know it by
TYPES = {
    400: "bad-request",
    401: "no-key",
    403: "not-allowed",
    404: "not-found",
    405: "no-such-method",
    408: "too-slow",
    409: "in-the-way",
    413: "too-large",
    414: "address-too-long",
    415: "media-type",
    422: "not-readable",
    429: "too-many",
    431: "headers-too-large",
    500: "internal",
    503: "busy",
}
_ADVICE = {
    405: "The header Allow names what this address answers to.",
    500: "It is not your fault. Send it once more; if that does not help, tell the ISAC the error_id.",
}


def told(status: int, title: str, detail: str | None, error_id: str) -> bytes:
    """The body. `error_id` stands in the log, with what is not for the client to read."""
    problem = {
        "type": f"urn:isac:problem:{TYPES.get(status, 'other')}",
        "title": title,
        "status": status,
        "detail": detail or _ADVICE.get(status),
        "error_id": error_id,
    }
    return orjson.dumps({name: value for name, value in problem.items() if value is not None})
