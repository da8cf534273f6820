"""Rules of TAXII switched off one after the other: each time the test that holds the rule has to fail.

`python -m tests.serve.mutations` tries all of them, with rows as arguments those of the rows, and says which survive.
One that breaks the code proves nothing, though its test fails: a name that is not there, an answer of 500.
A mutation changes some text of one of our modules. Its functions and constants are exchanged in this very process,
where the tests' servers run, and put back afterwards.
"""

import importlib
import inspect
import logging
import re
import signal
import sys
import types
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from tests.serve.switched_off import MUTATIONS

HERE = Path(__file__).parent
#: seconds for a test: a rule that is off may lead a reader in a circle
PATIENCE = 20
#: what a rule that is off does not raise, but a text that is wrong
BREAKS = (NameError, AttributeError, TypeError, ImportError, SyntaxError)
CONSTANTS = (str, bytes, int, float, tuple, frozenset, dict, re.Pattern)


@dataclass(frozen=True)
class Mutation:
    """A rule switched off: in the module, `old` becomes `new`, and the test fails."""

    row: str
    module: str
    old: str
    new: str
    #: below tests/serve
    test: str

    def __str__(self) -> str:
        return f"{self.row:5} {self.module}: {self.old.strip()[:60]!r} → {self.new.strip()[:40]!r}"


ALL = [Mutation(*each) for each in MUTATIONS]


def text_of(mutation: Mutation) -> tuple[str, str]:
    """The module's text before and after. Raises ValueError where it does not have the old one exactly once."""
    text = inspect.getsource(importlib.import_module(mutation.module))
    if text.count(mutation.old) != 1:
        raise ValueError(f"{mutation}: there {text.count(mutation.old)} times")
    return text, text.replace(mutation.old, mutation.new)


@contextmanager
def switched_off(mutation: Mutation) -> Iterator[None]:
    """The module with its new text, though all that was imported from it stays the same object."""
    module = importlib.import_module(mutation.module)
    other = types.ModuleType(mutation.module)
    other.__file__ = module.__file__
    exec(compile(text_of(mutation)[1], str(module.__file__), "exec"), other.__dict__)
    undo = list(_exchanged(module, other))
    try:
        yield
    finally:
        for owner, name, value in undo:
            setattr(owner, name, value)
        _forget(module)


def _exchanged(module: types.ModuleType, other: types.ModuleType) -> Iterator[tuple[Any, str, Any]]:
    """Exchange what differs; answers what to set back."""
    for name, theirs in vars(other).items():
        ours = vars(module).get(name)
        if isinstance(theirs, CONSTANTS) and not name.startswith("__") and type(ours) is type(theirs):
            if ours != theirs:
                yield module, name, ours
                setattr(module, name, theirs)
        elif getattr(theirs, "__module__", None) == module.__name__:
            pairs = [(ours, theirs)]
            if inspect.isclass(theirs):
                pairs = [(vars(ours).get(member), value) for member, value in vars(theirs).items()]
            for mine, its in pairs:
                function, changed = _function(mine), _function(its)
                if function and changed and function.__code__ != changed.__code__:
                    yield function, "__code__", function.__code__
                    function.__code__ = changed.__code__
    _forget(module)


def _function(found: Any) -> types.FunctionType | None:
    """The plain function in a property or behind a cache."""
    plain = getattr(found, "fget", None) or getattr(found, "__wrapped__", None) or found
    return plain if isinstance(plain, types.FunctionType) else None


def _forget(module: types.ModuleType) -> None:
    for found in vars(module).values():
        if hasattr(found, "cache_clear"):
            found.cache_clear()


class Judge:
    """Runs each mutation's test with it, after each test alone."""

    def __init__(self, mutations: Sequence[Mutation]) -> None:
        self._mutations = mutations
        self.complaints: list[str] = []
        #: why the test that runs says nothing of the rule
        self.breaks: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items: dict[str, list[pytest.Item]] = defaultdict(list)
        for item in session.items:
            items[Path(item.nodeid.split("[")[0]).name].append(item)
        for name, cases in items.items():
            if _fails(cases, session):
                self.complaints.append(f"{name} fails by itself")
        for mutation in self._mutations:
            print(f"{self._try(mutation, items[mutation.test], session):8} {mutation}", flush=True)
        session._setupstate.teardown_exact(None)
        return True

    def _try(self, mutation: Mutation, cases: Sequence[pytest.Item], session: pytest.Session) -> str:
        """What became of a mutation, in one word."""
        self.breaks.clear()
        try:
            with switched_off(mutation):
                killed = _fails(cases, session)
        except (ValueError, *BREAKS) as error:
            self.breaks.append(repr(error))
            killed = False
        if self.breaks:
            self.complaints.append(f"{mutation} breaks: {self.breaks[0]}")
            return "BROKEN"
        if not killed:
            self.complaints.append(f"{mutation} survives {mutation.test}")
            return "SURVIVED"
        return "killed"

    @pytest.hookimpl
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """A test that breaks itself, or whose server does not start (RuntimeError)."""
        if call.excinfo and issubclass(call.excinfo.type, BREAKS if call.when == "call" else (*BREAKS, RuntimeError)):
            self.breaks.append(f"{item.name}: {call.excinfo.exconly()}")


class Breaks(logging.Handler):
    """Notes what the server did not foresee: answers of 500, and what its background tasks raise."""

    def __init__(self, breaks: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._breaks = breaks

    def emit(self, record: logging.LogRecord) -> None:
        raised = record.exc_info[0] if record.exc_info else None
        if getattr(record, "status", None) == 500 or (raised and issubclass(raised, BREAKS)):
            self._breaks.append(
                f"{record.getMessage()}: {raised and raised.__name__} {record.exc_info and record.exc_info[1]}"
            )


def _fails(cases: Sequence[pytest.Item], session: pytest.Session) -> bool:
    for case in cases:
        case._initrequest()  # type: ignore[attr-defined]
        signal.alarm(PATIENCE)
        # The session as the next, so that PostgreSQL alone outlives the case.
        reports = runtestprotocol(case, log=False, nextitem=session)  # type: ignore[arg-type]
        signal.alarm(0)
        if any(report.failed for report in reports):
            return True
    return False


def _give_up(*_: object) -> None:
    raise TimeoutError("the test went on for ever")


def main(numbers: Sequence[str]) -> int:
    mutations = [mutation for mutation in ALL if not numbers or mutation.row in numbers]
    tests = sorted({str(HERE / mutation.test) for mutation in mutations})
    judge = Judge(mutations)
    logging.getLogger().addHandler(Breaks(judge.breaks))
    signal.signal(signal.SIGALRM, _give_up)
    # Without its reporter, which would say at the end that no tests ran.
    options = ["-o", "addopts=", "-p", "no:cacheprovider", "-p", "no:terminal"]
    if ended := pytest.main([*tests, *options], plugins=[judge]):
        judge.complaints.append(f"pytest ended with {ended!r}")
    print(*judge.complaints, f"{len(mutations)} mutations, {len(judge.complaints)} complaints", sep="\n")
    return len(judge.complaints)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
