"""What calls teach: unknown tokenizers after 20 calls, wrong counts, several processes, a restart."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.tokens.counted import Counted, counted, error, mean, of_kind

from sekisho.tokens.calibration import Calibration, Calibrations
from sekisho.tokens.text import Parts, measure, rough

#: a busy machine is not a failure
STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

EVERYDAY = ("japanese", "english", "code", "json")
UNKNOWN = ("cl100k", "deepseek", "tekken")


def taught(pieces: list[Counted], vocabulary: str) -> Calibration:
    calibration = Calibration()
    for piece in pieces:
        calibration.observe(measure(piece.text), piece.tokens[vocabulary])
    return calibration


def error_of(calibration: Calibration, pieces: list[Counted], vocabulary: str) -> float:
    return mean([error(calibration.correct(measure(piece.text)), piece.tokens[vocabulary]) for piece in pieces])


@pytest.mark.parametrize("vocabulary", UNKNOWN)
@pytest.mark.parametrize("kind", EVERYDAY)
def test_after_20_calls_on_an_unknown_tokenizer_the_mean_error_is_at_most_6_percent(kind: str, vocabulary: str) -> None:
    errors: list[float] = []
    for seed in range(10):
        pieces = random.Random(seed).sample(of_kind(kind), 44)
        errors.append(error_of(taught(pieces[:20], vocabulary), pieces[20:], vocabulary))
    assert mean(errors) <= 0.06


@pytest.mark.parametrize("vocabulary", UNKNOWN)
def test_after_20_calls_of_mixed_traffic_too(vocabulary: str) -> None:
    everyday = [piece for piece in counted() if piece.kind in EVERYDAY]
    errors: list[float] = []
    for seed in range(10):
        pieces = random.Random(seed).sample(everyday, len(everyday))
        errors.append(error_of(taught(pieces[:20], vocabulary), pieces[20:], vocabulary))
    assert mean(errors) <= 0.06


def test_without_calls_an_unknown_tokenizer_is_far_off() -> None:
    """So that the two tests above show something."""
    assert error_of(Calibration(), of_kind("japanese"), "cl100k") > 0.2


@pytest.mark.parametrize("vocabulary", UNKNOWN)
def test_one_wrong_count_in_ten_does_not_throw_it_off(vocabulary: str) -> None:
    errors: list[float] = []
    for seed in range(10):
        chance = random.Random(seed)
        pieces = chance.sample(of_kind("japanese"), 44)
        calibration = Calibration()
        for n, piece in enumerate(pieces[:30]):
            wrong = chance.choice([0.1, 8, 50]) if n % 10 == 5 else 1
            calibration.observe(measure(piece.text), round(piece.tokens[vocabulary] * wrong))
        errors.append(error_of(calibration, pieces[30:], vocabulary))
    assert mean(errors) <= 0.07


def test_several_processes_know_together_what_each_has_seen() -> None:
    pieces = random.Random(1).sample(of_kind("japanese"), 44)
    one, two = Calibrations(), Calibrations()
    for n, piece in enumerate(pieces[:20]):
        (one if n % 2 else two).of("local/m").observe(measure(piece.text), piece.tokens["cl100k"])
    third = Calibrations()
    third.merge(one.save())
    third.merge(two.save())
    assert third.of("local/m").n == 20
    assert error_of(third.of("local/m"), pieces[20:], "cl100k") <= 0.06
    assert third.of("local/other").n == 0


def test_a_restart_forgets_nothing() -> None:
    first = Calibrations()
    for piece in of_kind("korean"):
        first.of("p/m").observe(measure(piece.text), piece.tokens["cl100k"])
        first.of("p/m").observe_rough(rough(piece.text.encode()), piece.tokens["cl100k"])
    second = Calibrations()
    second.merge(first.save())
    parts = measure(of_kind("korean")[0].text)
    assert second.of("p/m").correct(parts) == first.of("p/m").correct(parts)
    assert second.of("p/m").correct_rough(100) == first.of("p/m").correct_rough(100)
    assert len(first.save()) < 1_500


@pytest.mark.parametrize("saved", [b"", b"[]", b'{"m": {"products": [1.0], "shares": []}}', b'{"m": 1}'])
def test_what_is_no_calibration_is_refused(saved: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        Calibrations().merge(saved)


def test_models_that_callers_make_up_do_not_pile_up() -> None:
    calibrations = Calibrations()
    for n in range(1_500):
        calibrations.of(f"m{n}").observe(Parts(words=100.0), 120)
    assert len(msgspec.json.decode(calibrations.save())) == 1_000


def test_a_settled_calibration_follows_a_new_tokenizer() -> None:
    pieces = of_kind("english")
    calibration = Calibration()
    for _ in range(10):
        for piece in pieces:
            calibration.observe(measure(piece.text), piece.tokens["o200k"])
    for _ in range(100):
        for piece in pieces:
            calibration.observe(measure(piece.text), round(piece.tokens["o200k"] * 1.15))
    assert mean([error(calibration.correct(measure(p.text)), round(p.tokens["o200k"] * 1.15)) for p in pieces]) < 0.06


def test_the_rough_look_learns_too() -> None:
    pieces = random.Random(2).sample(of_kind("japanese"), 44)
    calibration = Calibration()
    for piece in pieces[:20]:
        calibration.observe_rough(rough(piece.text.encode()), piece.tokens["cl100k"])
    calibration.observe_rough(10, 10_000)
    errors = [error(calibration.correct_rough(rough(p.text.encode())), p.tokens["cl100k"]) for p in pieces[20:]]
    assert mean(errors) <= 0.10


def test_what_tools_cost_is_learned_apart_from_words() -> None:
    chance = random.Random(3)
    calibration = Calibration()
    for _ in range(40):
        words, tools = chance.uniform(50, 500), chance.choice([0.0, 200.0, 400.0])
        calibration.observe(Parts(words=words, tools=tools), round(words + 1.5 * tools))
    assert calibration.correct(Parts(words=100.0)) == pytest.approx(100, rel=0.05)
    assert calibration.correct(Parts(words=100.0, tools=100.0)) == pytest.approx(250, rel=0.05)


amount = st.floats(min_value=0, max_value=1e7)


@STEADY
@given(st.lists(st.tuples(st.tuples(*[amount] * 7), st.integers(min_value=-5, max_value=10**9)), max_size=40))
def test_no_counts_make_an_estimate_that_is_none(observations: list[tuple[tuple[float, ...], int]]) -> None:
    calibration = Calibration()
    for parts, tokens in observations:
        calibration.observe(Parts(*parts), tokens)
        calibration.observe_rough(int(parts[0]), tokens)
    assert all(0.2 <= ratio <= 6 for ratio in calibration.ratios)
    assert calibration.correct(Parts(words=100.0)) >= 20
    assert calibration.correct_rough(100) >= 0
