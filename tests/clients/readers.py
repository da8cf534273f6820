"""Programs that read as members' products do, from what their makers publish; none of this is their code.

Each is configured as its manual says and has one scheduled run, `poll`. Where a product tells nothing of itself, its
program does the plainest thing that TAXII 2.1 allows. «C-…» are the lines of the survey of clients that the facts are
from.
"""

import base64
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import requests
from taxii2client.common import TokenAuth
from taxii2client.v21 import Collection, Server, as_pages
from tests.serve.conftest import TAXII

from isac import times

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Shelf:
    """A collection as somebody types it into a product."""

    id: str
    title: str


@dataclass(frozen=True)
class Account:
    """A server and a key, and the collections to read: the county's, and one of its own organization."""

    base: str
    key_id: str
    secret: str
    home: Shelf
    own: Shelf


@dataclass(frozen=True)
class Page:
    """One answer as it came."""

    run: int
    answered_at: datetime
    shelf: str
    asked_for: Mapping[str, str]
    first: str | None
    last: str | None
    more: bool
    next: str | None
    objects: list[dict[str, Any]]


class Reader(ABC):
    """A product that reads one collection; it keeps every answer."""

    #: objects a page; None: it leaves that to the server
    limit: int | None = 7
    #: types that it asks for; None: all
    types: tuple[str, ...] | None = None
    accept = TAXII

    def __init__(self, account: Account) -> None:
        self.account = account
        self.pages: list[Page] = []
        #: when each run began
        self.runs: list[datetime] = []
        #: of `runs`, the first one after the server had become quiet
        self.quiet = 0
        self.http = httpx2.Client(
            base_url=account.base,
            headers={"Accept": self.accept, "Authorization": self.authorization()},
            # A proxy of whoever runs the tests is none of theirs.
            trust_env=False,
        )

    def authorization(self) -> str:
        pair = f"{self.account.key_id}:{self.account.secret}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"

    def run(self) -> None:
        self.runs.append(times.now())
        self.poll()

    @abstractmethod
    def poll(self) -> None:
        """One run of the product."""

    def close(self) -> None:
        self.http.close()

    def get(self, path: str, query: Mapping[str, str], **headers: str) -> Page:
        answer = self.http.get(path, params=dict(query), headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == TAXII
        return self.note(str(answer.url.path), query, answer.headers, answer.json())

    def note(self, path: str, asked_for: Mapping[str, str], headers: Mapping[str, str], body: Any) -> Page:
        first, last = headers.get("X-TAXII-Date-Added-First"), headers.get("X-TAXII-Date-Added-Last")
        shelf, objects = path.split("/collections/")[1].split("/")[0], body.get("objects", [])
        more, onward = body.get("more", False), body.get("next")
        page = Page(len(self.runs) - 1, times.now(), shelf, dict(asked_for), first, last, more, onward, objects)
        self.pages.append(page)
        return page

    def of_limit(self) -> dict[str, str]:
        return {} if self.limit is None else {"limit": str(self.limit)}

    def objects_path(self, root: str = "/elections/") -> str:
        return f"{root}collections/{self.account.home.id}/objects/"


# --------------------------------------------------------------------------------------------------- on taxii2-client


class Taxii2Client(Reader):
    """taxii2-client 2.3.0 itself, by `as_pages` and the own clock: it shows no header (C-T2C-3, C-T2C-6)."""

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self.taxii = self.opened()
        for root in self.taxii.api_roots:  # each has a connection of its own
            root._conn.session.hooks["response"].append(self._heard)
        self.since: datetime | None = None

    def opened(self) -> Server:
        account = self.account
        return Server(f"{account.base}/taxii2/", user=account.key_id, password=account.secret)

    def poll(self) -> None:
        before, self.since = self.since, self.runs[-1]
        since = {"added_after": before} if before else {}
        for _ in as_pages(self.collection().get_objects, per_request=self.limit, **since):
            pass

    def collection(self) -> Collection:
        (found,) = [each for each in self.taxii.default.collections if each.id == self.account.home.id]
        return found

    def close(self) -> None:
        super().close()
        for opened in (self.taxii, *self.taxii.api_roots):
            opened.close()

    def _heard(self, answer: requests.Response, **_: object) -> None:
        path = httpx2.URL(answer.url).path
        if path.rstrip("/").endswith(("/objects", "/manifest")):
            query = dict(httpx2.URL(answer.url).params)
            self.note(path, query, answer.headers, answer.json())


class Taxii2ClientManifest(Taxii2Client):
    """The same on the manifest: a record stands for its object."""

    def poll(self) -> None:
        before, self.since = self.since, self.runs[-1]
        since = {"added_after": before} if before else {}
        for _ in as_pages(self.collection().get_manifest, per_request=5, **since):
            pass

    def note(self, path: str, asked_for: Mapping[str, str], headers: Mapping[str, str], body: Any) -> Page:
        records = [record | {"modified": record["version"]} for record in body.get("objects", [])]
        return super().note(path, asked_for, headers, body | {"objects": records})


class Xsoar(Taxii2Client):
    """Cortex XSOAR, TAXII 2 Feed: greatest `modified` as added_after (C-XSOAR-1, -3 to -7)."""

    limit = 10
    types = ("indicator", "relationship")

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self.greatest = LONG_AGO.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def opened(self) -> Server:
        """The user name `_api_token_key` makes the password a token."""
        return Server(f"{self.account.base}/taxii2/", auth=TokenAuth(self.account.secret))

    def poll(self) -> None:
        pages = as_pages(
            self.collection().get_objects,
            per_request=self.limit,
            added_after=self.greatest,
            type=list(self.types or ()),
        )
        for envelope in pages:
            if not envelope.get("objects"):
                break
            self.greatest = greatest(self.greatest, envelope["objects"])

    def collection(self) -> Collection:
        """The root by its last path part, the collection by its title, the first that fits."""
        (root,) = [root for root in self.taxii.api_roots if root.url.split("/")[-2] == "elections"]
        return next(each for each in root.collections if each.title == self.account.home.title)


class OpenCtiConnector(Taxii2Client):
    """OpenCTI's connector taxii2: all its collections in turn with one set of filters (C-OCTC-1, -2, -5).

    On `next` it drops added_after, and never drops `next`: the next collection gets that of the one before.
    """

    limit = 6

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self.filters: dict[str, Any] = {"limit": self.limit}
        self.before: datetime | None = None

    def poll(self) -> None:
        started = self.runs[-1].replace(microsecond=0)
        after = self.before or LONG_AGO
        for wanted in (f"elections.{self.account.home.title}", f"elections.{self.account.own.title}"):
            collection = self.named(wanted)
            self.filters["added_after"] = after
            envelope = collection.get_objects(**self.filters)
            while envelope.get("more"):
                self.filters.pop("added_after", None)
                self.filters["next"] = envelope["next"]
                envelope = collection.get_objects(**self.filters)
        self.before = started

    def named(self, wanted: str) -> Collection:
        last_part, title = wanted.split(".")
        (root,) = [root for root in self.taxii.api_roots if root.url.split("/")[-2] == last_part]
        (found,) = [each for each in root.collections if each.title == title]
        return found


def greatest(cursor: str, objects: Iterable[Mapping[str, Any]]) -> str:
    """The latest `modified` seen, as its own text."""
    texts: list[str] = [each["modified"] for each in objects if "modified" in each]
    return max([cursor, *texts], key=times.read)


# -------------------------------------------------------------------------------------------------------- on their own


class Elastic(Reader):
    """Elastic, custom threat intelligence: on with `next` and limit alone, then with the header (C-ELA-1 to -6)."""

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self.cursor: str | None = None
        #: quiet polls, which the product logs as errors: `{}` has no objects
        self.errors = 0

    def authorization(self) -> str:
        return f"Bearer {self.account.secret}"

    def poll(self) -> None:
        query = {"added_after": self.cursor or self.interval_ago()} | self.of_limit()
        while query:
            page = self.get(self.objects_path(), query, **{"Content-Type": TAXII})
            if not page.objects:
                self.errors += 1
                return
            self.remember(page)
            query = {"next": page.next} | self.of_limit() if page.next else {}

    def remember(self, page: Page) -> None:
        self.cursor = page.last or self.cursor

    def interval_ago(self) -> str:
        return (self.runs[-1] - timedelta(hours=24)).strftime("%Y-%m-%dT%H:%M:%SZ")


class ElasticOlder(Elastic):
    """Its older version: always all of the last interval (C-ELA-6)."""

    limit = 25

    def remember(self, page: Page) -> None:
        pass


class OpenCtiIngester(Reader):
    """OpenCTI's built-in ingester: one page a run, no limit, no slash, a JavaScript Date (C-OCTI-1 to -6)."""

    limit = None

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self.state: dict[str, str] = {}

    def authorization(self) -> str:
        return f"Bearer {self.account.secret}"

    def poll(self) -> None:
        page = self.get(self.objects_path().rstrip("/"), self.state)
        if page.more and page.next:
            self.state["next"] = page.next
            return
        self.state.pop("next", None)
        if page.objects:
            assert page.last, "without the header it goes on from now, and loses what came before"
            self.state["added_after"] = f"{page.last[:-4]}Z"


class MineMeld(Reader):
    """MineMeld: greatest `modified` as added_after (C-MM). How it pages is not known: by `next`, it is assumed."""

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self.greatest = times.stix(LONG_AGO)

    def poll(self) -> None:
        query = {"added_after": self.greatest} | self.of_limit()
        while query:
            page = self.get(self.objects_path(), query)
            self.greatest = greatest(self.greatest, page.objects)
            query = query | {"next": page.next} if page.next else {}


class Sentinel(Reader):
    """Microsoft Sentinel: API root URL, collection id, Basic (C-SENT-1, -4); all else is the plainest there is."""

    limit = None
    accept = "*/*"

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self.query: dict[str, str] = {}
        listed = self.http.get("/elections/collections/").json()["collections"]
        assert account.home.id in [each["id"] for each in listed]

    def poll(self) -> None:
        while True:
            page = self.get(self.objects_path(), self.query)
            if not page.next:
                break
            self.query["next"] = page.next
        self.query = {"added_after": page.last} if page.last else {}


class EclecticIq(Reader):
    """EclecticIQ: 100 a page, and headers that are not RFC 3339 end it (C-ECL)."""

    limit = 100

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self.after: str | None = None

    def poll(self) -> None:
        query = self.of_limit() | ({"added_after": self.after} if self.after else {})
        while query:
            page = self.get(self.objects_path(), query)
            for header in (page.first, page.last):
                assert header is None or datetime.fromisoformat(header).tzinfo
            self.after = page.last or self.after
            query = query | {"next": page.next} if page.next else {}


READERS: dict[str, type[Reader]] = {
    "taxii2-client": Taxii2Client,
    "taxii2-client, manifest": Taxii2ClientManifest,
    "XSOAR": Xsoar,
    "OpenCTI connector": OpenCtiConnector,
    "OpenCTI ingester": OpenCtiIngester,
    "Elastic": Elastic,
    "Elastic, older": ElasticOlder,
    "MineMeld": MineMeld,
    "Sentinel": Sentinel,
    "EclecticIQ": EclecticIq,
}
