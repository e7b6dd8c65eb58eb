"""The providers we know: one row each, data only. Must not hold behaviour; what a row cannot say belongs to a dialect.

A new provider that speaks a known wire format is a row here, a golden file for a plain answer and one for a stream
(tests/golden), and a heading in docs/reference/providers.md; a test asks for all three.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from sekisho.providers.dialect import Dialect, EmbeddingsDialect
from sekisho.providers.dialects.openai_chat import OpenAIChat
from sekisho.providers.dialects.openai_embeddings import OpenAIEmbeddings
from sekisho.providers.quirks import Quirks


class ProviderRow(msgspec.Struct, frozen=True, kw_only=True):
    """What `type:` in the configuration names."""

    name: str
    label: str
    #: without a slash at its end; paths of a dialect are appended
    base_url: str
    #: a key of CHAT_DIALECTS
    dialect: str = "openai_chat"
    #: a key of EMBEDDINGS_DIALECTS
    embeddings: str = "openai_embeddings"
    #: a scheme of `providers.signing`
    signing: str = "bearer"
    #: a call without a key cannot succeed
    needs_key: bool = True
    #: the default base URL is on this machine, so private addresses are allowed there
    local: bool = False
    #: id in the price library; None where every price is the operator's own
    price_provider: str | None = None
    quirks: Quirks = Quirks()
    docs_url: str = ""


CHAT_DIALECTS: dict[str, Callable[[Quirks], Dialect]] = {"openai_chat": OpenAIChat}
EMBEDDINGS_DIALECTS: dict[str, Callable[[Quirks], EmbeddingsDialect]] = {"openai_embeddings": OpenAIEmbeddings}


def chat_dialect(row: ProviderRow) -> Dialect:
    return CHAT_DIALECTS[row.dialect](row.quirks)


def embeddings_dialect(row: ProviderRow) -> EmbeddingsDialect:
    return EMBEDDINGS_DIALECTS[row.embeddings](row.quirks)


_ROWS = (
    ProviderRow(
        name="openai",
        label="OpenAI",
        base_url="https://api.openai.com/v1",
        price_provider="openai",
        # 400 "The 'metadata' parameter is only allowed when 'store' is enabled."; ours serve as tags without it.
        # https://community.openai.com/t/metadata-parameter-in-chat-completion-api-reference-documentation-needs-to-be-updated/1119240
        quirks=Quirks(metadata_needs_store=True),
        docs_url="https://platform.openai.com/docs/api-reference/chat",
    ),
    ProviderRow(
        name="vllm",
        label="vLLM",
        base_url="http://127.0.0.1:8000/v1",
        needs_key=False,
        local=True,
        docs_url="https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
    ),
    ProviderRow(
        name="ollama",
        label="Ollama",
        base_url="http://127.0.0.1:11434/v1",
        needs_key=False,
        local=True,
        # knows max_tokens only and ignores the newer name without a word, so an answer would have no bound
        quirks=Quirks(renames={"max_completion_tokens": "max_tokens"}),
        docs_url="https://docs.ollama.com/api/openai-compatibility",
    ),
    ProviderRow(
        name="groq",
        label="Groq",
        base_url="https://api.groq.com/openai/v1",
        price_provider="groq",
        docs_url="https://console.groq.com/docs/openai",
    ),
    ProviderRow(
        name="mistral",
        label="Mistral",
        base_url="https://api.mistral.ai/v1",
        price_provider="mistral",
        # rejects every field it does not know with 422, `stream_options.include_usage` among them
        # https://github.com/openai/openai-agents-python/issues/442
        quirks=Quirks(
            stream_options=False,
            renames={"max_completion_tokens": "max_tokens", "seed": "random_seed"},
            drops=frozenset(("user", "safety_identifier", "store")),
        ),
        docs_url="https://docs.mistral.ai/api",
    ),
    ProviderRow(
        name="deepseek",
        label="DeepSeek",
        base_url="https://api.deepseek.com",
        price_provider="deepseek",
        # its reference knows max_tokens only
        quirks=Quirks(renames={"max_completion_tokens": "max_tokens"}),
        docs_url="https://api-docs.deepseek.com",
    ),
    ProviderRow(
        name="xai",
        label="xAI",
        base_url="https://api.x.ai/v1",
        price_provider="x-ai",
        docs_url="https://docs.x.ai/docs/api-reference",
    ),
    ProviderRow(
        name="together",
        label="Together AI",
        base_url="https://api.together.ai/v1",
        price_provider="together",
        # its reference knows max_tokens only
        quirks=Quirks(renames={"max_completion_tokens": "max_tokens"}),
        docs_url="https://docs.together.ai/docs/openai-api-compatibility",
    ),
    ProviderRow(
        name="openrouter",
        label="OpenRouter",
        base_url="https://openrouter.ai/api/v1",
        price_provider="openrouter",
        docs_url="https://openrouter.ai/docs/api-reference/overview",
    ),
)

CATALOG: dict[str, ProviderRow] = {row.name: row for row in _ROWS}
