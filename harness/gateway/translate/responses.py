"""OpenAI Responses ↔ the common ground."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import orjson

from harness.gateway.refusal import Refusal
from harness.gateway.translate.chat import custom_tool, document, function_tool, image, said_strict
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
    "include",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "truncation",
    "user",
    "stream_options",
    "context_management",
    "moderation",
    "access_programs",
    "client_metadata",
    "image",
    "max_tool_calls",
)
HOSTED = ("web_search", "web_search_preview", "tool_search", "image_generation")
"""Tools run by OpenAI that a model can do without; left out elsewhere, and named in `x-harness-dropped`."""
_ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "developer": "system",
    "system": "system",
    "user": "user",
    "assistant": "assistant",
}
_CALLS = ("function_call", "custom_tool_call")
_OUTPUTS = ("function_call_output", "custom_tool_call_output")


def read_request(body: Mapping[str, Any]) -> Prompt:
    """Raises Refusal naming the field that has no counterpart; state kept at OpenAI has none."""
    fields = Fields(body)
    for name in ("previous_response_id", "conversation", "prompt"):
        if fields.take(name) is not None:
            raise untranslatable(name, "it refers to what OpenAI has stored; send the whole conversation in input")
    for name, harmless in (("background", False), ("top_logprobs", 0)):
        if fields.take(name) not in (None, harmless):
            raise untranslatable(name)
    instructions = fields.take("instructions", str)
    first = (Turn("system", (Text(instructions),)),) if instructions else ()
    given = fields.take("input", str, list, required=True)
    rest = (Turn("user", (Text(given),)),) if isinstance(given, str) else tuple(_input(given))
    tools, left_out = _tools(fields.take("tools", list))
    schema, schema_name, strict = _text_format(fields.take("text", dict))
    reasoning = fields.take("reasoning", dict) or {}
    user = fields.data.get("user")
    prompt = Prompt(
        model=fields.take("model", str, required=True),
        turns=(*first, *rest),
        tools=tools,
        tool_choice=_choice(fields.take("tool_choice", str, dict)),
        parallel=fields.take("parallel_tool_calls", bool),
        max_tokens=fields.take("max_output_tokens", int),
        temperature=fields.take("temperature", int, float),
        top_p=fields.take("top_p", int, float),
        stream=fields.take("stream", bool) is True,
        effort=reasoning.get("effort"),
        schema=schema,
        schema_name=schema_name,
        schema_strict=strict,
        user=user if isinstance(user, str) and len(user) <= 64 else None,
        dropped=(*fields.drop(DROPPED), *left_out),
    )
    fields.done()
    return prompt


def _input(rows: list[Any]) -> Iterator[Turn]:
    for number, row in enumerate(rows):
        path = f"input.{number}"
        if not isinstance(row, dict):
            raise Refusal(400, f"{path}: expected an object", param=path)
        kind = row.get("type") or "message"
        if kind == "message":
            role = _ROLES.get(str(row.get("role")))
            if role is None:
                raise Refusal(400, f"{path}.role: expected user, assistant, system or developer", param=f"{path}.role")
            yield Turn(role, tuple(_parts(row.get("content"), f"{path}.content")))
        elif kind in _CALLS:
            custom = kind == "custom_tool_call"
            arguments = (
                orjson.dumps({"input": row.get("input") or ""}).decode()
                if custom
                else str(row.get("arguments") or "{}")
            )
            yield Turn("assistant", (Call(str(row.get("call_id", "")), str(row.get("name", "")), arguments),))
        elif kind in _OUTPUTS:
            output = row.get("output")
            parts = _parts(output, f"{path}.output") if isinstance(output, str | list) else iter(())
            kept = result_parts(parts, f"{path}.output")
            yield Turn("user", (Result(str(row.get("call_id", "")), kept),))
        elif kind == "reasoning":
            summary = row.get("summary")
            words = (
                [str(part.get("text", "")) for part in summary if isinstance(part, dict)]
                if isinstance(summary, list)
                else []
            )
            if words:
                yield Turn("assistant", (Thought("\n".join(words)),))
        elif kind in ("additional_tools", "item_reference"):
            raise untranslatable(f"{path}.type", f"'{kind}' refers to what OpenAI has stored")
        else:
            raise untranslatable(f"{path}.type", f"the provider has nothing like a '{kind}' item")


def _parts(content: Any, where: str) -> Iterator[Part]:
    if isinstance(content, str):
        yield Text(content)
        return
    if not isinstance(content, list):
        raise Refusal(400, f"{where}: expected a string or an array", param=where)
    for number, part in enumerate(content):
        path = f"{where}.{number}"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("input_text", "output_text", "text", "refusal"):
            yield Text(str(part.get("text") or part.get("refusal") or ""))
        elif kind == "input_image" and part.get("image_url"):
            yield image(part["image_url"], f"{path}.image_url")
        elif kind == "input_file" and part.get("file_data"):
            yield document(part["file_data"], part.get("filename"), path)
        elif kind == "input_file" and part.get("file_url"):
            yield Document(url=str(part["file_url"]))
        elif isinstance(part, dict):
            raise untranslatable(f"{path}.type", f"the provider has nothing like this '{kind}' part")
        else:
            raise Refusal(400, f"{path}: expected an object", param=path)


def _tools(rows: list[Any] | None) -> tuple[tuple[Tool, ...], tuple[str, ...]]:
    tools: list[Tool] = []
    left_out: list[str] = []
    for number, row in enumerate(rows or ()):
        kind = row.get("type") if isinstance(row, dict) else None
        if kind == "function":
            tools.append(function_tool(row))
        elif kind == "custom":
            tools.append(custom_tool(row))
        elif kind == "namespace":
            for inner in row.get("tools") or ():
                make = custom_tool if inner.get("type") == "custom" else function_tool
                tools.append(make(inner, str(row.get("name"))))
        elif isinstance(kind, str) and kind.startswith(HOSTED):
            left_out.append(f"tools.{number} ({kind})")
        else:
            raise untranslatable(f"tools.{number}.type", f"'{kind}' runs at its own provider only")
    return tuple(tools), tuple(left_out)


def _choice(data: str | Mapping[str, Any] | None) -> str | None:
    if data is None or isinstance(data, str):
        if data not in (None, "auto", "none", "required"):
            raise Refusal(400, "tool_choice: expected auto, none, required or a tool", param="tool_choice")
        return data
    if data.get("type") in ("function", "custom") and data.get("name"):
        return f"={data['name']}"
    raise untranslatable("tool_choice.type")


def _text_format(data: Mapping[str, Any] | None) -> tuple[Mapping[str, Any] | None, str, bool | None]:
    form = (data or {}).get("format")
    if not isinstance(form, dict) or form.get("type") == "text":
        return None, "answer", None
    if form.get("type") != "json_schema":
        raise untranslatable("text.format.type", "give it a json_schema")
    return form.get("schema") or {}, str(form.get("name") or "answer"), said_strict(form)


def write_request(prompt: Prompt) -> dict[str, Any]:
    """A Responses request that stores nothing at the provider."""
    if prompt.stop:
        raise untranslatable("stop", "the Responses format has no stop sequences")
    turns, instructions = list(prompt.turns), []
    while turns and turns[0].role == "system":
        instructions.append(plain(turns.pop(0).parts))
    body: dict[str, Any] = {
        "model": prompt.model,
        "input": [row for turn in turns for row in _written(turn)],
        "store": False,
    }
    if prompt.tools:
        body["tools"] = [_written_tool(tool) for tool in prompt.tools]
        if (choice := prompt.tool_choice) is not None:
            body["tool_choice"] = {"type": "function", "name": choice[1:]} if choice.startswith("=") else choice
        if prompt.parallel is not None:
            body["parallel_tool_calls"] = prompt.parallel
    if prompt.schema is not None:
        form: dict[str, Any] = {"type": "json_schema", "name": prompt.schema_name, "schema": prompt.schema}
        form |= {} if prompt.schema_strict is None else {"strict": prompt.schema_strict}
        body["text"] = {"format": form}
    effort: str | None = prompt.effort
    optional = {
        "instructions": "\n\n".join(instructions) or None,
        "max_output_tokens": prompt.max_tokens,
        "temperature": prompt.temperature,
        "top_p": prompt.top_p,
        "stream": True if prompt.stream else None,
        "reasoning": {"effort": "xhigh" if effort == "max" else effort} if effort else None,
        "safety_identifier": prompt.user,
    }
    return body | {name: value for name, value in optional.items() if value is not None}


def _written(turn: Turn) -> Iterator[dict[str, Any]]:
    content: list[dict[str, Any]] = []

    def flush() -> Iterator[dict[str, Any]]:
        if content:
            yield {"type": "message", "role": turn.role, "content": list(content)}
            content.clear()

    for part in turn.parts:
        if isinstance(part, Call):
            yield from flush()
            yield {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments}
        elif isinstance(part, Result):
            yield from flush()
            yield {"type": "function_call_output", "call_id": part.id, "output": _output(part)}
        elif isinstance(part, Text) and turn.role == "assistant":
            yield {"type": "message", "role": "assistant", "content": part.text}
        elif isinstance(part, Text):
            content.append({"type": "input_text", "text": part.text})
        elif isinstance(part, Image):
            content.append({"type": "input_image", "image_url": part.address, "detail": "auto"})
        elif isinstance(part, Document):
            content.append(
                {"type": "input_file", "file_url": part.url}
                if part.url
                else {
                    "type": "input_file",
                    "filename": part.name or "file.pdf",
                    "file_data": f"data:{part.media_type};base64,{part.data}",
                }
            )
    yield from flush()


def _output(result: Result) -> str | list[dict[str, Any]]:
    if any(isinstance(part, Image) for part in result.parts):
        return [
            {"type": "input_text", "text": part.text}
            if isinstance(part, Text)
            else {"type": "input_image", "image_url": part.address, "detail": "auto"}
            for part in result.parts
        ]
    text = plain(result.parts)
    return f"Error: {text}" if result.is_error else text


def _written_tool(tool: Tool) -> dict[str, Any]:
    schema = dict(tool.schema) or {"type": "object", "properties": {}}
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": schema,
        "strict": tool.strict if tool.strict is not None else False,
    }
