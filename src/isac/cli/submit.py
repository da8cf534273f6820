"""`isac submit`: files go to a server's API, as a member hands them in."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from isac.cli.terminal import bar, out
from isac.client import Client
from isac.config import settings
from isac.errors import Invalid, Unprocessable
from isac.stix.markings import TLP

_MEDIA_TYPES = {".csv": "text/csv", ".json": "application/json"}


def submit(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="STIX, MISP, tables, plain lists; .gz or not.")
    ],
    url: Annotated[str, typer.Option(help="The server, such as https://isac.example.org.")],
    to: Annotated[str | None, typer.Option(help="Code of the audience; your own jurisdiction without it.")] = None,
    tlp: Annotated[str | None, typer.Option(help="Marking of what is unmarked: clear, green, amber …")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would become of it; nothing is written.")
    ] = False,
) -> None:
    """Hand files in at a server, and report what was accepted, held or refused, and why.

    The key stands in ISAC_KEY, or in the file that ISAC_KEY_FILE names. If the line breaks, run it again: nothing is
    taken in twice. Exit code 0: all taken; 1: something refused or held; 2: a wrong command or key; 3: no server.

    Example: ISAC_KEY_FILE=key.txt isac submit report.json blocklist.txt --url https://isac.example.org --to us-oh
    """
    wanted = settings()
    params = {"audience": to, "tlp": _marking(tlp) if tlp else None, "dry_run": "true" if dry_run else None}
    said = {name: value for name, value in params.items() if value}
    authorities = Path(wanted.outbound_ca) if wanted.outbound_ca else None
    client = Client(url, _key(), authorities=authorities, proxy=wanted.outbound_proxy or None)
    if not uvloop.run(_submit(client, paths, said)):
        raise typer.Exit(1)


async def _submit(client: Client, paths: list[Path], params: Mapping[str, str]) -> bool:
    """Whether all of all files was taken."""
    well = True
    async with client:
        for path in paths:
            try:
                content = path.read_bytes()
                with bar(str(path)) as (expected, progress):
                    expected(len(content))
                    told = await client.submit(content, _media_type(path), params, progress)
            except OSError as error:
                out.print(f"not read: {path}: cannot be read ({error.strerror}).")
                well = False
            except Unprocessable as error:
                out.print(f"not taken: {path}: {error.detail}")
                well = False
            else:
                for line in _lines(str(path), told):
                    out.print(line)
                well = well and _is_all_taken(told)
    return well


def _is_all_taken(told: Mapping[str, Any]) -> bool:
    counts = told["counts"]
    return told["state"] != "working" and not counts["held"] and not counts["refused"]


def _lines(name: str, told: Mapping[str, Any]) -> Iterator[str]:
    counts = told["counts"]
    numbers = ", ".join(f"{verdict} {counts[verdict]}" for verdict in ("accepted", "held", "refused", "repeated"))
    yield f"{name}: {numbers}{', and nothing is written' if told.get('dry_run') else ''}"
    yield f"  for {told['audience']}{', submission ' + told['id'] if 'id' in told else ''}"
    for verdict, lines in (("held", "pendings"), ("refused", "failures"), ("left out", "left_out")):
        for line in told.get(lines, ()):
            yield f"  {verdict}: {_place(line)}: {line.get('reason', '')}"
    for lines in told.get("unlisted", ()):
        yield f"  {lines}: too many to be listed one by one"
    if told["state"] == "working":
        yield "  It is still worked on. Run the same command again later: what is there already changes nothing."


def _place(line: Mapping[str, Any]) -> str:
    if "line" in line:
        return f"line {line['line']}: {line['text']}"
    return f"{line['name']} ({line['id']})" if line.get("name") else str(line["id"])


def _key() -> str:
    """The key. Raises Invalid: it never stands on the command line, where all programs of the machine see it."""
    wanted = settings()
    if wanted.key_file:
        try:
            key = Path(wanted.key_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(f"ISAC_KEY_FILE: {wanted.key_file} cannot be read; put the key alone into it.") from error
    else:
        key = wanted.key.strip()
    if not key:
        raise Invalid("Put your key into the variable ISAC_KEY, or into a file that ISAC_KEY_FILE names.")
    return key


def _marking(text: str) -> str:
    try:
        return str(TLP.parse(text))
    except ValueError as error:
        raise Invalid(f"--tlp: {error}") from error


def _media_type(path: Path) -> str:
    """A table is told by its name."""
    name = path.name.lower().removesuffix(".gz")
    return _MEDIA_TYPES.get(Path(name).suffix, "application/octet-stream")
