"""Bodies of calls that are not filler: no passage comes twice within a hundred megabytes. Must need no network.

English prose and code are the docstrings and the sources of what is installed beside us. Japanese is made from words
and particles with the frequencies of a language (Zipf): a page of it packs to 41 %, one of our own docs to 39 %.
"""

import inspect
import json
import random
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

PROSE, CODE, JAPANESE = "prose", "code", "japanese"
SHARES = {PROSE: 45, CODE: 15, JAPANESE: 40}
#: bytes of UTF-8; a request is a system prompt, and one to three passages as question, answer, question
_PASSAGE = (300, 4_000)
_PROMPT_BYTES = 1_000
_PROMPTS = 8
_DOCSTRING = re.compile(r'"""(.{200,}?)"""', re.DOTALL)
_JAPANESE_PASSAGES = 20_000
_MOST_BYTES = 120_000_000
_PARTICLES = (
    "は",
    "を",
    "に",
    "が",
    "で",
    "と",
    "の",
    "も",
    "から",
    "まで",
    "について",
    "ので",
    "ため、",
    "です。",
    "ました。",
)


class Corpus:
    """Passages of three kinds in an order of chance, each used once before any is used again."""

    def __init__(self, seed: int = 1) -> None:
        pick = random.Random(seed)
        sources = _sources()
        found = {PROSE: list(_prose(sources)), CODE: list(_code(sources)), JAPANESE: list(_japanese(pick))}
        for passages in found.values():
            pick.shuffle(passages)
        self.sizes = {kind: sum(map(len, passages)) for kind, passages in found.items()}
        self._prompts = {
            kind: [passages.pop()[:_PROMPT_BYTES] for _ in range(_PROMPTS)] for kind, passages in found.items()
        }
        self._passages = found
        self._used = dict.fromkeys(found, 0)

    def call(self, pick: random.Random, kind: str | None = None) -> tuple[bytes, bytes]:
        """A request and its answer as OpenAI's chat completions write them."""
        kind = kind or pick.choices(list(SHARES), list(SHARES.values()))[0]
        messages = [{"role": "system", "content": pick.choice(self._prompts[kind])}]
        roles = ("user", "assistant", "user")[: pick.choice((1, 1, 3))]
        messages += [{"role": role, "content": self._next(kind)} for role in roles]
        request = {"model": "chat", "temperature": 0.2, "max_tokens": 1024, "messages": messages}
        answer = {
            "id": f"chatcmpl-{pick.getrandbits(96):024x}",
            "object": "chat.completion",
            "created": 1_795_000_000 + pick.randrange(7_776_000),
            "model": "gpt-4o-mini-2024-07-18",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": self._next(kind), "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": pick.randrange(4_000), "completion_tokens": pick.randrange(900)},
        }
        return _json(request), _json(answer)

    def _next(self, kind: str) -> str:
        at = self._used[kind]
        self._used[kind] = at + 1
        passages = self._passages[kind]
        return passages[at % len(passages)]


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _sources() -> list[str]:
    """Text of the Python files of the standard library and of the installed packages."""
    texts: list[str] = []
    size = 0
    for name in ("stdlib", "purelib"):
        for file in sorted(Path(sysconfig.get_path(name)).rglob("*.py")):
            try:
                texts.append(file.read_text("utf-8"))
            except (OSError, UnicodeDecodeError):
                continue
            size += len(texts[-1])
            if size > _MOST_BYTES:
                return texts
    return texts


def _prose(sources: list[str]) -> Iterator[str]:
    seen: set[str] = set()
    for text in sources:
        for said in _DOCSTRING.findall(text):
            said = inspect.cleandoc(said)
            if len(said) >= _PASSAGE[0] and said not in seen:
                seen.add(said)
                yield said[: _PASSAGE[1]]


def _code(sources: list[str]) -> Iterator[str]:
    seen: set[str] = set()
    for text in sources:
        for start in range(0, min(len(text), 30_000), 1_500):
            piece = text[start : start + 1_500]
            if len(piece) >= _PASSAGE[0] and piece not in seen:
                seen.add(piece)
                yield piece


def _japanese(pick: random.Random) -> Iterator[str]:
    kanji = [chr(code) for code in range(0x4E00, 0x5200)]
    kana = [chr(code) for code in range(0x30A2, 0x30F3)]
    words = ["".join(pick.choices(kanji, k=2)) for _ in range(6_000)]
    words += ["".join(pick.choices(kana, k=pick.randint(3, 6))) for _ in range(2_000)]
    pick.shuffle(words)
    chances = [1 / (rank + 3) for rank in range(len(words))]
    for _ in range(_JAPANESE_PASSAGES):
        count = pick.randint(_PASSAGE[0], _PASSAGE[1]) // 12
        chosen = pick.choices(words, chances, k=count)
        yield "".join(word + pick.choice(_PARTICLES) for word in chosen)
