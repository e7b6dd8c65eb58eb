"""OpenAI's own client, unmodified: what people change is the base URL and the key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
import pydantic
import pytest
import pytest_asyncio
from tests.support.gateway import CHAT_ONLY_KEY, CONFIG, EXPIRED_KEY, Door, Gateway, running_gateway

from sekisho.mock.server import MockProvider

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("gateway")]

HELLO: list[Any] = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "関所 is a barrier"}]
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "book_table",
        "description": "Books a table.",
        "parameters": {
            "type": "object",
            "properties": {"seats": {"type": "integer"}, "name": {"type": "string"}},
            "required": ["seats", "name"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


class Sdk:
    """Both clients by the same calls; the blocking one in a thread, since the gateway shares this loop."""

    def __init__(self, gateway: Gateway, kind: str) -> None:
        self._blocking = kind == "sync"
        made = openai.OpenAI if self._blocking else openai.AsyncOpenAI
        self.client: Any = made(base_url=gateway.base_url, api_key=gateway.key, max_retries=0, timeout=10)

    async def do(self, work: Callable[[Any], Any]) -> Any:
        """The result of a call of the client."""
        return await (asyncio.to_thread(work, self.client) if self._blocking else work(self.client))

    async def chat(self, model: str = "chat", messages: list[Any] = HELLO, **more: Any) -> Any:
        return await self.do(lambda client: client.chat.completions.create(model=model, messages=messages, **more))

    async def chunks(self, model: str = "chat", messages: list[Any] = HELLO, **more: Any) -> list[Any]:
        """All chunks of a stream. Raises what the iteration raises, with the chunks so far as `seen`."""
        seen: list[Any] = []

        def read(client: Any) -> None:
            seen.extend(client.chat.completions.create(model=model, messages=messages, stream=True, **more))

        try:
            if self._blocking:
                await asyncio.to_thread(read, self.client)
            else:
                stream = await self.client.chat.completions.create(model=model, messages=messages, stream=True, **more)
                async for chunk in stream:
                    seen.append(chunk)  # noqa: PERF401 - those before an error count
        except openai.APIError as error:
            error.seen = seen  # type: ignore[attr-defined]
            raise
        return seen

    async def close(self) -> None:
        if self._blocking:
            self.client.close()
        else:
            await self.client.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["async", "sync"])
async def sdk(house: Gateway, request: pytest.FixtureRequest) -> AsyncIterator[Sdk]:
    one = Sdk(house, request.param)
    yield one
    await one.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(house: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    """The client nearly all programs use, without its own retries."""
    async with openai.AsyncOpenAI(base_url=house.base_url, api_key=house.key, max_retries=0, timeout=10) as one:
        yield one


def said(chunks: list[Any]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


# -- answers


async def test_a_plain_answer_and_its_row(gateway: Gateway, sdk: Sdk) -> None:
    answer = await sdk.chat()
    assert (answer.object, answer.model, answer.choices[0].finish_reason) == ("chat.completion", "mock-small", "stop")
    assert len(answer.choices[0].message.content.split()) == 20
    row = await gateway.row()
    assert (row.input_tokens, row.output_tokens) == (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert (row.status_code, row.terminal_state, row.requester, row.team) == (200, "completed", "taro", "research")


@pytest.mark.parametrize("model", ["mock/mock?echo=1", "mock/mock?echo=1&split=1", "mock/mock?echo=1&chunk_ms=1"])
async def test_a_stream_says_what_the_plain_answer_says(gateway: Gateway, sdk: Sdk, model: str) -> None:
    plain = await sdk.chat(model)
    chunks = await sdk.chunks(model)
    assert said(chunks) == plain.choices[0].message.content == HELLO[1]["content"]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == len({chunk.created for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert all(chunk.usage is None for chunk in chunks)
    plain_row, stream_row = gateway.rows
    assert (plain_row.streaming, stream_row.streaming) == (False, True)
    assert (stream_row.input_tokens, stream_row.usage_source) == (plain_row.input_tokens, "provider")
    assert stream_row.time_to_first_byte_us is not None


async def test_usage_comes_in_a_chunk_of_its_own_where_it_was_asked_for(gateway: Gateway, sdk: Sdk) -> None:
    model = "mock/mock?usage=100,20,60&chunks=2"
    *others, last = await sdk.chunks(model, stream_options={"include_usage": True})
    assert (last.choices, last.usage.prompt_tokens, last.usage.completion_tokens) == ([], 100, 20)
    assert last.usage.prompt_tokens_details.cached_tokens == 60
    assert all(chunk.choices and chunk.usage is None for chunk in others)
    unasked = await sdk.chunks(model)
    assert len(unasked) == len(others)
    assert all(chunk.choices for chunk in unasked)
    for row in gateway.rows:
        # 40 uncached at 1.00, 60 cached at 0.10 and 20 out at 2.00 USD a million
        assert (row.cache_read_input_tokens, row.cost_nanos) == (60, 86_000)


@pytest.mark.parametrize("parallel", [1, 3])
async def test_tool_calls(gateway: Gateway, sdk: Sdk, parallel: int) -> None:
    model = f"mock/mock?tools=1&parallel={parallel}"
    plain = await sdk.chat(model, tools=[TOOL], parallel_tool_calls=True, tool_choice="auto")
    calls = plain.choices[0].message.tool_calls
    assert plain.choices[0].finish_reason == "tool_calls"
    assert [(call.type, call.function.name) for call in calls] == [("function", "book_table")] * parallel
    assert len({call.id for call in calls}) == parallel
    sent = gateway.mock.last["body"]  # type: ignore[index]
    assert (sent["tools"], sent["parallel_tool_calls"], sent["tool_choice"]) == ([TOOL], True, "auto")

    chunks = await sdk.chunks(model, tools=[TOOL])
    deltas = [delta for chunk in chunks for delta in chunk.choices[0].delta.tool_calls or []]
    for index in range(parallel):
        first, *rest = [delta for delta in deltas if delta.index == index]
        assert first.id
        assert first.function.name == "book_table"
        arguments = "".join(delta.function.arguments for delta in [first, *rest])
        assert arguments == calls[index].function.arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_the_streaming_helper_of_the_client_puts_tool_calls_together(client: openai.AsyncOpenAI) -> None:
    async with client.chat.completions.stream(
        model="mock/mock?tools=1&parallel=2", messages=HELLO, tools=[TOOL]
    ) as stream:
        kinds = {event.type async for event in stream}
        whole = await stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    assert [call.function.arguments for call in whole.choices[0].message.tool_calls or []] == [
        '{"seats":1,"name":"text"}'
    ] * 2


async def test_the_result_of_a_tool_goes_back(gateway: Gateway, sdk: Sdk) -> None:
    first = (await sdk.chat("mock/mock?tools=1", tools=[TOOL])).choices[0].message
    again = [*HELLO, first.model_dump(exclude_none=True)]
    again.append({"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "booked"})
    answer = await sdk.chat("mock/mock?tools=1", again, tools=[TOOL])
    assert answer.choices[0].message.content
    assert gateway.mock.last["body"]["messages"] == again  # type: ignore[index]


class Table(pydantic.BaseModel):
    seats: int
    names: list[str]


async def test_structured_output(gateway: Gateway, sdk: Sdk) -> None:
    plain = await sdk.do(
        lambda client: client.chat.completions.parse(model="mock/mock-small", messages=HELLO, response_format=Table)
    )
    assert isinstance(plain.choices[0].message.parsed, Table)
    older = await sdk.do(
        lambda client: client.beta.chat.completions.parse(
            model="mock/mock-small", messages=HELLO, response_format=Table
        )
    )
    assert older.choices[0].message.parsed == plain.choices[0].message.parsed
    sent = gateway.mock.last["body"]["response_format"]  # type: ignore[index]
    assert sent["json_schema"]["name"] == "Table"
    assert sent["json_schema"]["strict"] is True


async def test_structured_output_streamed(client: openai.AsyncOpenAI) -> None:
    async with client.chat.completions.stream(model="mock/mock-small", messages=HELLO, response_format=Table) as stream:
        whole = await stream.get_final_completion()
    assert isinstance(whole.choices[0].message.parsed, Table)


async def test_embeddings(gateway: Gateway, sdk: Sdk) -> None:
    texts = ["関所", "a barrier"]
    packed = await sdk.do(lambda client: client.embeddings.create(model="embed", input=texts))
    assert gateway.mock.last["body"]["encoding_format"] == "base64"  # type: ignore[index]
    plain = await sdk.do(
        lambda client: client.embeddings.create(model="embed", input=texts, encoding_format="float", dimensions=256)
    )
    assert [one.embedding for one in packed.data] == [one.embedding for one in plain.data]
    assert [len(one.embedding) for one in plain.data] == [256, 256]
    row = await gateway.row(2)
    assert (row.operation, row.api_type, row.streaming) == ("embeddings", "openai/v1/embeddings", False)
    assert (row.input_tokens, row.output_tokens) == (plain.usage.prompt_tokens, 0)
    tokens = await sdk.do(lambda client: client.embeddings.create(model="embed", input=[[1, 2], [3]]))
    assert len(tokens.data) == 2


async def test_several_choices(gateway: Gateway, sdk: Sdk) -> None:
    plain = await sdk.chat(n=2)
    assert [choice.index for choice in plain.choices] == [0, 1]
    chunks = await sdk.chunks(n=2)
    for index in (0, 1):
        of_one = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
        assert len([choice for choice in of_one if choice.delta.content]) == 20
        assert of_one[-1].finish_reason == "stop"
    assert [row.finish_reasons for row in gateway.rows] == [["stop", "stop"]] * 2


async def test_a_refusal_of_the_model(gateway: Gateway, sdk: Sdk) -> None:
    plain = await sdk.chat("mock/mock?refusal=1")
    assert plain.choices[0].message.content is None
    chunks = await sdk.chunks("mock/mock?refusal=1")
    streamed = "".join(chunk.choices[0].delta.refusal or "" for chunk in chunks)
    assert streamed == plain.choices[0].message.refusal != ""
    assert [row.terminal_state for row in gateway.rows] == ["completed"] * 2


async def test_reasoning_passes(gateway: Gateway, sdk: Sdk) -> None:
    plain = await sdk.chat("mock/mock?reasoning=1", reasoning_effort="low")
    chunks = await sdk.chunks("mock/mock?reasoning=1", stream_options={"include_usage": True})
    streamed = "".join(getattr(chunk.choices[0].delta, "reasoning_content", None) or "" for chunk in chunks[:-1])
    assert streamed == plain.choices[0].message.reasoning_content == "Let me think about this."
    assert chunks[-1].usage.completion_tokens_details.reasoning_tokens == 4
    assert [row.reasoning_output_tokens for row in gateway.rows] == [4, 4]


async def test_log_probabilities(sdk: Sdk) -> None:
    plain = await sdk.chat(logprobs=True, top_logprobs=1)
    first = plain.choices[0].logprobs.content[0]
    assert (first.logprob, len(first.top_logprobs)) == (-0.25, 1)
    chunks = await sdk.chunks(logprobs=True)
    assert all(chunk.choices[0].logprobs.content for chunk in chunks if chunk.choices[0].delta.content)


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_other_finish_reasons_are_whole_answers(gateway: Gateway, sdk: Sdk, reason: str) -> None:
    plain = await sdk.chat(f"mock/mock?finish={reason}")
    chunks = await sdk.chunks(f"mock/mock?finish={reason}")
    assert plain.choices[0].finish_reason == chunks[-1].choices[0].finish_reason == reason
    assert [(row.finish_reasons, row.terminal_state) for row in gateway.rows] == [([reason], "completed")] * 2


async def test_the_provider_sees_what_the_client_sent(gateway: Gateway, sdk: Sdk) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "何ですか"}, image]}]
    await sdk.chat(
        "mock/mock-small",
        messages,
        temperature=0.1,
        seed=7,
        stop=["\n"],
        logit_bias={"50256": -100},
        metadata={"feature": "summary"},
        store=True,
        extra_body={"top_k": 40, "chat_template_kwargs": {"enable_thinking": False}, "未知": [1.50, None]},
    )
    sent = gateway.mock.last
    assert sent is not None
    assert sent["body"] == {
        "model": "mock-small",
        "messages": messages,
        "temperature": 0.1,
        "seed": 7,
        "stop": ["\n"],
        "logit_bias": {"50256": -100},
        "metadata": {"feature": "summary"},
        "store": True,
        "top_k": 40,
        "chat_template_kwargs": {"enable_thinking": False},
        "未知": [1.5, None],
    }
    headers: Any = sent["headers"]
    assert headers["authorization"] == "Bearer sk-upstream-canary-key"
    assert gateway.key not in str(sent)
    assert not [name for name in headers if name.startswith("x-stainless")]
    row = await gateway.row()
    assert (row.tags, row.feature) == ({"feature": "summary"}, "summary")


async def test_models_are_those_of_the_key(gateway: Gateway, sdk: Sdk) -> None:
    listed = await sdk.do(lambda client: client.models.list())
    assert [model.id for model in listed.data] == sorted(gateway.settings.endpoints)
    one = await sdk.do(lambda client: client.models.retrieve("chat"))
    assert (one.id, one.object) == ("chat", "model")
    other = await sdk.do(lambda client: client.with_options(api_key=CHAT_ONLY_KEY).models.list())
    assert [model.id for model in other.data] == ["chat"]
    with pytest.raises(openai.NotFoundError) as raised:
        await sdk.do(lambda client: client.with_options(api_key=CHAT_ONLY_KEY).models.retrieve("embed"))
    assert raised.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError):
        await sdk.do(lambda client: client.with_options(api_key="sk-wrong").models.list())


@pytest.mark.parametrize("model", ["chat", "safe", "unpriced", "metadata-only"])
async def test_headers_and_row_agree(gateway: Gateway, client: openai.AsyncOpenAI, model: str) -> None:
    raw = await client.chat.completions.with_raw_response.create(model=model, messages=HELLO)
    row = await gateway.row()
    headers = raw.headers
    assert headers["x-request-id"] == row.request_id == raw.parse()._request_id
    assert row.request_id.startswith("req_")
    assert (headers["x-sekisho-model"], headers["x-sekisho-provider"]) == (row.destination_model, row.provider)
    assert int(headers["x-sekisho-attempts"]) == len(row.attempts)
    assert headers["x-sekisho-cache"] == "bypass"
    assert row.cost_nanos is not None
    assert round(float(headers["x-sekisho-cost-usd"]) * 1e9) == row.cost_nanos > 0
    assert 0 <= float(headers["x-sekisho-overhead-ms"]) < 1000
    assert (row.request is None) == (model == "metadata-only")

    streamed = await client.chat.completions.with_raw_response.create(model=model, messages=HELLO, stream=True)
    assert [chunk async for chunk in streamed.parse()]
    row = await gateway.row(2)
    assert streamed.headers["x-request-id"] == row.request_id
    assert streamed.headers["x-sekisho-provider"] == row.provider
    assert "x-sekisho-cost-usd" not in streamed.headers
    assert (row.response is None) == (model == "metadata-only")


# -- errors


@pytest.mark.parametrize("key", ["sk-wrong", EXPIRED_KEY, " "])
async def test_a_wrong_key(gateway: Gateway, sdk: Sdk, key: str) -> None:
    with pytest.raises(openai.AuthenticationError) as raised:
        await sdk.do(
            lambda client: client.chat.completions.create(
                model="chat", messages=HELLO, extra_headers={"Authorization": f"Bearer {key}".strip()}
            )
        )
    assert (raised.value.status_code, raised.value.code) == (401, "invalid_api_key")
    row = await gateway.row()
    assert (row.status_code, row.error_code, row.request, row.requester) == (401, "invalid_api_key", None, None)
    assert gateway.mock.calls["calls"] == 0


async def test_no_key(gateway: Gateway, client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as raised:
        await client.chat.completions.create(
            model="chat", messages=HELLO, extra_headers={"Authorization": openai.Omit()}
        )
    assert "No API key was sent" in raised.value.message


async def test_a_model_that_the_key_may_not_use(gateway: Gateway, sdk: Sdk) -> None:
    with pytest.raises(openai.PermissionDeniedError) as raised:
        await sdk.do(
            lambda client: client.with_options(api_key=CHAT_ONLY_KEY).chat.completions.create(
                model="safe", messages=HELLO
            )
        )
    error = raised.value
    assert (error.code, error.type, error.param) == ("model_not_allowed", "permission_error", "model")
    assert (await gateway.row()).status_code == 403


@pytest.mark.parametrize("model", ["gpt-unknown", "nobody/model", "mock/", "日本"])
async def test_a_model_that_does_not_exist(gateway: Gateway, sdk: Sdk, model: str) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        await sdk.chat(model)
    error = raised.value
    assert (error.code, error.type, error.param) == ("model_not_found", "invalid_request_error", "model")
    assert f"The model {model} does not exist" in error.message
    row = await gateway.row()
    assert (row.status_code, row.request_model, row.request) == (404, model, None)


async def test_a_provider_that_the_key_may_not_address_does_not_exist_for_it(gateway: Gateway, sdk: Sdk) -> None:
    with pytest.raises(openai.NotFoundError):
        await sdk.do(
            lambda client: client.with_options(api_key=CHAT_ONLY_KEY).chat.completions.create(
                model="mock/mock-small", messages=HELLO
            )
        )
    assert gateway.mock.calls["calls"] == 0


@pytest.mark.parametrize(
    ("wrong", "param"),
    [({"n": 0}, "n"), ({"messages": []}, "messages"), ({"user": 5}, "user"), ({"metadata": {"a": 1}}, "metadata")],
)
async def test_a_bad_field(gateway: Gateway, sdk: Sdk, wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await sdk.chat(**wrong)
    error = raised.value
    assert (error.code, error.type, error.param) == ("invalid_value", "invalid_request_error", param)
    assert f"`{param}`" in error.message
    assert (await gateway.row()).error_code == "invalid_value"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_provider_rejects(gateway: Gateway, sdk: Sdk, stream: bool) -> None:
    ask = sdk.chunks if stream else sdk.chat
    for status, kind in ((400, openai.BadRequestError), (422, openai.UnprocessableEntityError)):
        with pytest.raises(kind) as raised:
            await ask(f"mock/mock?status={status}&param=temperature", temperature=1.5)
        error = raised.value
        assert (error.status_code, error.code, error.param) == (status, "upstream_rejected", "temperature")
        row = gateway.rows[-1]
        assert (row.status_code, row.error_code) == (status, "upstream_rejected")
        assert "Scripted error" in (row.error_message or "")
        assert "Scripted error" not in str(error.body)
    with pytest.raises(openai.BadRequestError) as raised:
        await ask("mock/mock?status=400&param=secret_of_the_provider")
    assert raised.value.param is None
    with pytest.raises(openai.BadRequestError) as raised:
        await ask("mock/mock?status=400&code=context_length_exceeded")
    assert (raised.value.code, raised.value.param) == ("context_length_exceeded", "messages")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_limit_of_the_provider(gateway: Gateway, sdk: Sdk, stream: bool) -> None:
    ask = sdk.chunks if stream else sdk.chat
    with pytest.raises(openai.RateLimitError) as raised:
        await ask("mock/mock?status=429&retry_after=7")
    error = raised.value
    assert (error.code, error.type) == ("rate_limit_exceeded", "requests")
    headers = error.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("7", "7000")
    assert headers["x-sekisho-origin"] == "upstream"
    assert "x-should-retry" not in headers
    assert (await gateway.row()).status_code == 429


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("mock/mock?status=500", 502, "upstream_error"),
        ("mock/mock?status=401", 502, "upstream_credentials"),
        ("mock/mock?status=404", 502, "upstream_model_not_found"),
        ("mock/mock?reset_after=0", 502, "upstream_error"),
        ("dead/anything", 502, "upstream_error"),
        ("mock/mock?hang=1", 504, "upstream_timeout"),
    ],
)
async def test_a_failing_provider(
    gateway: Gateway, client: openai.AsyncOpenAI, model: str, status: int, code: str, stream: bool
) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        await client.chat.completions.create(model=model, messages=HELLO, stream=stream)
    error = raised.value
    assert (error.status_code, error.code, error.type) == (status, code, "server_error")
    row = await gateway.row()
    assert (row.status_code, row.error_code, row.streaming) == (status, code, stream)
    assert row.request_id == error.request_id == error.body["request_id"]  # type: ignore[index]
    assert row.response is None


async def test_our_own_mistake(
    gateway: Gateway, sdk: Sdk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> bytes:
        raise RuntimeError("sk-this-must-not-be-said")

    monkeypatch.setattr(gateway.pipeline._upstream, "plain", broken)
    with pytest.raises(openai.InternalServerError) as raised:
        await sdk.chat()
    assert (raised.value.status_code, raised.value.code) == (500, "internal_error")
    assert "sk-this" not in raised.value.response.text
    assert (await gateway.row()).error_code == "internal_error"
    assert "our own mistake" in caplog.text


async def test_the_gateway_stops(door: Door) -> None:
    """After its patience with them is over, calls without an answer get 503, and streams that had begun an error."""
    patient = CONFIG.replace("first_token_s: 1, idle_s: 1", "first_token_s: 4, idle_s: 4")
    async with MockProvider() as mock:
        running = running_gateway(mock, door=door, config=patient)
        gateway = await running.__aenter__()
        async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:

            async def call(model: str, stream: bool) -> None:
                answer = await client.chat.completions.create(model=model, messages=HELLO, stream=stream, timeout=10)
                if isinstance(answer, openai.AsyncStream):
                    assert [chunk async for chunk in answer]

            silent, begun = "mock/mock?delay_ms=60000", "mock/mock?chunk_ms=100&chunks=60"
            calling = [
                asyncio.ensure_future(call(model, stream))
                for model, stream in ((silent, False), (silent, True), (begun, True))
            ]
            await gateway.until(lambda: mock.calls["calls"] == 3)
            await running.__aexit__(None, None, None)
            plain, waiting, broken = await asyncio.gather(*calling, return_exceptions=True)
    for error in (plain, waiting):
        assert isinstance(error, openai.InternalServerError)
        assert (error.status_code, error.code) == (503, "shutting_down")
        assert error.response.headers["retry-after"] == "1"
    assert isinstance(broken, openai.APIError)
    assert broken.code == "stream_interrupted"
    assert sorted(row.status_code for row in gateway.rows) == [200, 503, 503]
    assert {(row.terminal_state, row.usage_source) for row in gateway.rows} == {("interrupted", "estimated")}
    gateway.check_books()


async def test_the_gateway_is_gone(gateway: Gateway) -> None:
    async with openai.AsyncOpenAI(base_url="http://127.0.0.1:9/v1", api_key=gateway.key, max_retries=0) as client:
        with pytest.raises(openai.APIConnectionError):
            await client.chat.completions.create(model="chat", messages=HELLO)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_client_loses_patience(gateway: Gateway, sdk: Sdk, stream: bool) -> None:
    ask = sdk.chunks if stream else sdk.chat
    with pytest.raises(openai.APITimeoutError):
        await ask("mock/mock?hang=1", timeout=0.3)
    row = await gateway.row()
    assert (row.status_code, row.error_code, row.terminal_state) == (499, "client_left", "client_left")
    assert (row.usage_source, row.output_tokens) == ("estimated", 0)
    await gateway.until(lambda: gateway.mock.calls["aborted"] == 1)


async def test_the_client_reads_no_further(gateway: Gateway, client: openai.AsyncOpenAI) -> None:
    async with await client.chat.completions.create(
        model="mock/mock?chunk_ms=20&chunks=100", messages=HELLO, stream=True
    ) as stream:
        async for _ in stream:
            break
    row = await gateway.row()
    assert (row.status_code, row.terminal_state, row.usage_source) == (499, "client_left", "estimated")
    await gateway.until(lambda: gateway.mock.calls["aborted"] == 1)


async def test_a_request_that_is_too_large(gateway: Gateway, sdk: Sdk) -> None:
    """The client sends all of it before it reads: the answer must not be lost."""
    for size in (13_000_000, 40_000_000):
        with pytest.raises(openai.APIStatusError) as raised:
            await sdk.chat(messages=[{"role": "user", "content": "x" * size}])
        assert (raised.value.status_code, raised.value.code) == (413, "request_too_large")
    assert [row.status_code for row in gateway.rows] == [413, 413]


# -- retries of the client


async def test_the_client_waits_as_long_as_it_is_told_and_tries_again(
    gateway: Gateway, client: openai.AsyncOpenAI
) -> None:
    started = time.monotonic()
    answer = await client.with_options(max_retries=2).chat.completions.create(
        model="mock/mock?fail_first=1&status=429&retry_after=0.8", messages=HELLO
    )
    assert time.monotonic() - started >= 0.8, "without the header it waits for half a second at most"
    assert answer.choices[0].message.content
    assert [row.status_code for row in gateway.rows] == [429, 200]


async def test_a_failure_of_the_provider_is_tried_again(gateway: Gateway, client: openai.AsyncOpenAI) -> None:
    chunks = await client.with_options(max_retries=2).chat.completions.create(
        model="mock/mock?fail_first=1", messages=HELLO, stream=True
    )
    assert said([chunk async for chunk in chunks])
    assert [(row.status_code, row.terminal_state) for row in gateway.rows] == [
        (502, "upstream_error"),
        (200, "completed"),
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_gateway_tried_in_vain_is_not_tried_again(gateway: Gateway, sdk: Sdk, stream: bool) -> None:
    with pytest.raises(openai.RateLimitError) as raised:
        await sdk.do(
            lambda client: client.with_options(max_retries=2).chat.completions.create(
                model="hopeless", messages=HELLO, stream=stream
            )
        )
    headers = raised.value.response.headers
    assert (headers["x-should-retry"], headers["x-sekisho-attempts"]) == ("false", "2")
    (row,) = gateway.rows
    assert [(attempt.status_code, attempt.reason) for attempt in row.attempts] == [
        (429, "primary"),
        (500, "fallback"),
    ]
    assert gateway.mock.calls["calls"] == 2


# -- streams that break


@pytest.mark.parametrize(
    ("fault", "code", "state"),
    [
        ("cut_after=3", "stream_truncated", "truncated"),
        ("reset_after=3", "stream_truncated", "truncated"),
        ("error_after=3", "stream_failed", "upstream_error"),
        ("hang_after=3", "upstream_timeout", "timed_out"),
    ],
)
async def test_a_broken_stream_never_looks_complete(
    gateway: Gateway, sdk: Sdk, fault: str, code: str, state: str
) -> None:
    with pytest.raises(openai.APIError) as raised:
        await sdk.chunks(f"mock/mock?{fault}&chunk_ms=20&answer=abcdefgh&chunks=8")
    assert raised.value.code == code
    seen: list[Any] = raised.value.seen  # type: ignore[attr-defined]
    assert said(seen) == "abc"
    assert all(chunk.choices[0].finish_reason is None for chunk in seen)
    row = await gateway.row()
    assert (row.status_code, row.error_code, row.terminal_state) == (200, code, state)
    assert (row.usage_source, row.finish_reasons) == ("estimated", None)
    assert raised.value.body["request_id"] == row.request_id  # type: ignore[index]


async def test_a_stream_without_its_last_word_is_complete(gateway: Gateway, sdk: Sdk) -> None:
    chunks = await sdk.chunks("mock/mock?no_done=1&answer=abc")
    assert said(chunks) == "abc"
    assert (await gateway.row()).terminal_state == "completed"
