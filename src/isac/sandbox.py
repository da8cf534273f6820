"""A throw-away server for people who test a TAXII client or server tool: its own database, four empty collections.

Everything well-formed that is posted is released at once. When the program ends, nothing is left of it; what killed
ones left is swept by the next.
"""

import asyncio
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from isac import server, times
from isac.ingest.foundation import found
from isac.policy.actors import Role
from isac.policy.jurisdictions import Jurisdiction
from isac.policy.organizations import Organization
from isac.store import database, embedded, members, migrations

_PREFIX = "isac-sandbox-"
_COLLECTIONS = ("COLLECTION", "CONF_COLLECTION", "FID_COLLECTION", "FOLLOW_COLLECTION")
#: names in the environment file and the role of each key
_KEYS = {"Sandbox": Role.SUBMITTER, "Sandbox reader": Role.POLLER, "Sandbox stranger": Role.POLLER}


def run(env: Path, *, port: int, workers: int, max_content_length: int) -> None:
    """Serve until SIGINT or SIGTERM, then remove everything; `env` is written when the server answers."""
    server.stop_cleanly()
    listening = server.listen("127.0.0.1", port)
    with _home() as home:
        running = embedded.start(home / "postgres")
        url = database.create(running.conninfo, "sandbox")
        migrations.migrate(url)
        variables = asyncio.run(_furnish(url))
        variables |= {
            "BASE": f"http://127.0.0.1:{listening.getsockname()[1]}",
            "API_ROOT": "/elections/",
            "PIDS": f"{os.getpid()} {running.pid}",
            "DATABASE_URL": f"postgresql://isac@/sandbox?host={running.socket}&port=5432",
        }
        server.run(
            listening,
            url,
            workers=workers,
            max_content_length=max_content_length,
            free=True,
            samples=True,
            ready=lambda: _write(env, variables),
        )


async def _furnish(url: str) -> dict[str, str]:
    """The organizations, their keys, and the collections that two of them share."""
    nation = [Jurisdiction("us", "United States", "nation", None, "", None)]
    async with database.pool(url, size=1) as pool:
        await found(pool, nation)
        async with pool.connection() as conn, conn.transaction():
            pks = await members.add_organizations(conn, [Organization(None, name, "vendor", "") for name in _KEYS])
            sharing = [pks["Sandbox"], pks["Sandbox reader"]]
            groups = [await members.add_group(conn, name.replace("_", " ").lower(), sharing) for name in _COLLECTIONS]
            made = await members.create_keys(
                conn, {pks[name]: role for name, role in _KEYS.items()}, "operator", times.now()
            )
            keys = {key.organization: key for key in made}
            asking = await members.keyholder(conn, keys["Sandbox"].key_id)
            shelves = {shelf.own.pk: shelf.id for shelf in await members.collections(conn, asking)}
    return {
        **{name: shelves[group] for name, group in zip(_COLLECTIONS, groups, strict=True)},
        "BUSER": keys["Sandbox"].key_id,
        "BPASS": keys["Sandbox"].secret,
        "TOKEN": keys["Sandbox"].secret,
        "READER_USER": keys["Sandbox reader"].key_id,
        "READER_PASS": keys["Sandbox reader"].secret,
        "STRANGER_USER": keys["Sandbox stranger"].key_id,
        "STRANGER_PASS": keys["Sandbox stranger"].secret,
    }


def _write(env: Path, variables: Mapping[str, str]) -> None:
    """All at once: whoever waits for the file never reads half of it. Only its owner may: it holds secrets."""
    draft = env.with_name(f".{env.name}.{secrets.token_hex(4)}")
    text = "".join(f"{name}='{value}'\n" for name, value in sorted(variables.items()))
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(env)


@contextmanager
def _home() -> Iterator[Path]:
    """A folder of our own, locked as long as we live: a folder that can be locked is a killed one's."""
    _sweep()
    home = Path(tempfile.mkdtemp(prefix=_PREFIX))
    with (home / "alive").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield home
        finally:
            embedded.destroy(home / "postgres")
            shutil.rmtree(home, ignore_errors=True)


def _sweep() -> None:
    for home in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if home.stat().st_uid != os.geteuid():
                continue
            with (home / "alive").open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                embedded.destroy(home / "postgres")
                shutil.rmtree(home, ignore_errors=True)
