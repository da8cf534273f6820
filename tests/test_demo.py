"""`isac demo`, as a visitor tries it: its printed commands work, Ctrl-C stops everything, a second start keeps all."""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from tests.conftest import living_in

pytestmark = pytest.mark.slow

ISAC = Path(sys.executable).with_name("isac")
ENDS = re.compile(r"Serving on (http://127\.0\.0\.1:(\d+)), Ctrl-C stops everything\.\n")
#: seconds; nothing of this takes as long on a busy machine
PATIENCE = 120


@dataclass
class Run:
    """One start of the demonstration and what it said; its process leads a group, as a shell makes it."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def curls(self) -> list[str]:
        return [line.strip() for line in self.lines if line.startswith("curl ")]

    @property
    def snippets(self) -> list[str]:
        return [line.strip() for line in self.lines if "taxii2client" in line]

    @property
    def feeds(self) -> list[str]:
        return [line for line in self.lines if line.startswith("feed ")]

    def end(self, kill: Callable[[int], None]) -> tuple[int, str]:
        kill(self.process.pid)
        _, words = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, words


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ISAC_", "PG"))}
    return kept | {"ISAC_HOME": str(home)}


def begin(home: Path) -> Run:
    process = subprocess.Popen(
        [ISAC, "demo", "--port", "0"],
        cwd=home.parent,
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    run = Run(process)
    assert process.stdout is not None
    deadline = threading.Timer(PATIENCE, process.kill)
    deadline.start()
    try:
        for line in process.stdout:
            run.lines.append(line)
            if found := ENDS.fullmatch(line):
                run.port = int(found[2])
                return run
    finally:
        deadline.cancel()
    raise AssertionError(f"it ended: {process.stderr and process.stderr.read()}")


def ask(curl: str) -> httpx2.Response:
    """What the printed curl asks, over plain HTTP."""
    *options, login, url = shlex.split(curl)
    assert options == ["curl", "-s", "-g", "-u"]
    name, secret = login.split(":", 1)
    return httpx2.get(url, auth=(name, secret), trust_env=False, timeout=30)


def count(curl: str) -> int:
    """How many objects the printed curl's collection holds."""
    found, more, after = 0, True, ""
    while more:
        answer = ask(curl.replace("limit=3&match[type]=indicator", f"limit=1000{after}")).json()
        found += len(answer.get("objects", []))
        more = answer.get("more", False)
        after = f"&next={answer.get('next')}"
    return found


@dataclass
class Story:
    """What happened, in the order of the fields."""

    lines: list[str]
    answers: list[httpx2.Response]
    snippets: list[subprocess.CompletedProcess[str]]
    counts: list[int]
    lived: list[str]
    taken: subprocess.CompletedProcess[str]
    interrupted: tuple[int, str]
    left: list[str]
    again: Run
    counts_again: list[int]
    answers_again: list[httpx2.Response]
    terminated: tuple[int, str]
    left_again: list[str]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Two starts on one folder; the first is ended by Ctrl-C, which a terminal sends to all, the second by SIGTERM."""
    home = tmp_path_factory.mktemp("demo") / "home"
    first = begin(home)
    try:
        answers = [ask(curl) for curl in first.curls]
        snippets = [
            subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=PATIENCE, check=False)
            for line in first.snippets
        ]
        counts = [count(curl) for curl in first.curls]
        lived = living_in(home)
        elsewhere = home.with_name("elsewhere")
        taken = subprocess.run(
            [ISAC, "demo", "--port", str(first.port)],
            env=environment(elsewhere),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except BaseException:
        first.end(lambda pid: os.kill(pid, signal.SIGTERM))
        raise
    interrupted = first.end(lambda pid: os.killpg(pid, signal.SIGINT))
    left = living_in(home)
    second = begin(home)
    try:
        moved = [curl.replace(f":{first.port}/", f":{second.port}/") for curl in first.curls]
        counts_again, answers_again = [count(curl) for curl in moved], [ask(curl) for curl in moved]
    finally:
        terminated = second.end(lambda pid: os.kill(pid, signal.SIGTERM))
    return Story(
        first.lines,
        answers,
        snippets,
        counts,
        lived,
        taken,
        interrupted,
        left,
        second,
        counts_again,
        answers_again,
        terminated,
        living_in(home),
    )


def test_it_says_what_became_of_its_feeds(story: Story) -> None:
    feeds = [line for line in story.lines if line.startswith("feed ")]

    assert len(feeds) >= 4
    took = re.compile(r"feed [a-z-]+: [1-9]\d* accepted, \d+ held, \d+ refused, 0 there already\n")
    assert [line for line in feeds if not took.fullmatch(line)] == []


def test_the_printed_curls_work(story: Story) -> None:
    assert [answer.status_code for answer in story.answers] == [200, 200, 200]
    assert [len(answer.json()["objects"]) for answer in story.answers] == [3, 3, 3]


def test_the_printed_snippets_work(story: Story) -> None:
    assert len(story.snippets) == 3
    for done in story.snippets:
        assert (done.returncode, done.stderr) == (0, "")
        assert re.search(r" [1-9]\d* objects$", done.stdout, re.MULTILINE)


def test_a_taken_port_is_one_sentence(story: Story) -> None:
    assert story.taken.returncode == 3
    assert re.fullmatch(r"error: Port \d+ on 127\.0\.0\.1 is not free \(.+\n", story.taken.stderr)


def test_ctrl_c_stops_everything(story: Story) -> None:
    code, words = story.interrupted

    assert story.lived
    assert code in (0, 130)
    assert "Traceback" not in words
    assert story.left == []


def test_a_second_start_keeps_everything(story: Story) -> None:
    assert story.again.curls == [
        curl.replace(curl.split("127.0.0.1:")[1].split("/")[0], str(story.again.port))
        for curl in (line.strip() for line in story.lines if line.startswith("curl "))
    ]
    assert story.counts_again == story.counts
    assert min(story.counts) > 3
    assert [answer.content for answer in story.answers_again] == [answer.content for answer in story.answers]


def test_a_second_start_takes_nothing_in(story: Story) -> None:
    assert len(story.again.feeds) >= 4
    assert [line for line in story.again.feeds if not line.endswith(": nothing is new\n")] == []


def test_sigterm_stops_everything(story: Story) -> None:
    code, words = story.terminated

    assert code in (0, 128 + signal.SIGTERM)
    assert "Traceback" not in words
    assert story.left_again == []
