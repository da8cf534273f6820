"""Token buckets: what may come at once, what comes back, and what they cost."""

import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isac.serve.limits import KEY, WRONG_KEY, Allowance, Buckets


def taken(buckets: Buckets, key: str, now: float, times: int) -> int:
    """How many of so many requests at one instant may pass."""
    return sum(buckets.take(key, now) == 0 for _ in range(times))


def test_a_burst_passes_and_then_the_rate() -> None:
    buckets = Buckets(Allowance(rate=2, burst=5))

    assert taken(buckets, "a", 100, 10) == 5
    assert buckets.take("a", 100) == pytest.approx(0.5)
    assert taken(buckets, "a", 100.5, 10) == 1
    assert taken(buckets, "a", 102.5, 10) == 4
    assert taken(buckets, "a", 1000, 10) == 5


def test_whoever_waits_as_told_may_pass() -> None:
    buckets = Buckets(Allowance(rate=3, burst=4))
    taken(buckets, "a", 0, 4)

    assert buckets.take("a", buckets.take("a", 0) + 1e-9) == 0


def test_being_turned_away_costs_nothing() -> None:
    buckets = Buckets(Allowance(rate=1, burst=1))
    taken(buckets, "a", 0, 1000)

    assert buckets.take("a", 1) == 0


def test_each_key_has_its_own() -> None:
    buckets = Buckets(Allowance(rate=1, burst=2))
    taken(buckets, "a", 0, 10)

    assert taken(buckets, "b", 0, 10) == 2


@given(st.lists(st.floats(0, 0.2), max_size=200))
def test_never_more_than_burst_and_rate(pauses: list[float]) -> None:
    buckets, now, passed = Buckets(Allowance(rate=10, burst=5)), 0.0, 0
    for pause in pauses:
        now += pause
        passed += buckets.take("a", now) == 0
        assert passed <= 5 + now * 10 + 1e-6


def test_memory_is_bounded() -> None:
    buckets = Buckets(Allowance(rate=1, burst=10), most=100)
    for n in range(10_000):
        buckets.take(n, n / 1000)
        assert len(buckets) <= 100


def test_the_emptiest_buckets_are_kept() -> None:
    buckets = Buckets(Allowance(rate=1, burst=10), most=100)
    taken(buckets, "busy", 0, 9)
    for n in range(1000):
        buckets.take(n, 5)

    assert taken(buckets, "busy", 5, 10) == 6


@pytest.mark.taxii("L-18")
def test_l18_a_product_that_polls_each_second_and_pages_never_meets_it() -> None:
    buckets, turned_away = Buckets(KEY), 0
    for second in range(60):
        pages = 400 if second % 30 == 0 else 1
        turned_away += pages - taken(buckets, "a", second, pages)
    assert turned_away == 0


def test_guessing_is_slow() -> None:
    buckets = Buckets(WRONG_KEY)
    assert sum(taken(buckets, "192.0.2.7", second, 100) for second in range(60)) == 79


def test_a_request_costs_less_than_a_microsecond() -> None:
    buckets = Buckets(KEY)
    keys = [bytes([n]) * 32 for n in range(200)]
    best = min(timeit.repeat(lambda: [buckets.take(key, 1.0) for key in keys], number=10, repeat=20))

    assert best / (10 * len(keys)) < 3e-6, "three, for a machine that others use as well"
