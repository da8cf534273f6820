"""What became of all files together, in words for whoever handed them in."""

from collections import Counter
from collections.abc import Iterator

from isac.ingest.files import Reading
from isac.store.submissions import Counts

#: reasons that are named; of more only the number
_REASONS = 20
#: submissions that are named one by one
_NAMED = 3


class Report:
    """Readings come in one by one; what could not be read at all stands in `unread`."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.unread: list[str] = []
        self.taken: Counter[str] = Counter()
        #: the audience, by its code and its name
        self.where = ""
        self.reasons: Counter[tuple[str, str]] = Counter()
        #: lines that could not be read either
        self.more = 0
        self.examples: dict[tuple[str, str], str] = {}
        #: what was read, by the submission's id
        self.submissions: dict[str, str] = {}

    def add(self, reading: Reading) -> None:
        self.submissions[reading.outcome.id] = reading.name
        self.counts += reading.outcome.counts + Counts(refused=reading.problems.refused)
        self.taken += reading.outcome.taken
        for verdict, lines in (("refused", reading.outcome.failures), ("held", reading.outcome.pendings)):
            for line in lines:
                self._note(verdict, line["message"], line["id"])
        for problem in reading.problems:
            verdict = "left out" if problem.left_out else "refused"
            self._note(verdict, problem.reason, f"{reading.name}, line {problem.line}: {problem.text}")
        self.more += reading.problems.refused + reading.problems.left_out - len(reading.problems)

    def _note(self, verdict: str, reason: str, example: str) -> None:
        self.reasons[verdict, reason] += 1
        self.examples.setdefault((verdict, reason), example)

    def lines(self) -> Iterator[str]:
        """The report, the counts first."""
        counts = self.counts
        yield f"accepted {counts.accepted}, held {counts.held}, refused {counts.refused}, repeated {counts.repeated}"
        if self.where:
            yield f"  for {self.where}"
        for code, number in self.taken.items():
            yield f"  {number} taken away from {code}, where the new marking does not let them be"
        for (verdict, reason), number in self.reasons.most_common(_REASONS):
            yield f"  {number} {verdict}: {reason}"
            yield f"      such as {self.examples[verdict, reason]}"
        if len(self.reasons) > _REASONS:
            yield f"  and {len(self.reasons) - _REASONS} more reasons"
        if self.more:
            yield f"  and {self.more:,} more lines that cannot be read"
        if any("reserved for documentation" in reason for _, reason in self.reasons):
            yield "  To try it with such addresses: --sample"
        for reason in self.unread:
            yield f"  not read: {reason}"
        if len(self.submissions) <= _NAMED:
            for submission, name in self.submissions.items():
                yield f"  submission {submission}: {name}"

    @property
    def exit_code(self) -> int:
        return 1 if self.counts.held or self.counts.refused or self.unread else 0
