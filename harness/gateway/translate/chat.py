"""OpenAI Chat Completions ↔ the common ground."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from harness.gateway.refusal import Refusal
from harness.gateway.translate.neutral import (
    Call,
    Document,
    Fields,
    Image,
    Part,
    Prompt,
    Result,
    Text,
    Thought,
    Tool,
    Turn,
    plain,
    result_parts,
    untranslatable,
)

DROPPED = (
    "user",
    "metadata",
    "store",
    "service_tier",
    "seed",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "verbosity",
    "stream_options",
    "moderation",
    "prediction",
)
_DATA_URL = re.compile(r"data:([^;,]*)(?:;[^,]*)?;base64,(.*)", re.DOTALL)


def read_request(body: Mapping[str, Any]) -> Prompt:
    """Raises Refusal naming the field that has no counterpart."""
    fields = Fields(body)
    turns = [
        turn
        for number, row in enumerate(fields.take("messages", list, required=True))
        for turn in _turns(row, f"messages.{number}")
    ]
    for name, harmless in (
        ("n", 1),
        ("frequency_penalty", 0),
        ("presence_penalty", 0),
        ("logprobs", False),
        ("modalities", ["text"]),
        ("logit_bias", {}),
        ("top_logprobs", 0),
    ):
        if fields.take(name) not in (None, harmless):
            raise untranslatable(name)
    stop = fields.take("stop", str, list)
    schema, schema_name, strict = _schema(fields.take("response_format", dict))
    options = fields.data.get("stream_options")
    user = fields.data.get("user")
    prompt = Prompt(
        model=fields.take("model", str, required=True),
        turns=tuple(turns),
        tools=_tools(fields.take("tools", list)),
        tool_choice=_choice(fields.take("tool_choice", str, dict)),
        parallel=fields.take("parallel_tool_calls", bool),
        max_tokens=fields.take("max_completion_tokens", int) or fields.take("max_tokens", int),
        temperature=fields.take("temperature", int, float),
        top_p=fields.take("top_p", int, float),
        stop=(stop,) if isinstance(stop, str) else tuple(map(str, stop or ())),
        stream=fields.take("stream", bool) is True,
        usage_in_stream=isinstance(options, dict) and options.get("include_usage") is True,
        effort=fields.take("reasoning_effort", str),
        schema=schema,
        schema_name=schema_name,
        schema_strict=strict,
        user=user if isinstance(user, str) and len(user) <= 64 else None,
        dropped=fields.drop(DROPPED),
    )
    fields.taken.add("max_tokens")
    fields.done()
    return prompt


def _turns(row: Any, where: str) -> Iterator[Turn]:
    if not isinstance(row, dict):
        raise Refusal(400, f"{where}: expected an object", param=where)
    role, content = row.get("role"), row.get("content")
    if role in ("system", "developer"):
        yield Turn("system", tuple(_parts(content, f"{where}.content")))
    elif role == "user":
        yield Turn("user", tuple(_parts(content, f"{where}.content")))
    elif role == "assistant":
        said: list[Part] = [] if content is None else list(_parts(content, f"{where}.content"))
        thought = row.get("reasoning_content") or row.get("reasoning")
        before = [Thought(thought)] if isinstance(thought, str) else []
        calls = [call(one, f"{where}.tool_calls.{number}") for number, one in enumerate(row.get("tool_calls") or ())]
        yield Turn("assistant", (*before, *said, *calls))
    elif role == "tool":
        parts = result_parts(_parts(content, f"{where}.content"), f"{where}.content")
        yield Turn("user", (Result(str(row.get("tool_call_id", "")), parts),))
    else:
        raise Refusal(400, f"{where}.role: expected system, developer, user, assistant or tool", param=f"{where}.role")


def call(row: Any, path: str) -> Call:
    """One of a message's `tool_calls`; raises Refusal."""
    kind = row.get("type", "function") if isinstance(row, dict) else None
    inner = row.get(kind) if kind in ("function", "custom") else None
    if not isinstance(inner, dict):
        raise Refusal(400, f"{path}: expected a function call", param=path)
    return Call(
        str(row.get("id", "")), str(inner.get("name", "")), str(inner.get("arguments") or inner.get("input") or "{}")
    )


def _parts(content: Any, where: str) -> Iterator[Part]:
    if isinstance(content, str):
        yield Text(content)
        return
    if not isinstance(content, list):
        raise Refusal(400, f"{where}: expected a string or an array", param=where)
    for number, part in enumerate(content):
        path = f"{where}.{number}"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("text", "refusal"):
            yield Text(str(part.get("text") or part.get("refusal") or ""))
        elif kind == "image_url":
            given = part.get("image_url")
            yield image(given.get("url") if isinstance(given, dict) else given, f"{path}.image_url.url")
        elif kind == "file" and isinstance(part.get("file"), dict) and part["file"].get("file_data"):
            yield document(part["file"]["file_data"], part["file"].get("filename"), f"{path}.file")
        elif isinstance(part, dict):
            raise untranslatable(f"{path}.type", f"the provider has nothing like a '{kind}' part")
        else:
            raise Refusal(400, f"{path}: expected an object", param=path)


def image(url: Any, path: str) -> Image:
    """A picture from a URL or a `data:` URL."""
    if not isinstance(url, str) or not url:
        raise Refusal(400, f"{path}: expected a URL", param=path)
    if not url.startswith("data:"):
        return Image(url=url)
    match = _DATA_URL.fullmatch(url)
    if match is None:
        raise Refusal(400, f"{path}: expected data:TYPE;base64,…", param=path)
    return Image(match[1], match[2])


def document(data: Any, name: Any, path: str) -> Document:
    """A file from a `data:` URL."""
    match = _DATA_URL.fullmatch(str(data))
    if match is None:
        raise Refusal(400, f"{path}.file_data: expected data:TYPE;base64,…", param=f"{path}.file_data")
    return Document(match[1], match[2], name=str(name or "file.pdf"))


def _tools(rows: list[Any] | None) -> tuple[Tool, ...]:
    tools = []
    for number, row in enumerate(rows or ()):
        kind = row.get("type") if isinstance(row, dict) else None
        inner = row.get(kind) if kind in ("function", "custom") else None
        if not isinstance(inner, dict):
            raise untranslatable(f"tools.{number}.type", f"'{kind}' runs at its own provider only")
        tools.append(custom_tool(inner) if kind == "custom" else function_tool(inner))
    return tuple(tools)


def function_tool(row: Mapping[str, Any], namespace: str | None = None) -> Tool:
    return Tool(
        str(row.get("name", "")),
        str(row.get("description") or ""),
        row.get("parameters") or {},
        said_strict(row),
        namespace=namespace,
    )


def custom_tool(row: Mapping[str, Any], namespace: str | None = None) -> Tool:
    """A free-text tool as a function with one string; its grammar, if any, is told in the description."""
    form = row.get("format")
    grammar = (
        form.get("definition") or (form.get("grammar") or {}).get("definition") if isinstance(form, dict) else None
    )
    description = str(row.get("description") or "")
    if grammar:
        description += f"\n\nThe input must follow this grammar:\n{grammar}"
    schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    return Tool(str(row.get("name", "")), description, schema, custom=True, namespace=namespace)


def _choice(data: str | Mapping[str, Any] | None) -> str | None:
    if data is None or isinstance(data, str):
        if data not in (None, "auto", "none", "required"):
            raise Refusal(400, "tool_choice: expected auto, none, required or a tool", param="tool_choice")
        return data
    inner = data.get(str(data.get("type")))
    if not isinstance(inner, dict) or "name" not in inner:
        raise untranslatable("tool_choice.type")
    return f"={inner['name']}"


def _schema(data: Mapping[str, Any] | None) -> tuple[Mapping[str, Any] | None, str, bool | None]:
    if data is None or data.get("type") == "text":
        return None, "answer", None
    inner = data.get("json_schema")
    if data.get("type") != "json_schema" or not isinstance(inner, dict):
        raise untranslatable("response_format.type", "give it a json_schema")
    return inner.get("schema") or {}, str(inner.get("name") or "answer"), said_strict(inner)


def said_strict(row: Mapping[str, Any]) -> bool | None:
    """The `strict` of a tool or a schema; None where it is not said."""
    strict = row.get("strict")
    return strict if isinstance(strict, bool) else None


def write_request(prompt: Prompt) -> dict[str, Any]:
    """A Chat Completions request. Pictures in tool results follow in a user message, where this format takes them."""
    rows = [row for turn in _joined(prompt.turns) for row in _written(turn)]
    body: dict[str, Any] = {"model": prompt.model, "messages": rows}
    if prompt.tools:
        body["tools"] = [{"type": "function", "function": _written_tool(tool)} for tool in prompt.tools]
        if prompt.tool_choice is not None:
            choice = prompt.tool_choice
            body["tool_choice"] = (
                {"type": "function", "function": {"name": choice[1:]}} if choice.startswith("=") else choice
            )
        if prompt.parallel is not None:
            body["parallel_tool_calls"] = prompt.parallel
    if prompt.schema is not None:
        form: dict[str, Any] = {"name": prompt.schema_name, "schema": prompt.schema}
        form |= {} if prompt.schema_strict is None else {"strict": prompt.schema_strict}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    optional = {
        "max_completion_tokens": prompt.max_tokens,
        "temperature": prompt.temperature,
        "top_p": prompt.top_p,
        "stop": list(prompt.stop) or None,
        "user": prompt.user,
        "stream": True if prompt.stream else None,
        "stream_options": {"include_usage": True} if prompt.stream else None,
        "reasoning_effort": {"max": "xhigh"}.get(prompt.effort, prompt.effort) if prompt.effort else None,
    }
    return body | {name: value for name, value in optional.items() if value is not None}


def _joined(turns: Iterable[Turn]) -> list[Turn]:
    """Parallel calls in one message and their results right behind it: providers refuse any other order."""
    joined: list[Turn] = []
    for turn in turns:
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.role == turn.role
            and (turn.role == "assistant" or _answers(last) or _answers(turn))
        ):
            joined[-1] = Turn(turn.role, (*last.parts, *turn.parts))
        else:
            joined.append(turn)
    return joined


def _answers(turn: Turn) -> bool:
    return any(isinstance(part, Result) for part in turn.parts)


def _written(turn: Turn) -> Iterator[dict[str, Any]]:
    results = [part for part in turn.parts if isinstance(part, Result)]
    for result in results:
        text = plain(result.parts)
        yield {"role": "tool", "tool_call_id": result.id, "content": f"Error: {text}" if result.is_error else text}
    shown: list[Part] = [part for result in results for part in result.parts if isinstance(part, Image)]
    rest = [part for part in turn.parts if not isinstance(part, Result | Thought)]
    if turn.role == "assistant":
        calls = [part for part in rest if isinstance(part, Call)]
        row: dict[str, Any] = {"role": "assistant", "content": plain(rest) or None}
        if calls:
            row["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in calls
            ]
        if calls or row["content"]:
            yield row
    elif parts := [*shown, *rest]:
        yield {"role": turn.role, "content": _content(parts)}


def _content(parts: Iterable[Part]) -> str | list[dict[str, Any]]:
    """Words alone as one string: not every server takes a list there."""
    parts = list(parts)
    if all(isinstance(part, Text) for part in parts):
        return plain(parts)
    rows: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, Text):
            rows.append({"type": "text", "text": part.text})
        elif isinstance(part, Image):
            rows.append({"type": "image_url", "image_url": {"url": part.address}})
        elif isinstance(part, Document):
            if part.url:
                raise untranslatable("document.source.url", "the model's provider takes files inline only")
            data = f"data:{part.media_type};base64,{part.data}"
            rows.append({"type": "file", "file": {"filename": part.name or "file.pdf", "file_data": data}})
    return rows


def _written_tool(tool: Tool) -> dict[str, Any]:
    row: dict[str, Any] = {"name": tool.name, "parameters": dict(tool.schema) or {"type": "object", "properties": {}}}
    if tool.description:
        row["description"] = tool.description
    if tool.strict is not None:
        row["strict"] = tool.strict
    return row
