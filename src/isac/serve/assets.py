"""The HTTP API for what a member owns, and for the private alerts when something names it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import APIRouter, Depends, Request, Response

from isac import times
from isac.errors import BadRequest, Unprocessable
from isac.formats.found import one_line
from isac.formats.texts import decode
from isac.policy import alerts as words
from isac.policy import assets as policy
from isac.policy.actors import Actor
from isac.policy.alerts import Alert
from isac.policy.assets import Asset
from isac.policy.jurisdictions import Problem
from isac.serve import access, forms, problems, wire
from isac.serve.access import Here, Member
from isac.store import alerts, assets, audit
from isac.store.assets import Organization, Registered
from isac.store.database import Connection

#: of a file with as many assets as an organization may have
_MAX_BYTES = 1024 * 1024
_MOST, _USUAL = 1000, 100
_LONGEST_NOTE = 2000
_PRIVATE = {"Cache-Control": "private, no-store"}

router = APIRouter(prefix=problems.ROOT.rstrip("/"), dependencies=[Depends(access.anyone)])


async def _owner(db: Connection, member: Actor, texts: dict[str, str], *, its_own: bool = False) -> Organization:
    """Whose assets or alerts are asked for. `its_own`: the organization's and the stewards', not those above it.

    Whoever looks at another organization's leaves a line in the audit.
    """
    owner = await assets.organization(db, texts.get("organization"), member, its_own=its_own)
    if owner.pk != member.organization:
        what = "look at alerts" if its_own else "look at assets"
        await audit.record(db, member.key_id, what, owner.code, "", times.now())
    return owner


# -------------------------------------------------------------------------------------------------------------- assets


@router.get("/assets")
async def get_assets(member: Member, request: Request, here: Here) -> Response:
    """List an organization's assets, in the order of registering."""
    texts = forms.query(request, ("organization", "after", "limit"))
    limit = forms.number(texts, "limit", _USUAL, _MOST)
    async with here.pool.connection() as db:
        owner = await _owner(db, member, texts)
        found = await assets.listed(db, owner, texts.get("after"), limit + 1)
    page: dict[str, Any] = {"organization": owner.code, "assets": [_asset(each) for each in found[:limit]]}
    if len(found) > limit:
        page["next"] = _next("assets", "after", found[limit - 1].id, owner, limit)
    return _json(page)


@router.post("/assets")
async def post_assets(member: Member, request: Request, here: Here) -> Response:
    """Register assets, all or none: CSV with the columns kind and value, or a JSON list of such records."""
    document, texts = await forms.read(request, _MAX_BYTES, ("organization", "dry_run"))
    dry_run = forms.yes(texts, "dry_run")
    async with here.pool.connection() as db, db.transaction(force_rollback=dry_run):
        owner = await _owner(db, member, texts)
        wanted, wrong = await asyncio.to_thread(_read, document.content)
        if wrong:
            raise Unprocessable(_complaint(wrong))
        added = await assets.register(db, owner, wanted, member.key_id, times.now(), trusted=member.scope.everything)
    counts = {"total": len(wanted), "added": added, "known": len(wanted) - added}
    return _json({**({"dry_run": True} if dry_run else {}), "organization": owner.code, "counts": counts})


@router.delete("/assets/{asset_id}")
async def delete_asset(member: Member, asset_id: str, request: Request, here: Here) -> Response:
    """Take an asset out of the register; alerts that named it stay."""
    texts = forms.query(request, ("organization",))
    async with here.pool.connection() as db, db.transaction():
        owner = await _owner(db, member, texts)
        await assets.remove(db, owner, [asset_id], member.key_id, times.now())
    return Response(status_code=204, headers=_PRIVATE)


def _read(content: bytes) -> tuple[Sequence[Asset], Sequence[Problem]]:
    if content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"[", b"{"):
        try:
            records = orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
        except orjson.JSONDecodeError as error:
            raise BadRequest(f"This is no JSON ({error.msg}).") from error
        found, wrong = policy.read_records(records)
    else:
        found, wrong = policy.read("\n".join(decode(content)))
    return [each for _, each in found], wrong


def _complaint(wrong: Sequence[Problem]) -> str:
    shown = "; ".join(f"line {each.line}: {each.text}" for each in wrong[:20])
    more = f"; and {len(wrong) - 20} more" if len(wrong) > 20 else ""
    return f"Nothing was registered. {shown}{more}."


def _asset(found: Registered) -> dict[str, str]:
    return {
        "id": found.id,
        "kind": found.kind,
        "value": found.value,
        "added_at": times.taxii(found.added_at),
        "added_by": found.added_by,
    }


# -------------------------------------------------------------------------------------------------------------- alerts


@router.get("/alerts")
async def get_alerts(member: Member, request: Request, here: Here) -> Response:
    """List an organization's alerts, the newest first."""
    texts = forms.query(request, ("organization", "before", "limit", "open"))
    limit = forms.number(texts, "limit", _USUAL, _MOST)
    async with here.pool.connection() as db:
        owner = await _owner(db, member, texts, its_own=True)
        found = await alerts.page(db, owner, texts.get("before"), limit + 1, waiting=forms.yes(texts, "open"))
    page: dict[str, Any] = {"organization": owner.code, "alerts": [_alert(each) for each in found[:limit]]}
    if len(found) > limit:
        page["next"] = _next("alerts", "before", found[limit - 1].id, owner, limit)
        page["next"] += "&open=true" if forms.yes(texts, "open") else ""
    return _json(page)


@router.get("/alerts/{alert_id}")
async def get_alert(member: Member, alert_id: str, request: Request, here: Here) -> Response:
    """Show an alert. Another organization's is 404."""
    texts = forms.query(request, ("organization",))
    async with here.pool.connection() as db:
        owner = await _owner(db, member, texts, its_own=True)
        return _json(_alert(await alerts.one(db, owner, alert_id)))


@router.post("/alerts/{alert_id}/acknowledgement")
async def post_acknowledgement(member: Member, alert_id: str, request: Request, here: Here) -> Response:
    """Say that somebody has seen to it, with a note; the first one stays."""
    texts = forms.query(request, ("organization",))
    # In the body, since addresses stand in the logs of proxies.
    note = _note(b"".join([piece async for piece in wire.body_pieces(request, _MAX_BYTES)]))
    async with here.pool.connection() as db, db.transaction():
        owner = await _owner(db, member, texts, its_own=True)
        found = await alerts.acknowledge(db, owner, alert_id, note, member.key_id, times.now())
    return _json(_alert(found))


def _note(content: bytes) -> str:
    if not content.strip():
        return ""
    try:
        said = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"This is no JSON ({error.msg}).") from error
    if not isinstance(said, dict) or set(said) != {"note"} or not isinstance(said["note"], str):
        raise BadRequest('Write {"note": "what was done"}, or nothing.')
    if len(said["note"]) > _LONGEST_NOTE:
        raise BadRequest(f"note has more than {_LONGEST_NOTE:,} characters.")
    return one_line(" ".join(said["note"].split()), _LONGEST_NOTE)


def _alert(found: Alert) -> dict[str, Any]:
    happened, means, first = words.told(found)
    told: dict[str, Any] = {
        "id": found.id,
        "at": times.taxii(found.at),
        "what_happened": happened,
        "what_it_may_mean": means,
        "what_to_do_first": first,
        "asset": {"kind": found.about_kind, "value": found.about},
        "how": found.how,
        "kind": found.kind,
    }
    if found.value is not None:
        told["value"] = found.value
    if found.stix_id is not None:
        told["object"] = {
            "id": found.stix_id,
            "type": found.type,
            "audience": found.audience,
            **({"source": found.source} if found.source else {}),
        }
    if found.acknowledged_at is not None:
        at, by, note = times.taxii(found.acknowledged_at), found.acknowledged_by, found.note
        told["acknowledged"] = {"at": at, "by": by, **({"note": note} if note else {})}
    return told


# ------------------------------------------------------------------------------------------------------------- details


def _next(what: str, word: str, last: str, owner: Organization, limit: int) -> str:
    return f"{problems.ROOT}{what}?{word}={last}&limit={limit}&organization={owner.code}"


def _json(content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content), headers=_PRIVATE, media_type="application/json")
