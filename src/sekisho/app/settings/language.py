"""The language in which commands speak to the person who started them. Must not look at the configuration file."""

from __future__ import annotations

import os
from collections.abc import Mapping

from sekisho.app.settings.model import Language


def language_of(environ: Mapping[str, str] = os.environ) -> Language:
    """`ja` when LC_ALL, LC_MESSAGES or LANG (the first one set counts) begins with ja, else `en`."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := environ.get(name):
            return "ja" if value.lower().startswith("ja") else "en"
    return "en"
