"""The official client against the mock: what it can parse, a gateway has to pass on."""

from __future__ import annotations

import enum
import math

import openai
import pydantic
import pytest

_MESSAGES: list = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello there"}]
_TOOL: dict = {
    "type": "function",
    "function": {
        "name": "book_table",
        "parameters": {
            "type": "object",
            "properties": {"seats": {"type": "integer"}, "name": {"type": "string"}},
            "required": ["seats", "name"],
        },
    },
}


async def test_a_plain_answer(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="mock-small", messages=_MESSAGES)
    assert (answer.model, answer.choices[0].finish_reason) == ("mock-small", "stop")
    assert len((answer.choices[0].message.content or "").split()) == 20
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (4, 20, 24)


@pytest.mark.parametrize("model", ["mock-small", "mock?reasoning=1&tools=1", "mock?refusal=1&logprobs=1"])
async def test_the_same_input_has_the_same_answer(client: openai.AsyncOpenAI, model: str) -> None:
    first, second = [await client.chat.completions.create(model=model, messages=_MESSAGES) for _ in range(2)]
    assert first == second
    other = await client.chat.completions.create(model=model, messages=_MESSAGES, temperature=0.5)
    assert other.id != first.id


@pytest.mark.parametrize(
    "model",
    [
        "mock-small",
        "mock?echo=1",
        "mock?answer=%E9%96%A2%E6%89%80%20is+here&chunks=3",
        "mock?chunks=0",
        "mock?tools=1",
        "mock?refusal=1",
    ],
)
async def test_a_stream_says_what_the_plain_answer_says(client: openai.AsyncOpenAI, model: str) -> None:
    plain = await client.chat.completions.create(model=model, messages=_MESSAGES)
    async with client.chat.completions.stream(
        model=model, messages=_MESSAGES, stream_options={"include_usage": True}
    ) as stream:
        streamed = await stream.get_final_completion()
    assert streamed.choices[0].message.content == plain.choices[0].message.content
    assert streamed.choices[0].message.refusal == plain.choices[0].message.refusal
    assert streamed.choices[0].finish_reason == plain.choices[0].finish_reason
    assert streamed.usage == plain.usage


async def test_usage_comes_only_where_it_was_asked_for(client: openai.AsyncOpenAI) -> None:
    asked = {"stream_options": {"include_usage": True}}
    model = "mock?usage=100,20,60&chunks=2"
    with_usage = [
        chunk
        async for chunk in await client.chat.completions.create(model=model, messages=_MESSAGES, stream=True, **asked)
    ]
    assert [chunk.usage is None for chunk in with_usage] == [True] * 4 + [False]
    assert "usage" in with_usage[0].model_fields_set
    assert with_usage[-1].choices == []
    assert with_usage[-1].usage is not None
    assert with_usage[-1].usage.prompt_tokens_details is not None
    assert with_usage[-1].usage.prompt_tokens_details.cached_tokens == 60
    without = [
        chunk async for chunk in await client.chat.completions.create(model=model, messages=_MESSAGES, stream=True)
    ]
    assert len(without) == 4
    assert not any("usage" in chunk.model_fields_set for chunk in without)


async def test_no_usage_is_no_usage(client: openai.AsyncOpenAI) -> None:
    model = "mock?no_usage=1"
    assert (await client.chat.completions.create(model=model, messages=_MESSAGES)).usage is None
    stream = await client.chat.completions.create(
        model=model, messages=_MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    assert all(chunk.usage is None for chunk in [chunk async for chunk in stream])


@pytest.mark.parametrize("parallel", [1, 2])
async def test_tool_calls(client: openai.AsyncOpenAI, parallel: int) -> None:
    model = f"mock?tools=1&parallel={parallel}"
    plain = await client.chat.completions.create(model=model, messages=_MESSAGES, tools=[_TOOL])
    calls = plain.choices[0].message.tool_calls or []
    assert plain.choices[0].finish_reason == "tool_calls"
    assert len({call.id for call in calls}) == parallel
    assert [(call.type, call.function.name, call.function.arguments) for call in calls] == [
        ("function", "book_table", '{"seats":1,"name":"text"}')
    ] * parallel

    async with client.chat.completions.stream(model=model, messages=_MESSAGES, tools=[_TOOL]) as stream:
        streamed = (await stream.get_final_completion()).choices[0].message.tool_calls or []
    assert [call.function.arguments for call in streamed] == [call.function.arguments for call in calls]

    deltas = [
        delta
        async for chunk in await client.chat.completions.create(
            model=model, messages=_MESSAGES, tools=[_TOOL], stream=True
        )
        for delta in chunk.choices[0].delta.tool_calls or []
    ]
    for index in range(parallel):
        first, *rest = [delta for delta in deltas if delta.index == index]
        assert first.id
        assert first.function
        assert first.function.name == "book_table"
        assert all(delta.id is None and delta.function and delta.function.name is None for delta in rest)
        assert len(rest) > 1


async def test_the_tool_that_was_chosen_is_called(client: openai.AsyncOpenAI) -> None:
    other = {"type": "function", "function": {"name": "other"}}
    answer = await client.chat.completions.create(
        model="mock?tools=1", messages=_MESSAGES, tools=[_TOOL, other], tool_choice=other
    )
    assert [call.function.name for call in answer.choices[0].message.tool_calls or []] == ["other"]


async def test_a_conversation_with_tools_comes_to_an_end(client: openai.AsyncOpenAI) -> None:
    first = await client.chat.completions.create(model="mock?tools=1", messages=_MESSAGES, tools=[_TOOL])
    call = (first.choices[0].message.tool_calls or [])[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": "done"}
    messages = [*_MESSAGES, first.choices[0].message.model_dump(exclude_none=True), result]
    second = await client.chat.completions.create(model="mock?tools=1", messages=messages, tools=[_TOOL])
    assert second.choices[0].finish_reason == "stop"
    assert second.choices[0].message.content


async def test_reasoning(client: openai.AsyncOpenAI) -> None:
    plain = await client.chat.completions.create(model="mock?reasoning=1", messages=_MESSAGES)
    thought = plain.choices[0].message.model_dump()["reasoning_content"]
    assert thought
    assert plain.usage is not None
    assert plain.usage.completion_tokens_details is not None
    assert (plain.usage.completion_tokens, plain.usage.completion_tokens_details.reasoning_tokens) == (24, 4)
    stream = await client.chat.completions.create(model="mock?reasoning=1", messages=_MESSAGES, stream=True)
    deltas = [chunk.choices[0].delta.model_dump() async for chunk in stream]
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == thought


async def test_a_refusal(client: openai.AsyncOpenAI) -> None:
    plain = await client.chat.completions.create(model="mock?refusal=1", messages=_MESSAGES)
    assert (plain.choices[0].message.content, plain.choices[0].message.refusal) == (None, "I cannot help with that.")
    async with client.chat.completions.stream(model="mock?refusal=1", messages=_MESSAGES) as stream:
        assert (await stream.get_final_completion()).choices[0].message.refusal == "I cannot help with that."


async def test_log_probabilities(client: openai.AsyncOpenAI) -> None:
    for model, asked in [("mock?chunks=3&logprobs=1", {}), ("mock?chunks=3", {"logprobs": True, "top_logprobs": 1})]:
        plain = await client.chat.completions.create(model=model, messages=_MESSAGES, **asked)
        assert plain.choices[0].logprobs is not None
        tokens = plain.choices[0].logprobs.content or []
        assert "".join(token.token for token in tokens) == plain.choices[0].message.content
        assert len(tokens) == 3
        assert bool(tokens[0].top_logprobs) == bool(asked)
        async with client.chat.completions.stream(model=model, messages=_MESSAGES, **asked) as stream:
            streamed = (await stream.get_final_completion()).choices[0].logprobs
        assert streamed is not None
        assert len(streamed.content or []) == 3


async def test_several_choices(client: openai.AsyncOpenAI) -> None:
    plain = await client.chat.completions.create(model="mock?chunks=3", messages=_MESSAGES, n=3)
    assert [choice.index for choice in plain.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in plain.choices}) == 3
    assert plain.usage is not None
    assert plain.usage.completion_tokens == 9
    async with client.chat.completions.stream(model="mock?chunks=3", messages=_MESSAGES, n=3) as stream:
        streamed = await stream.get_final_completion()
    assert [(choice.index, choice.finish_reason) for choice in streamed.choices] == [(n, "stop") for n in range(3)]


async def test_a_finish_reason_can_be_told(client: openai.AsyncOpenAI) -> None:
    plain = await client.chat.completions.create(model="mock?finish=length", messages=_MESSAGES)
    assert plain.choices[0].finish_reason == "length"
    stream = await client.chat.completions.create(model="mock?finish=length", messages=_MESSAGES, stream=True)
    assert [chunk.choices[0].finish_reason async for chunk in stream][-1] == "length"


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Wheel(pydantic.BaseModel):
    inches: float
    spokes: int | None


class Bicycle(pydantic.BaseModel):
    name: str
    price: int
    sold: bool
    colour: Colour
    front: Wheel
    tags: list[str]
    spare: Wheel | None


async def test_structured_output_parses(client: openai.AsyncOpenAI) -> None:
    expected = Bicycle(
        name="text",
        price=1,
        sold=True,
        colour=Colour.RED,
        front=Wheel(inches=1.0, spokes=1),
        tags=[],
        spare=Wheel(inches=1.0, spokes=1),
    )
    plain = await client.chat.completions.parse(model="mock-small", messages=_MESSAGES, response_format=Bicycle)
    assert plain.choices[0].message.parsed == expected
    async with client.chat.completions.stream(
        model="mock-small", messages=_MESSAGES, response_format=Bicycle
    ) as stream:
        assert (await stream.get_final_completion()).choices[0].message.parsed == expected


async def test_any_json_object(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="mock-small", messages=_MESSAGES, response_format={"type": "json_object"}
    )
    assert answer.choices[0].message.content == '{"answer":"text"}'


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500, 503])
async def test_errors_have_the_class_of_their_status(client: openai.AsyncOpenAI, status: int) -> None:
    with pytest.raises(openai.APIStatusError, match="sk-upstream-canary") as caught:
        await client.chat.completions.create(model=f"mock?status={status}", messages=_MESSAGES)
    assert caught.value.status_code == status
    assert caught.value.request_id


async def test_an_error_event_raises(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="mock?error_after=1", messages=_MESSAGES, stream=True)
    with pytest.raises(openai.APIError, match="sk-upstream-canary"):
        _ = [chunk async for chunk in stream]


async def test_the_retries_of_the_client_pass_the_first_failures(client: openai.AsyncOpenAI, mock) -> None:
    patient = client.with_options(max_retries=2)
    answer = await patient.chat.completions.create(model="mock?fail_first=1&reset_after=0", messages=_MESSAGES)
    assert answer.choices[0].finish_reason == "stop"
    assert mock.calls["calls"] == 2


@pytest.mark.parametrize(
    ("given", "vectors", "tokens"),
    [("hello", 1, 1), (["hello", "there"], 2, 2), ([1, 2, 3], 1, 3), ([[1, 2], [3]], 2, 3)],
)
async def test_embeddings(client: openai.AsyncOpenAI, given: list, vectors: int, tokens: int) -> None:
    floats = await client.embeddings.create(model="mock-embedding", input=given, encoding_format="float")
    packed = await client.embeddings.create(model="mock-embedding", input=given)
    assert [each.embedding for each in packed.data] == [each.embedding for each in floats.data]
    assert len(floats.data) == vectors
    for each in floats.data:
        assert math.isclose(sum(number * number for number in each.embedding), 1, abs_tol=1e-5)
    assert floats.usage.prompt_tokens == floats.usage.total_tokens == tokens


async def test_embeddings_have_the_dimensions_asked_for(client: openai.AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="mock-embedding", input="hello", dimensions=12)
    assert len(answer.data[0].embedding) == 12


async def test_texts_that_share_words_lie_closer(client: openai.AsyncOpenAI) -> None:
    texts = ["How do I return a bicycle?", "how can I return my bicycle", "Quarterly revenue grew by nine percent."]
    first, near, far = [each.embedding for each in (await client.embeddings.create(model="m", input=texts)).data]
    assert _cosine(first, near) > _cosine(first, far) + 0.3


def _cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("given", ["", [], [""], [[]], ["a", 1]])
async def test_an_input_that_is_nothing_is_a_400(client: openai.AsyncOpenAI, given: list) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.embeddings.create(model="mock-embedding", input=given)
    assert caught.value.param == "input"


async def test_scripts_hold_for_embeddings(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.RateLimitError):
        await client.embeddings.create(model="mock?status=429", input="a")
    with pytest.raises(openai.APIConnectionError):
        await client.embeddings.create(model="mock?reset_after=0", input="a")
    answer = await client.embeddings.create(model="mock?usage=77", input="a")
    assert answer.usage.prompt_tokens == 77
    with pytest.raises(openai.BadRequestError, match="valid keys"):
        await client.embeddings.create(model="mock?no=1", input="a")


async def test_models(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["mock-small", "mock-large", "mock-embedding"]
    assert (await client.models.retrieve("mock?chunks=3")).id == "mock?chunks=3"
