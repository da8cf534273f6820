"""How often anybody may ask: token buckets (429 with Retry-After, L-18)."""

import operator
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allowance:
    """Requests a second in the long run, and how many may come at once after a rest."""

    rate: float
    burst: float


#: of a key, in one worker: a SIEM that polls each second and reads a backlog of 500 pages does not meet it
KEY = Allowance(50, 500)
#: of an address whose requests bring no key, where the public collection is open; offices share addresses
VISITOR = Allowance(20, 200)
#: of an address, requests with a wrong key. Only they count and are turned away: good keys behind it go on.
WRONG_KEY = Allowance(1, 20)


class Buckets:
    """A bucket of tokens for each key. It fills at the allowance's rate, and each request takes one.

    Kept is only when a bucket will be full again, so one that is full can be forgotten. Where there are more than
    `most`, the fullest are forgotten: whoever comes from so many addresses gains little, and memory stays bounded.
    """

    def __init__(self, allowance: Allowance, most: int = 50_000) -> None:
        self._interval = 1 / allowance.rate
        self._reach = (allowance.burst - 1) / allowance.rate
        self._most = most
        self._full_at: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Hashable, now: float) -> float:
        """Take a token: 0, or the seconds until there is one. `now` is of a clock that never goes back."""
        full_at = self._full_at.get(key, now)
        if full_at < now:
            full_at = now
        wait = full_at - now - self._reach
        if wait > 0:
            return wait
        self._full_at[key] = full_at + self._interval
        if len(self._full_at) > self._most:
            self._forget(now)
        return 0.0

    def _forget(self, now: float) -> None:
        """Forget the full ones, and of the others the fuller half where they alone are too many."""
        left = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
        if len(left) > self._most // 2:
            left = dict(sorted(left.items(), key=operator.itemgetter(1))[-self._most // 2 :])
        self._full_at = left
