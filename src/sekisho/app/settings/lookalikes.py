"""Characters that look like YAML's own but are not: full-width forms, typographic quotes. Must only suggest."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# NFKC turns full-width forms and the ideographic space into ASCII; these it leaves alone.
_ALSO = str.maketrans(
    {
        "“": '"', "”": '"', "„": '"', "「": '"', "」": '"', "‘": "'", "’": "'", "−": "-", "–": "-", "—": "-",
        "\u200b": None, "\u200c": None, "\u200d": None, "\ufeff": None, "\u00ad": None,
    }
)  # fmt: skip
#: look-alikes that break the structure of a file when they stand outside quotation marks
_STRUCTURE = re.compile("[：　［］｛｝，＃－“”‘’＂＇\u00a0\u200b]")
_QUOTED_OR_COMMENT = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|(?:^|\s)#.*""")


def half_width(text: str) -> str:
    """The text as its author probably meant it, in ASCII where there is an ASCII form."""
    return ascii_form(text).strip().removesuffix(":").strip()


def ascii_form(text: str) -> str:
    """Every look-alike by what it looks like, spaces and a colon at the end too."""
    return unicodedata.normalize("NFKC", text.translate(_ALSO))


def nearest_above(lines: Sequence[str], line: int) -> tuple[int, int, str] | None:
    """The last look-alike at or above a line: its line, column (both from 1) and the character; None if there is none.

    A parser complains one or more lines below a full-width colon, so the place it names is not the place to mend.
    """
    for number in range(min(line, len(lines)), 0, -1):
        bare = _QUOTED_OR_COMMENT.sub(lambda match: " " * len(match.group()), lines[number - 1])
        if found := _STRUCTURE.search(bare):
            return number, found.start() + 1, found.group()
    return None
