"""Token counts. Must hold one convention for all providers: totals include their parts."""

from __future__ import annotations

from typing import Literal

import msgspec

UsageSource = Literal["provider", "estimated", "none"]


class MediaTokens(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Tokens of one attempt that were sound or pictures: parts of what `Usage` counts, and of each other as named.

    input_audio_tokens includes cache_read_audio_tokens, input_image_tokens includes cache_read_image_tokens. Video is
    counted as text, at whose price it is sold.
    """

    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    cache_read_audio_tokens: int = 0
    cache_read_image_tokens: int = 0
    output_audio_tokens: int = 0
    output_image_tokens: int = 0


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Tokens of one attempt.

    input_tokens includes cache_read_input_tokens and cache_creation_input_tokens (which includes the 1-hour part);
    output_tokens includes reasoning_output_tokens. Dialects whose provider counts otherwise convert.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_creation_1h_input_tokens: int = 0
    reasoning_output_tokens: int = 0
    #: None when the provider named no sound and no pictures
    media: MediaTokens | None = None

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


def estimate_tokens(length: int) -> int:
    """Databricks' rule for a provider that reports no usage: (length + 1) / 4."""
    return (length + 1) // 4
