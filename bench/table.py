"""The figures as Markdown, and their place in docs/performance.md."""

import importlib.metadata
import os
import platform
import re
import shutil
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

BEGIN, END = "<!-- begin: make bench -->", "<!-- end: make bench -->"
#: whose versions stand beside the figures
_PACKAGES = ("uvicorn", "uvloop", "httptools", "fastapi", "psycopg", "orjson", "medallion")


@dataclass(frozen=True)
class Figure:
    """A median of ours, the one beside it, and the ratio that is wanted."""

    measure: str
    size: int
    ours: float
    beside: str
    theirs: float | None
    target: float | None = None
    wanted: str = "at least"
    note: str = ""

    @property
    def value(self) -> float:
        """What the target is about: ours / theirs, or ours where nothing is beside it."""
        return self.ours if self.theirs is None else self.ours / self.theirs

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value >= self.target if self.wanted == "at least" else self.value <= self.target

    def cells(self) -> list[str]:
        theirs = "" if self.theirs is None else number(self.theirs)
        ratio = "" if self.theirs is None else f"{self.value:.3f}"
        target = "" if self.target is None else f"{self.wanted} {self.target:g}"
        met = {None: "", True: "met", False: "**missed**"}[self.met]
        return [self.measure, f"{self.size:,}", number(self.ours), self.beside, theirs, ratio, target, met, self.note]


@dataclass(frozen=True)
class Single:
    """A figure of ours beside medallion's, which has fewer objects."""

    measure: str
    ours: float
    size: int
    theirs: float
    faster_is_more: bool

    def cells(self) -> list[str]:
        times = self.ours / self.theirs if self.faster_is_more else self.theirs / self.ours
        return [self.measure, number(self.ours), number(self.theirs), f"{number(times)} times as fast"]


@dataclass
class Tables:
    """Everything that a run writes."""

    figures: list[Figure] = field(default_factory=list)
    singles: list[Single] = field(default_factory=list)
    #: lines of the common harness
    common: list[dict[str, Any]] = field(default_factory=list)
    postgres: str = ""
    #: when the run began, on the monotonic clock
    began: float = field(default_factory=time.monotonic)

    def add(self, one: Figure | Single) -> None:
        if isinstance(one, Figure):
            self.figures.append(one)
        else:
            self.singles.append(one)

    def text(self) -> str:
        """Markdown."""
        size = max((figure.size for figure in self.figures if figure.beside == "raw COPY"), default=0)
        head = ["measure", "objects", "isac", "beside it", "its figure", "ratio", "target", "", "note"]
        parts = [self._machine(), _table(head, [figure.cells() for figure in self.figures])]
        if self.singles:
            head = ["measure", f"isac, {size:,} objects", f"medallion, {self.singles[0].size:,} objects", "isac is"]
            parts += ["Beside medallion:", _table(head, [single.cells() for single in self.singles])]
        if self.common:
            cells = [
                [f"{line['step']}: {line['metric']}", f"{line['size']:,}", number(line["value"]), line["unit"]]
                for line in self.common
                if line["value"] is not None
            ]
            parts += ["The common harness on the same server:", _table(["measure", "objects", "isac", "unit"], cells)]
        return "\n\n".join(parts) + "\n"

    def write(self, page: Path) -> None:
        """Put the tables between the page's markers. Raises RuntimeError where it has none."""
        before = page.read_text(encoding="utf-8")
        replaced, found = re.subn(
            f"{re.escape(BEGIN)}.*?{re.escape(END)}",
            lambda _: f"{BEGIN}\n\n{self.text()}\n{END}",
            before,
            flags=re.DOTALL,
        )
        if found != 1:
            raise RuntimeError(f"{page}: {BEGIN} … {END} is not there, or there more than once")
        page.write_text(replaced, encoding="utf-8")

    def _machine(self) -> str:
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
        client = "wrk" if shutil.which("wrk") else "our own asyncio client"
        minutes = (time.monotonic() - self.began) / 60
        memory = psutil.virtual_memory().total / 2**30
        return (
            f"{datetime.now(UTC):%Y-%m-%d}, {minutes:.0f} minutes. {os.cpu_count()} cores ({_processor()}), "
            f"{memory:.0f} GiB, {platform.system()} {platform.release().split('-')[0]}; clients, server and PostgreSQL "
            f"share them. Load average at the end: {os.getloadavg()[0]:.1f}. Python {platform.python_version()}, "
            f"{self.postgres}, {versions}. One worker, two for the members; rates by {client}."
        )


def number(value: float) -> str:
    """Three digits that tell something."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _table(head: list[str], lines: list[list[str]]) -> str:
    words = ("measure", "beside it", "note", "target", "", "unit", "isac is")
    rule = ["---" if name in words else "---:" for name in head]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else []
    return names[0].strip() if names else platform.machine()
