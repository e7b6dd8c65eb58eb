"""Tokens of a picture by the rule of a provider. Must read no more of a picture than its header, and fetch none.

Rules by provider documentation, read November 2026; all change with new models, so what a model's counts teach
(`calibration`) stands above them.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from math import ceil, sqrt
from typing import Final

import msgspec

#: enough of a file for its size in pixels; a JPEG may carry a preview and a colour profile before it
_HEADER_CHARS: Final = 65_536
#: what is taken for a picture whose size cannot be read, such as one behind an address
UNKNOWN_SIZE: Final = (1024, 1024)


class TileRule(msgspec.Struct, frozen=True):
    """Squares of 512 pixels after scaling into 2048 x 2048 and to a short side of 768, each so many tokens, and a base.

    https://platform.openai.com/docs/guides/images-vision#calculating-costs
    """

    base: int
    tile: int

    def tokens(self, width: int, height: int, detail: str | None) -> int:
        if detail == "low":
            return self.base
        scale = min(1.0, 2048 / max(width, height))
        scale *= min(1.0, 768 / (min(width, height) * scale))
        return self.base + self.tile * ceil(width * scale / 512) * ceil(height * scale / 512)


class PatchRule(msgspec.Struct, frozen=True):
    """Squares of 32 pixels, at most `most` (the picture is scaled down to fit), times a factor of the model.

    https://platform.openai.com/docs/guides/images-vision#calculating-costs
    """

    factor: float
    most: int = 1536

    def tokens(self, width: int, height: int, detail: str | None) -> int:
        if ceil(width / 32) * ceil(height / 32) > self.most:
            scale = sqrt(32 * 32 * self.most / (width * height))
            across, down = width * scale / 32, height * scale / 32
            scale *= min(int(across) / across, int(down) / down) if across >= 1 and down >= 1 else 1
            width, height = int(width * scale), int(height * scale)
        patches = min(self.most, ceil(width / 32) * ceil(height / 32))
        return ceil(patches * self.factor)


class AreaRule(msgspec.Struct, frozen=True):
    """Pixels by 750, after scaling to a long edge of 1568 and at most some 1,600 tokens.

    https://docs.claude.com/en/docs/build-with-claude/vision#calculate-image-costs
    """

    pixels: int = 750
    edge: int = 1568
    most: int = 1600

    def tokens(self, width: int, height: int, detail: str | None) -> int:
        scale = min(1.0, self.edge / max(width, height))
        return min(self.most, ceil(width * scale * height * scale / self.pixels))


class SquareRule(msgspec.Struct, frozen=True):
    """258 tokens, or for pictures above 384 pixels 258 for each tile; a tile's side is a short side by 1.5, 256 to 768.

    https://ai.google.dev/gemini-api/docs/tokens#multimodal-tokens
    """

    each: int = 258

    def tokens(self, width: int, height: int, detail: str | None) -> int:
        if width <= 384 and height <= 384:
            return self.each
        side = min(768, max(256, int(min(width, height) / 1.5)))
        return self.each * ceil(width / side) * ceil(height / side)


ImageRule = TileRule | PatchRule | AreaRule | SquareRule
DEFAULT_RULE: Final = TileRule(85, 170)

#: beginnings of model names, the longest that fits counts
_RULES: Final[tuple[tuple[str, ImageRule], ...]] = (
    ("gpt-4o", TileRule(85, 170)),
    ("gpt-4.1", TileRule(85, 170)),
    ("gpt-4.5", TileRule(85, 170)),
    ("gpt-4o-mini", TileRule(2833, 5667)),
    ("gpt-5", TileRule(70, 140)),
    ("o1", TileRule(75, 150)),
    ("o3", TileRule(75, 150)),
    ("computer-use-preview", TileRule(65, 129)),
    ("gpt-4.1-mini", PatchRule(1.62)),
    ("gpt-4.1-nano", PatchRule(2.46)),
    ("gpt-5-mini", PatchRule(1.62)),
    ("gpt-5-nano", PatchRule(2.46)),
    ("o4-mini", PatchRule(1.72)),
    ("claude", AreaRule()),
    ("anthropic.claude", AreaRule()),
    ("gemini", SquareRule()),
)


def rule_for(model: str) -> ImageRule:
    """By the model's name, without a prefix that names its maker (`openai/gpt-4o`)."""
    name = model.rpartition("/")[2].lower()
    fitting = [known for known in _RULES if name.startswith(known[0])]
    return max(fitting, key=lambda known: len(known[0]))[1] if fitting else DEFAULT_RULE


def size_of(url: str) -> tuple[int, int]:
    """Width and height in pixels of a `data:` URL or of bare base64; UNKNOWN_SIZE where the header does not tell."""
    start = url.find(",") + 1 if url.startswith("data:") else 0
    if not start and url.startswith(("http:", "https:", "gs:", "file")):
        return UNKNOWN_SIZE
    encoded = url[start : start + _HEADER_CHARS]
    try:
        head = binascii.a2b_base64(encoded[: len(encoded) // 4 * 4])
    except (binascii.Error, ValueError):
        return UNKNOWN_SIZE
    for read in _READERS:
        if (found := read(head)) is not None and min(found) > 0:
            return found
    return UNKNOWN_SIZE


def _png(head: bytes) -> tuple[int, int] | None:
    if head[:8] != b"\x89PNG\r\n\x1a\n" or len(head) < 24:
        return None
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def _gif(head: bytes) -> tuple[int, int] | None:
    if head[:6] not in (b"GIF87a", b"GIF89a") or len(head) < 10:
        return None
    return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")


def _webp(head: bytes) -> tuple[int, int] | None:
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < 30:
        return None
    match head[12:16]:
        case b"VP8X":
            return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
        case b"VP8 ":
            return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case _:
            return None


def _jpeg(head: bytes) -> tuple[int, int] | None:
    """Segment by segment to the frame header (SOF0 to SOF15, without DHT, JPG and DAC)."""
    if head[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 < len(head):
        if head[at] != 0xFF:
            return None
        marker = head[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(head[at + 7 : at + 9], "big"), int.from_bytes(head[at + 5 : at + 7], "big")
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None


_READERS: Final[tuple[Callable[[bytes], tuple[int, int] | None], ...]] = (_png, _jpeg, _webp, _gif)
