"""What the counts that a provider reported teach about one model. Must not be thrown off by a few wrong counts.

A tokenizer that nobody published treats words, digits and scripts each by its own ratio to ours. The ratios are a
weighted least-squares fit of reported counts on our estimates by kind, in relative terms, held at 1 by a weak prior;
counts that are far off weigh little (iteratively reweighted, weight falling with the square of the distance).
"""

from __future__ import annotations

from typing import Final

import msgspec

from sekisho.tokens.text import Parts

_KINDS: Final = len(Parts._fields)
_PAIRS: Final = tuple((row, column) for row in range(_KINDS) for column in range(row, _KINDS))
#: how much older counts weigh after one more: half of it after some 70
_KEEP: Final = 0.99
#: the prior weighs as much as so many calls that consist of one kind only
_PRIOR: Final = 0.25
#: from so many counts on only every eighth is taken, and the ratios are worked out anew only as often
_SETTLED: Final = 64
_EVERY: Final = 8
_LEAST_RATIO: Final = 0.2
_MOST_RATIO: Final = 6.0
#: relative distance at which a count begins to weigh less, by the usual distance so far
_FAR: Final = 3.0
_LEAST_SPREAD: Final = 0.04
_FIRST_SPREAD: Final = 0.35
#: below it a count says more about framing than about a tokenizer
_FEWEST_TOKENS: Final = 8
_MOST_MODELS: Final = 1_000


class Calibration(msgspec.Struct):
    """One model's sums, some 35 numbers. Sums of several processes are merged by adding them up."""

    n: int = 0
    #: sums of products of the kinds' shares, upper triangle row by row
    products: list[float] = msgspec.field(default_factory=lambda: [0.0] * len(_PAIRS))
    #: sums of the kinds' shares
    shares: list[float] = msgspec.field(default_factory=lambda: [0.0] * _KINDS)
    #: usual relative distance between estimate and count
    spread: float = _FIRST_SPREAD
    #: decayed sums of counts, and of what `rough` said of them
    counted: float = 0.0
    guessed: float = 0.0
    ratios: list[float] = msgspec.field(default_factory=lambda: [1.0] * _KINDS)

    def correct(self, parts: Parts) -> int:
        """HOT. Tokens of this model from an estimate by kind."""
        if not self.n:
            return round(sum(parts))
        return round(sum(map(float.__mul__, parts, self.ratios)))

    def correct_rough(self, rough: int) -> int:
        """HOT. The same from `rough`, by one ratio."""
        return rough if self.guessed <= 0 else round(rough * self.counted / self.guessed)

    def observe_rough(self, rough: int, tokens: int) -> None:
        """A count beside what `rough` said. A count off by more than five times is left out."""
        if tokens >= _FEWEST_TOKENS and rough < 5 * tokens < 25 * rough:
            self.counted = self.counted * _KEEP + tokens
            self.guessed = self.guessed * _KEEP + rough

    def wants(self) -> bool:
        """HOT. Whether the next count is one to `observe`; where it is not, it counts as seen: a request need not be
        measured only to have its count left out."""
        if self.n < _SETTLED or not (self.n + 1) % _EVERY:
            return True
        self.n += 1
        return False

    def observe(self, parts: Parts, tokens: int) -> None:
        """A count that the provider reported for a request (or an answer) estimated so. Estimated counts stay out."""
        if tokens < _FEWEST_TOKENS or not _usable(parts):
            return
        self.n += 1
        if self.n > _SETTLED and self.n % _EVERY:
            return
        relative = [part / tokens for part in parts]
        distance = abs(1.0 - sum(map(float.__mul__, relative, self.ratios)))
        far = _FAR * max(self.spread, _LEAST_SPREAD)
        weight = 1.0 if distance <= far else (far / distance) ** 2
        self.spread += (min(distance, far) - self.spread) * (0.2 if self.n < _SETTLED else 0.05)
        products, shares = self.products, self.shares
        for place, (row, column) in enumerate(_PAIRS):
            products[place] = products[place] * _KEEP + weight * relative[row] * relative[column]
        for kind in range(_KINDS):
            shares[kind] = shares[kind] * _KEEP + weight * relative[kind]
        self.ratios = _solve(products, shares)

    def merge(self, other: Calibration) -> None:
        """Take in what another process learned of the same model."""
        n = self.n + other.n
        if not n:
            return
        self.spread = (self.spread * self.n + other.spread * other.n) / n
        self.n = n
        self.products = [mine + theirs for mine, theirs in zip(self.products, other.products, strict=True)]
        self.shares = [mine + theirs for mine, theirs in zip(self.shares, other.shares, strict=True)]
        self.counted += other.counted
        self.guessed += other.guessed
        self.ratios = _solve(self.products, self.shares)


class Calibrations:
    """The calibrations of all models, by whatever name the caller gives them (`provider/model`)."""

    def __init__(self) -> None:
        self._models: dict[str, Calibration] = {}

    def of(self, model: str) -> Calibration:
        """HOT. The calibration of a model; a new one knows nothing and corrects nothing."""
        found = self._models.get(model)
        if found is None:
            while len(self._models) >= _MOST_MODELS:
                del self._models[next(iter(self._models))]
            found = self._models[model] = Calibration()
        return found

    def merge(self, saved: bytes) -> None:
        """Add what `save` of this or another process gave. Raises msgspec.MsgspecError for anything else."""
        for model, learned in msgspec.json.decode(saved, type=dict[str, Calibration]).items():
            if len(learned.products) != len(_PAIRS) or len(learned.shares) != _KINDS:
                raise msgspec.ValidationError("a calibration of another version")
            self.of(model).merge(learned)

    def save(self) -> bytes:
        """All models as JSON, some 600 bytes each."""
        return msgspec.json.encode({model: learned for model, learned in self._models.items() if learned.n})


def _usable(parts: Parts) -> bool:
    return all(0 <= part < 1e12 for part in parts) and any(parts)


def _solve(products: list[float], shares: list[float]) -> list[float]:
    """Ratios by Gaussian elimination. The prior makes the matrix positive definite, so no pivot vanishes."""
    rows = [[0.0] * _KINDS + [share + _PRIOR] for share in shares]
    for (row, column), product in zip(_PAIRS, products, strict=True):
        rows[row][column] = rows[column][row] = product
    for kind in range(_KINDS):
        rows[kind][kind] += _PRIOR
    for kind in range(_KINDS):
        pivot = rows[kind]
        for lower in rows[kind + 1 :]:
            factor = lower[kind] / pivot[kind]
            if factor:
                for column in range(kind, _KINDS + 1):
                    lower[column] -= factor * pivot[column]
    ratios = [1.0] * _KINDS
    for kind in reversed(range(_KINDS)):
        row = rows[kind]
        known = sum(row[column] * ratios[column] for column in range(kind + 1, _KINDS))
        ratios[kind] = (row[_KINDS] - known) / row[kind]
    return [min(max(ratio, _LEAST_RATIO), _MOST_RATIO) for ratio in ratios]
