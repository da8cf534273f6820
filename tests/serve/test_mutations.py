"""The mutations: each can be made, names a test of its row, and a few are tried here. `.ci/run` tries all."""

import subprocess
import sys

import pytest
from tests.serve import conformance, mutations
from tests.serve.mutations import Mutation

from isac.serve import queries

SOME = ("T-4", "T-52", "A-19")


def test_each_mutation_finds_its_text_once() -> None:
    found = [mutations.text_of(mutation) for mutation in mutations.ALL]

    assert all(before != after for before, after in found)
    assert len({mutation.row for mutation in mutations.ALL}) >= 50


def test_the_test_of_a_mutation_holds_its_row() -> None:
    held = conformance.holders()

    wrong = [str(each) for each in mutations.ALL if f"tests/serve/{each.test}" not in held.get(each.row, [])]
    assert wrong == []


def test_what_was_switched_off_is_put_back() -> None:
    mutation = Mutation("T-62", "isac.serve.queries", "MAX_LIMIT = 1000", "MAX_LIMIT = 7", "")
    with mutations.switched_off(mutation):
        assert queries.read(b"limit=9", queries.OF_OBJECTS).limit == 7

    assert queries.read(b"limit=9", queries.OF_OBJECTS).limit == 9


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["nowhere", "len(1)", "(_ for _ in ()).throw(OSError())"], ids=["name", "type", "answer of 500"]
)
def test_what_breaks_the_code_is_no_proof(text: str) -> None:
    good = next(each for each in mutations.ALL if each.old == "min(int(digits), MAX_LIMIT)")
    mutation = (good.row, good.module, good.old, text, good.test)
    program = (
        f"from tests.serve import mutations; mutations.ALL = [mutations.Mutation(*{mutation!r})]; "
        "raise SystemExit(mutations.main([]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=conformance.ROOT, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 1, done.stdout
    assert "BROKEN" in done.stdout


@pytest.mark.slow
def test_some_mutations_are_killed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.serve.mutations", *SOME],
        cwd=conformance.ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert done.stdout.count("killed ") >= len(SOME)
