"""Warninglists: loaded whole, asked for many values at once.

A domain is kept from its top down (`com,example,www`; the comma sorts before all that a label may have). So what stands
for all below it is found by equality with a name's parents, and a domain and what lies below it are one range of the
index. Networks nest, too: in their order the last one before an address either contains it, or lies in all that do.
Each row has those `above` it, so that one step finds them; a GiST index needs 30 pages for an address, as most entries
are single addresses.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import LiteralString

from isac.formats.warninglists import Warninglist
from isac.policy import places
from isac.policy.warninglists import How, Listed
from isac.stix.observables import Observable, host
from isac.store.database import Connection
from isac.store.facts import fetch, numbers

#: entries that are copied at once
_PORTION = 50_000
#: entries below one domain that are looked at: a thousand blogs below one name say no more than a few
_BELOW = 100


@dataclass(frozen=True, slots=True)
class Known:
    """A list that was loaded."""

    name: str
    title: str
    version: str
    kind: str
    #: SHA-256 of the file that it was read from
    digest: bytes
    entries: int
    left_out: int
    loaded_at: datetime


async def known(conn: Connection) -> list[Known]:
    """All lists, by name."""
    rows = await fetch(
        conn, "SELECT name, title, version, kind, digest, entries, left_out, loaded_at FROM warninglists ORDER BY name"
    )
    return [Known(*row) for row in rows]


# ------------------------------------------------------------------------------------------------------------ loading


async def load(conn: Connection, lists: Iterable[Warninglist], at: datetime) -> int:
    """Put these lists in the place of what is stored under their names, inside a transaction of the caller's.

    Answers how many entries came, went or changed. Another load waits until it ends.
    """
    await conn.execute("SELECT pg_advisory_xact_lock('warninglists'::regclass::int)")
    changed = 0
    pks: list[int] = []
    for each in lists:
        pk, new = await _note(conn, each, at)
        if new:
            await _copy(conn, each, pk, _NEW)
            changed += each.entries
            continue
        if not pks:
            await conn.execute(_STAGING)
        await _copy(conn, each, pk, _STAGED)
        pks.append(pk)
    if pks:
        for difference in _DIFFERENCES:
            changed += (await conn.execute(difference, (pks,))).rowcount
        await conn.execute("DROP TABLE staged_names, staged_networks")
    if changed:
        await _nest(conn)
    return changed


_NEW: tuple[LiteralString, LiteralString] = (
    "COPY warning_names FROM STDIN",
    "COPY warning_networks (network, list) FROM STDIN",
)
_STAGED: tuple[LiteralString, LiteralString] = (
    "COPY staged_names FROM STDIN",
    "COPY staged_networks (network, list) FROM STDIN",
)
# Whole tables are compared then, which the plans of all other statements avoid.
_STAGING: LiteralString = """
SET LOCAL enable_seqscan = on;
SET LOCAL enable_bitmapscan = on;
SET LOCAL enable_sort = on;
CREATE TEMPORARY TABLE staged_names (LIKE warning_names) ON COMMIT DROP;
CREATE TEMPORARY TABLE staged_networks (LIKE warning_networks INCLUDING DEFAULTS) ON COMMIT DROP
"""
_DIFFERENCES: tuple[LiteralString, ...] = (
    """DELETE FROM warning_names w WHERE list = ANY(%s)
       AND NOT EXISTS (SELECT FROM staged_names s WHERE (s.name, s.list, s.below) = (w.name, w.list, w.below))""",
    """INSERT INTO warning_names SELECT * FROM staged_names s WHERE list = ANY(%s)
       AND NOT EXISTS (SELECT FROM warning_names w WHERE (s.name, s.list) = (w.name, w.list))""",
    """DELETE FROM warning_networks w WHERE list = ANY(%s)
       AND NOT EXISTS (SELECT FROM staged_networks s WHERE (s.network, s.list) = (w.network, w.list))""",
    """INSERT INTO warning_networks SELECT * FROM staged_networks s WHERE list = ANY(%s)
       AND NOT EXISTS (SELECT FROM warning_networks w WHERE (s.network, s.list) = (w.network, w.list))""",
)


async def _nest(conn: Connection) -> None:
    """Write down of each network which others contain it."""
    rows = await fetch(conn, "SELECT DISTINCT network::cidr FROM warning_networks ORDER BY 1")
    inside: list[tuple[str, str]] = []
    above: list[IPv4Network | IPv6Network] = []
    for (network,) in rows:
        while above and not (above[-1].version == network.version and network.subnet_of(above[-1])):
            above.pop()
        if above:
            inside.append((str(network), "{" + ",".join(map(str, above)) + "}"))
        above.append(network)
    await conn.execute(
        """WITH nested AS (SELECT * FROM unnest(%s::inet[], %s::text[]) AS n (network, above))
           UPDATE warning_networks w SET above = coalesce(n.above, '{}')::inet[]
           FROM warning_networks o LEFT JOIN nested n ON n.network = o.network
           WHERE w.network = o.network AND w.list = o.list AND w.above <> coalesce(n.above, '{}')::inet[]""",
        ([network for network, _ in inside], [text for _, text in inside]),
    )


async def _note(conn: Connection, each: Warninglist, at: datetime) -> tuple[int, bool]:
    """Write down that the list is there; answers its database key, and whether it is new."""
    ((pk, new),) = await fetch(
        conn,
        """INSERT INTO warninglists (name, title, version, kind, digest, entries, left_out, loaded_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
           ON CONFLICT (name) DO UPDATE
           SET (title, version, kind, digest, entries, left_out, loaded_at)
             = (EXCLUDED.title, EXCLUDED.version, EXCLUDED.kind, EXCLUDED.digest, EXCLUDED.entries, EXCLUDED.left_out,
                EXCLUDED.loaded_at)
           RETURNING pk, xmax = 0""",
        (each.name, each.title, each.version, each.kind, each.digest, each.entries, each.left_out, at),
    )
    return int(pk), bool(new)


async def _copy(
    conn: Connection,
    each: Warninglist,
    pk: int,
    into: tuple[LiteralString, LiteralString],
) -> None:
    """Send a list's entries, the names in the order of the index. In portions, between which others have their turn."""
    lines = sorted(f"{_kept(name)}\t{pk}\t{'t' if below else 'f'}\n" for name, below in each.names.items())
    async with conn.cursor() as cursor:
        for start in range(0, len(lines), _PORTION):
            async with cursor.copy(into[0]) as copy:
                # A backslash may stand in a URL, and is COPY's own.
                await copy.write("".join(lines[start : start + _PORTION]).replace("\\", "\\\\"))
        async with cursor.copy(into[1]) as copy:
            await copy.write("".join(f"{network}\t{pk}\n" for network in each.networks))


# Each step walks an index for each value asked (OFFSET 0 keeps it so, whatever PostgreSQL believes of the sizes).
_LISTED = """
WITH hits AS (
  SELECT nth, list, 1 AS how, a.name AS entry
    FROM unnest(%(parents_nth)s::int[], string_to_array(%(parents)s, E'\\n')) AS a (nth, name)
         CROSS JOIN LATERAL (SELECT list, below FROM warning_names w WHERE w.name = a.name OFFSET 0) w
   WHERE below
  UNION ALL
  SELECT nth, list, CASE WHEN min(entry) = a.name THEN 0 ELSE 2 END, min(entry)
    FROM unnest(%(names_nth)s::int[], string_to_array(%(names)s, E'\\n')) AS a (nth, name)
         CROSS JOIN LATERAL (SELECT list, w.name AS entry FROM warning_names w
                              WHERE w.name >= a.name AND w.name < a.name || '-' ORDER BY w.name LIMIT %(below)s) w
   GROUP BY nth, a.name, list
  UNION ALL
  SELECT nth, list, 0, a.text
    FROM unnest(%(texts_nth)s::int[], string_to_array(%(texts)s, E'\\n')) AS a (nth, text)
         CROSS JOIN LATERAL (SELECT list FROM warning_names w WHERE w.name = a.text OFFSET 0) w
  UNION ALL
  SELECT nth, list, CASE WHEN w.network = a.network THEN 0 ELSE 1 END, host(w.network) || '/' || masklen(w.network)
    FROM unnest(%(networks_nth)s::int[], string_to_array(%(networks)s, E'\\n')::inet[]) AS a (nth, network)
         CROSS JOIN LATERAL (SELECT w.network, above FROM warning_networks w WHERE w.network <= a.network
                              ORDER BY w.network DESC LIMIT 1) last
         CROSS JOIN LATERAL unnest(above || last.network) AS each (network)
         CROSS JOIN LATERAL (SELECT list, w.network FROM warning_networks w WHERE w.network = each.network OFFSET 0) w
   WHERE each.network >>= a.network
  UNION ALL
  SELECT nth, list, 2, min(host(w.network) || '/' || masklen(w.network))
    FROM unnest(%(wide_nth)s::int[], string_to_array(%(wide)s, E'\\n')::inet[]) AS a (nth, network)
         CROSS JOIN LATERAL (SELECT list, w.network FROM warning_networks w
                              WHERE w.network > a.network AND w.network <= set_masklen(broadcast(a.network),
                                    CASE family(a.network) WHEN 4 THEN 32 ELSE 128 END) OFFSET 0) w
   GROUP BY nth, list
)
SELECT nth, l.name, l.title, how, entry FROM hits JOIN warninglists l ON l.pk = hits.list ORDER BY nth, how, l.name
"""
_HOW: tuple[How, ...] = ("same", "inside", "around")


async def listed(conn: Connection, observables: Iterable[Observable]) -> dict[Observable, list[Listed]]:
    """Which lists name these values, and how. URLs and e-mail addresses are asked for as they are, and by their host.

    What no list names is left out. One statement, whose every step walks an index.
    """
    asking: dict[Observable, list[tuple[Observable, bool]]] = {}
    for observable in dict.fromkeys(observables):
        asking.setdefault(observable, []).append((observable, False))
        if where := host(observable):
            asking.setdefault(where, []).append((observable, True))
    rows = await fetch(conn, _LISTED, _question(asking)) if asking else []
    found: dict[Observable, list[Listed]] = {}
    askers = list(asking.values())
    for nth, name, title, how, entry in rows:
        for observable, by_host in askers[nth]:
            found.setdefault(observable, []).append(Listed(name, title, _HOW[how], _shown(entry), by_host))
    return found


def _question(asked: Iterable[Observable]) -> dict[str, object]:
    """The values as the statement wants them: each column as one text, since the driver would look at each value."""
    names: list[tuple[int, str]] = []
    parents: list[tuple[int, str]] = []
    texts: list[tuple[int, str]] = []
    networks: list[tuple[int, str]] = []
    wide: list[tuple[int, str]] = []
    for nth, (kind, value) in enumerate(asked):
        if kind == "domain-name":
            name = parent = _turned(value)
            names.append((nth, name))
            top = name.index(",")
            while (cut := parent.rfind(",")) > top:
                parent = parent[:cut]
                parents.append((nth, parent))
        elif kind in places.WIDEST:
            networks.append((nth, value))
            # wider ones hold half of every list, and are held anyway
            if "/" in value and int(value.rpartition("/")[2]) >= places.WIDEST[kind]:
                wide.append((nth, value))
        else:
            texts.append((nth, value))
    question: dict[str, object] = {"below": _BELOW}
    for column, rows in {
        "names": names,
        "parents": parents,
        "texts": texts,
        "networks": networks,
        "wide": wide,
    }.items():
        question[column] = "\n".join([text for _, text in rows])
        question[f"{column}_nth"] = numbers([nth for nth, _ in rows])
    return question


def _turned(domain: str) -> str:
    return ",".join(reversed(domain.split(".")))


def _kept(value: str) -> str:
    """A list's value as it is kept: a domain from its top down. What else there is has no dot, or a sign of its own."""
    return value if "@" in value or "/" in value else _turned(value)


def _shown(entry: str) -> str:
    """An entry as people write it."""
    if "@" in entry or "://" in entry:
        return entry
    return ".".join(reversed(entry.split(","))) if "," in entry else _single(entry)


def _single(network: str) -> str:
    """Without the length of what is one address."""
    address, _, length = network.partition("/")
    return address if length == ("128" if ":" in address else "32") else network
