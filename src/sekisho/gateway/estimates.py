"""Token counts where nobody has counted yet: before a call goes out, and of answers that came without usage.

Must never fail a call, nor cost more than it is worth: only some calls teach, and large bodies are measured roughly.
"""

from __future__ import annotations

from sekisho.domain.call import Attempt, Entry
from sekisho.domain.endpoint import Target
from sekisho.domain.usage import Usage
from sekisho.tokens.answer import Written, estimate_answer
from sekisho.tokens.calibration import Calibration, Calibrations
from sekisho.tokens.request import estimate_body, estimate_embeddings_body, estimate_page_body
from sekisho.tokens.text import Parts, rough

#: the first calls of a model all teach, later ones only now and then
_TEACH_ALL = 64
_TEACH_EVERY = 32
_MOST_TAUGHT_BYTES = 64 * 1024
#: some ten milliseconds, for what is decoded; of long texts only parts are measured
_MOST_MEASURED_BYTES = 4 * 1024 * 1024
#: from this size on a body is looked at for files in base64, whose bytes say nothing of tokens
_MAY_HOLD_FILES_BYTES = 16 * 1024
_WINDOWS, _WINDOW_BYTES = 32, 256
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_"
_MOST_MODELS = 1_000


class Estimates:
    """What one process has learned about its models. Not kept: a few calls teach it again."""

    def __init__(self) -> None:
        self._calibrations = Calibrations()
        self._models: dict[tuple[str, str], _Model] = {}

    def input_tokens(self, entry: Entry, target: Target) -> int:
        """HOT. Of a request to a target, within some two microseconds; off by some 10 %."""
        body = entry.call.body
        if len(body) > _MAY_HOLD_FILES_BYTES and _holds_files(body):
            return self.measured_input_tokens(entry, target)
        return self._of(target).calibration.correct_rough(rough(body))

    def measured_input_tokens(self, entry: Entry, target: Target) -> int:
        """The same from the texts themselves; off by some 5 %. Of large bodies as `input_tokens`."""
        body = entry.call.body
        if len(body) > _MOST_MEASURED_BYTES:
            return self._of(target).calibration.correct_rough(rough(body))
        return self._of(target).calibration.correct(_parts_of(entry, target))

    def usage_of(self, entry: Entry, target: Target, answer: bytes | Written | None) -> Usage:
        """What an answer is charged by that came without usage: a whole one, what a stream brought, or nothing."""
        calibration = self._of(target).calibration
        if isinstance(answer, Written):
            output = calibration.correct(answer.measure()) if answer.chars else 0
        elif answer is None or entry.call.route.operation == "embeddings":
            output = 0
        elif len(answer) > _MOST_MEASURED_BYTES:
            output = calibration.correct_rough(rough(answer))
        else:
            output = calibration.correct(estimate_answer(answer))
        return Usage(input_tokens=self.measured_input_tokens(entry, target), output_tokens=output)

    def learn(self, entry: Entry, attempt: Attempt, usage: Usage) -> None:
        """HOT. Take in what a provider counted."""
        target = attempt.target
        model = self._models.get((target.provider, target.model)) or self._of(target)
        model.calls += 1
        if model.calls > _TEACH_ALL and model.calls % _TEACH_EVERY:
            return
        body = entry.call.body
        tokens = usage.input_tokens
        if len(body) <= _MAY_HOLD_FILES_BYTES or not _holds_files(body):
            model.calibration.observe_rough(rough(body), tokens)
        if len(body) <= _MOST_TAUGHT_BYTES and model.calibration.wants():
            model.calibration.observe(_parts_of(entry, target), tokens)

    def _of(self, target: Target) -> _Model:
        key = target.provider, target.model
        model = self._models.get(key)
        if model is None:
            if len(self._models) >= _MOST_MODELS:
                self._models.clear()
            model = self._models[key] = _Model(self._calibrations.of("/".join(key)))
        return model


class _Model:
    """One model's calibration, and how many of its calls were seen."""

    __slots__ = ("calibration", "calls")

    def __init__(self, calibration: Calibration) -> None:
        self.calibration = calibration
        self.calls = 0


def _holds_files(body: bytes) -> bool:
    """Whether a good part of it is base64: one of many windows, evenly spaced, holds nothing else. Looking for the word
    in all of 300 KB would cost as much as everything else that is done with them."""
    step = max(1, (len(body) - _WINDOW_BYTES) // _WINDOWS)
    return any(not body[at : at + _WINDOW_BYTES].translate(None, _BASE64) for at in range(step, len(body) - step, step))


def _parts_of(entry: Entry, target: Target) -> Parts:
    body, route = entry.call.body, entry.call.route
    if route.operation == "embeddings":
        return estimate_embeddings_body(body)
    estimate = estimate_page_body if route.protocol == "chat_stream" else estimate_body
    return estimate(body, target.model)
