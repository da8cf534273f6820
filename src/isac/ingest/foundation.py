"""What every ISAC starts with: the public, its jurisdictions, the ISAC itself, the TLP marking definitions.

And the warninglists that come with the program, at every start, since a newer program may bring newer ones.
"""

from collections.abc import Iterable

import orjson

from isac import times
from isac.ingest import warninglists
from isac.ingest.intake import Submission, take_in
from isac.policy.jurisdictions import Jurisdiction
from isac.policy.organizations import Organization
from isac.stix.markings import SEEDS, TLP
from isac.store import members, objects
from isac.store.database import Pool

#: the ISAC's own name until its operator gives it another
NAME = "Election ISAC"


async def found(pool: Pool, roster: Iterable[Jurisdiction]) -> bool:
    """Lay the foundation in an empty database, once; answers whether it was needed."""
    async with pool.connection() as conn, conn.transaction():
        new = await members.begin(conn)
        if new:
            await members.import_jurisdictions(conn, roster, "operator", times.now())
            await members.add_organizations(conn, [Organization("us", NAME, "isac", "")])
        asking = await members.steward(conn)
        public = await members.shelf(conn, "public")
        last = str(orjson.loads(SEEDS[-1])["id"])
        seeded = not new and await objects.exists(conn, public, last)
    if not seeded:
        # Clients learn a TLP only from a definition that they have seen, so everybody gets these first.
        await take_in(pool, Submission(SEEDS, public.own, NAME, TLP.CLEAR), asking)
    await warninglists.load(pool, warninglists.ours(), "operator")
    return new
