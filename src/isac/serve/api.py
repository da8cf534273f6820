"""The HTTP API for analysts and scripts that need no TAXII: hand in, see what became of it, find indicators in texts.

What is handed in goes the road of all submissions. `schemas/api.json` describes it (OpenAPI 3.1).
"""

import asyncio
import contextlib
import functools
import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import orjson
from fastapi import APIRouter, Depends, Request, Response

from isac import times
from isac.errors import BadRequest, Busy, Forbidden, Invalid, Unprocessable
from isac.formats.found import Problems
from isac.formats.prose import Mention
from isac.ingest import extracting, files
from isac.ingest.extracting import Extract
from isac.ingest.files import Reading
from isac.ingest.intake import erased_since
from isac.ingest.judging import json_objects
from isac.package_data import package_data
from isac.policy.actors import Actor, may_release
from isac.policy.values import Finding
from isac.serve import access, forms, problems
from isac.serve.access import Anyone, Here, Member, ReadDb, Site, Submitter
from isac.serve.forms import Document, Wishes
from isac.stix.observables import Observable
from isac.store import answers, members, submissions
from isac.store.answers import Kept
from isac.store.database import Connection
from isac.store.members import Collection
from isac.store.submissions import LINES, Account, Unread

JSON = "application/json"
#: of a text in which indicators are looked for; what people write is shorter, and it takes seconds a MiB
MAX_TEXT = 4 * 1024 * 1024
#: submissions on one page
_MOST, _USUAL = 100, 50
_PRIVATE = {"Cache-Control": "private, no-cache"}
_NO_NAMES: Mapping[str, str] = {}
_LONGEST_NAME = 200
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
#: seconds that one waits for those before
_PATIENCE = 5

router = APIRouter(prefix=problems.ROOT.rstrip("/"), dependencies=[Depends(access.anyone)])


@router.get("/openapi.json")
async def get_description(anyone: Anyone) -> Response:
    """Describe all this (OpenAPI 3.1)."""
    return Response(_description(), headers=_PRIVATE, media_type=JSON)


@functools.cache
def _description() -> bytes:
    return (package_data("schemas") / "api.json").read_bytes()


# --------------------------------------------------------------------------------------------------------- submissions


@router.post("/submissions")
async def post_submission(member: Submitter, request: Request, here: Here) -> Response:
    """Hand in. 200 and what became of each object; 202 while one of them waits for an analyst."""
    key = _idempotency_key(request)
    document, texts = await forms.read(request, here.max_content_length, forms.PARAMETERS)
    wishes = await asyncio.to_thread(forms.wishes, texts, document)
    if wishes.sample and not here.samples:
        raise Forbidden(
            "sample is for servers that were set up for trying (isac demo, isac sandbox); here addresses that are "
            "reserved for documentation are refused, whoever hands them in."
        )
    async with here.pool.connection() as db:
        shelf = await _audience(db, wishes.audience, member)
        source = wishes.source or await members.name(db, member.organization)
    if key is None or wishes.dry_run:  # which writes nothing, and is the same each time
        return _answer(await _hand_in(here, member, shelf, source, document, wishes))
    digest = await asyncio.to_thread(_digest, document, texts)
    async with _turn(here.guards), here.pool.connection() as guard, answers.alone(guard, member.organization, key):
        found = await answers.find(guard, member.organization, key, digest)
        if found is None:
            found = await _hand_in(here, member, shelf, source, document, wishes, (key, digest))
    return _answer(found)


@router.get("/submissions")
async def get_submissions(member: Member, request: Request, db: ReadDb) -> Response:
    """List what the caller's organization handed in, the newest first."""
    texts = forms.query(request, ("before", "limit"))
    limit = forms.number(texts, "limit", _USUAL, _MOST)
    found = await submissions.accounts(db, member, texts.get("before"), limit + 1)
    page: dict[str, Any] = {"submissions": [_summary(each) for each in found[:limit]]}
    if len(found) > limit:
        page["next"] = f"{problems.ROOT}submissions?before={found[limit - 1].id}&limit={limit}"
    return _json(page)


@router.get("/submissions/{submission_id}")
async def get_submission(member: Member, submission_id: str, request: Request, db: ReadDb) -> Response:
    """Show what became of a submission. Another organization's is 404, but for the ISAC's own analysts."""
    forms.query(request, ())
    return _json(_whole(await submissions.account(db, submission_id, member)))


async def _audience(db: Connection, wanted: str | None, member: Actor) -> Collection:
    """The collection that is meant, or the caller's own: its jurisdiction's, else its organization's.

    Raises NotFound for what the caller may not see, Forbidden where it may not hand in.
    """
    if wanted is None:
        own = member.home or member.own
        return next(shelf for shelf in await members.collections(db, member) if shelf.own.pk == own)
    shelf = await members.collection(db, wanted.strip(), member)
    if not may_release(member, shelf.own):
        raise Forbidden(
            f"This key may read {shelf.own.code}, but not hand in for it; leave `audience` out for your own collection."
        )
    return shelf


async def _hand_in(
    here: Site,
    member: Actor,
    shelf: Collection,
    source: str,
    document: Document,
    wishes: Wishes,
    request: tuple[str, bytes] | None = None,
) -> Kept:
    """Down the road, and the answer, which is kept for this request (Idempotency-Key and digest).

    Raises Unprocessable for what cannot be read as a whole.
    """
    pieces: list[Sequence[bytes]] = []

    def look(found: Sequence[bytes], unreadable: Problems) -> None:
        if not found and not unreadable:
            raise Invalid("There is no object and no value in it.")
        pieces.append(found)

    try:
        reading = await files.ingest(
            here.pool,
            document.payload,
            shelf,
            member,
            source,
            definition=wishes.definition,
            tlp=wishes.tlp,
            sample=wishes.sample,
            context=wishes.context,
            free=here.free,
            dry=wishes.dry_run,
            looked=look,
            media_type=document.media_type or "application/octet-stream",
        )
    except Invalid as error:
        raise Unprocessable(_sentence(error.detail)) from error
    unread, names = _unread(reading), await asyncio.to_thread(_names, reading, pieces[0])
    async with here.pool.connection() as db, db.transaction():
        if wishes.dry_run:
            name = await members.name(db, member.organization)
            resource = _whole(_rehearsed(reading, unread, names, name, source, shelf, wishes), dry_run=True)
            return Kept(200, orjson.dumps(resource))
        erased = await erased_since(db, reading.outcome.id, pieces[0])
        if erased:
            reading.outcome.unkept = True
            unread, names = _unread(reading), {}
        if reading.problems or names:
            await submissions.note(db, reading.outcome.id, unread, names)
        resource = _whole(await submissions.account(db, reading.outcome.id, member))
        answer = Kept(202 if resource["state"] == "pending" else 200, orjson.dumps(resource))
        # Who sends the same again is told that it was erased.
        if request is not None and not erased:
            await answers.keep(db, member.organization, *request, answer, times.now())
    await here.follower.wrote()
    return answer


def _sentence(detail: str) -> str:
    """What is said of a file, of what came here."""
    return f"The document {detail}" if detail[:1].islower() else detail


def _unread(reading: Reading) -> Unread:
    problems, unkept = reading.problems, reading.outcome.unkept
    lines = [
        {
            "line": each.line,
            # Of what is classified or was erased nothing is kept, so no word of what it came in.
            "text": "" if unkept else each.text,
            "reason": _UNKEPT if unkept else each.reason,
            "left_out": each.left_out,
        }
        for each in problems
    ]
    told = problems.refused + problems.left_out <= LINES
    return Unread(problems.refused, problems.left_out, lines if told else None)


_UNKEPT = "It cannot be read. What stands there is not repeated, since nothing of this document is kept."


def _names(reading: Reading, pieces: Sequence[bytes]) -> dict[str, str]:
    """What the objects are called that were held or refused: nobody knows the id of what was a line of a list."""
    outcome = reading.outcome
    lists = (lines for lines in (outcome.failures, outcome.pendings) if len(lines) <= LINES)
    wanted = {line["id"].lower() for lines in lists for line in lines}
    names: dict[str, str] = {}
    for body in json_objects(pieces) if wanted and not outcome.unkept else ():
        if isinstance(body.get("name"), str) and str(body.get("id")).lower() in wanted:
            names[body["id"].lower()] = body["name"][:_LONGEST_NAME]
    return names


def _rehearsed(
    reading: Reading,
    unread: Unread,
    names: Mapping[str, str],
    organization: str,
    source: str,
    shelf: Collection,
    wishes: Wishes,
) -> Account:
    """What would be told of it."""
    outcome, now = reading.outcome, times.now()
    lists = (outcome.successes, outcome.failures, outcome.pendings)
    successes, failures, pendings = (found if len(found) <= LINES else None for found in lists)
    return Account(
        "",
        organization,
        source,
        shelf.own.code,
        wishes.context,
        wishes.tlp,
        wishes.sample,
        now,
        now,
        outcome.counts,
        unread,
        successes,
        outcome.repeated,
        failures,
        pendings,
        names,
    )


# ------------------------------------------------------------------------------------------------------ asked once more


def _idempotency_key(request: Request) -> str | None:
    """What a client calls its request, in quotation marks or without (draft-ietf-httpapi-idempotency-key-header)."""
    text = request.headers.get("idempotency-key")
    if text is None:
        return None
    key = text.strip().removeprefix('"').removesuffix('"')
    if not _KEY.fullmatch(key):
        raise BadRequest("Idempotency-Key: write 1 to 255 letters, digits and signs without blanks, such as a UUID.")
    return key


def _digest(document: Document, texts: Mapping[str, str]) -> bytes:
    """Of all that the answer hangs on. A form's boundary differs each time, and is left out."""
    said = orjson.dumps([sorted(texts.items()), document.name, document.media_type])
    return hashlib.sha256(len(said).to_bytes(8, "big") + said + document.original).digest()


# ------------------------------------------------------------------------------------------------------------- extract


@router.post("/extract")
async def post_extract(member: Submitter, request: Request, here: Here) -> Response:
    """Find indicators in what people wrote, and say what is left out and why. Nothing is stored."""
    document, _ = await forms.read(request, min(here.max_content_length, MAX_TEXT), ())
    async with _turn(here.reading):
        extract = await asyncio.to_thread(_extract, document.content)
    async with here.pool.connection() as db:
        said = await extracting.remarks(db, extract.taken)
    return _json(
        {
            "found": [_mention(each) | _remarks(each, said) for each in extract.mentions if not each.reason],
            "left_out": [_mention(each) for each in extract.mentions if each.reason],
            "personal_data": [{"kind": each.kind, "shown": each.shown} for each in extract.personal],
        }
    )


@contextlib.asynccontextmanager
async def _turn(room: asyncio.Semaphore) -> AsyncIterator[None]:
    """Wait for one's turn, but not for long. Raises Busy."""
    try:
        async with asyncio.timeout(_PATIENCE):
            await room.acquire()
    except TimeoutError as error:
        raise Busy("Others are before you. Try again in a few seconds.") from error
    try:
        yield
    finally:
        room.release()


def _extract(content: bytes) -> Extract:
    if files.is_machine_readable(content):
        raise Unprocessable(f"This is no text for people; POST it to {problems.ROOT}submissions.")
    try:
        return extracting.read(content)
    except Invalid as error:
        raise Unprocessable(_sentence(error.detail)) from error


def _mention(found: Mention) -> dict[str, Any]:
    value = {"kind": found.observable.kind, "value": found.observable.value} if found.observable else {}
    place = {"line": found.line, "part": found.part} if found.part else {"line": found.line}
    reason = {"reason": found.reason} if found.reason else {}
    return {**value, "written": found.written, **place, "context": found.context, "times": found.times, **reason}


def _remarks(found: Mention, said: Mapping[Observable, Sequence[Finding]]) -> dict[str, Any]:
    findings = said.get(found.observable, ()) if found.observable else ()
    told = [{"verdict": each.verdict, "rule": each.rule, "reason": each.reason} for each in findings]
    return {"remarks": told} if told else {}


# ------------------------------------------------------------------------------------------------------------ resources


def _summary(found: Account) -> dict[str, Any]:
    """A submission without what became of each object."""
    counts, unread = found.counts, found.unread
    refused = counts.refused + unread.refused
    state = "working" if found.completed_at is None else "pending" if counts.held else "complete"
    told = {
        "id": found.id or None,
        "state": state,
        "received_at": times.taxii(found.received_at),
        "completed_at": times.taxii(found.completed_at) if found.completed_at else None,
        "organization": found.organization,
        "source": found.source,
        "audience": found.audience,
        "context": found.context or None,
        "tlp": str(found.tlp) if found.tlp is not None else None,
        "sample": found.sample or None,
        "counts": {
            "total": counts.accepted + counts.held + refused + counts.repeated,
            "accepted": counts.accepted,
            "repeated": counts.repeated,
            "held": counts.held,
            "refused": refused,
            "left_out": unread.left_out,
        },
    }
    return {name: value for name, value in told.items() if value is not None}


def _whole(found: Account, *, dry_run: bool = False) -> dict[str, Any]:
    """A submission with a line for each object, and for each line or row that gave none.

    A list is whole or missing; those that are missing because they are very long are named in `unlisted`.
    """
    counts, unread, repeated = found.counts, found.unread, set(found.repeated)
    lines = unread.lines
    successes = found.successes or []
    lists = {
        "successes": [
            _line(line, "repeated" if place in repeated else "accepted") for place, line in enumerate(successes)
        ],
        "pendings": [_line(line, "held", found.names) for line in found.pendings or []],
        "failures": [
            *(_line(line, "refused", found.names) for line in found.failures or []),
            *(_unread_line(line, "refused") for line in lines or [] if not line["left_out"]),
        ],
        "left_out": [_unread_line(line, "left out") for line in lines or [] if line["left_out"]],
    }
    expected = {
        "successes": counts.accepted + counts.repeated,
        "pendings": counts.held,
        "failures": counts.refused + unread.refused,
        "left_out": unread.left_out,
    }
    ready = found.completed_at is not None
    unlisted = [name for name, number in expected.items() if ready and len(lists[name]) != number]
    whole = {name: lines for name, lines in lists.items() if lines and name not in unlisted}
    return {
        **({"dry_run": True} if dry_run else {}),
        **_summary(found),
        **whole,
        **({"unlisted": unlisted} if unlisted else {}),
    }


def _line(line: Mapping[str, str], verdict: str, names: Mapping[str, str] = _NO_NAMES) -> dict[str, str]:
    told = {"id": line["id"], "version": line["version"], "verdict": verdict}
    name = names.get(line["id"].lower())
    return told | ({"name": name} if name else {}) | ({"reason": line["message"]} if "message" in line else {})


def _unread_line(line: Mapping[str, Any], verdict: str) -> dict[str, Any]:
    return {"line": line["line"], "text": line["text"], "verdict": verdict, "reason": line["reason"]}


def _json(content: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(content), headers=_PRIVATE, media_type=JSON)


def _answer(found: Kept) -> Response:
    answer = Response(found.body, found.status, _PRIVATE, JSON)
    public_id = re.match(rb'\{"id":"([0-9a-f-]{36})"', found.body)
    if public_id:
        answer.headers["Location"] = f"{problems.ROOT}submissions/{public_id[1].decode()}"
    return answer
