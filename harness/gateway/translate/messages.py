"""Anthropic Messages ↔ the common ground."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from harness.gateway.refusal import Refusal
from harness.gateway.translate.neutral import (
    Call,
    Document,
    Effort,
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
    "metadata",
    "service_tier",
    "context_management",
    "betas",
    "diagnostics",
    "inference_geo",
    "speed",
    "cache_control",
    "user_profile_id",
    "workspace_id",
    "container",
    "prefill",
)
FOREIGN_SIGNATURE = "harness"
"""On thinking blocks that another vendor's model thought: they are taken out again before Claude sees them."""
DEFAULT_MAX_TOKENS = 32_000
"""Messages wants a bound and the other formats do not; every current Claude model allows this one."""


def read_request(body: Mapping[str, Any]) -> Prompt:
    """Raises Refusal naming the field that has no counterpart."""
    fields = Fields(body)
    system = _system(fields.take("system", str, list))
    turns = [
        turn
        for number, row in enumerate(fields.take("messages", list, required=True))
        for turn in _turns(row, f"messages.{number}")
    ]
    choice, parallel = _choice(fields.take("tool_choice", dict))
    schema, effort = _output(fields.take("output_config", dict))
    user = (fields.data.get("metadata") or {}).get("user_id") if isinstance(fields.data.get("metadata"), dict) else None
    prompt = Prompt(
        model=fields.take("model", str, required=True),
        turns=(*system, *turns),
        tools=_tools(fields.take("tools", list)),
        tool_choice=choice,
        parallel=parallel,
        max_tokens=fields.take("max_tokens", int),
        temperature=fields.take("temperature", int, float),
        top_p=fields.take("top_p", int, float),
        stop=tuple(map(str, fields.take("stop_sequences", list) or ())),
        stream=fields.take("stream", bool) is True,
        effort=effort or _effort(fields.take("thinking", dict)),
        schema=schema,
        user=user if isinstance(user, str) and len(user) <= 64 else None,
        dropped=fields.drop(DROPPED),
    )
    fields.taken.add("thinking")
    fields.done()
    return prompt


def _system(data: str | list[Any] | None) -> list[Turn]:
    if not data:
        return []
    return [Turn("system", tuple(_parts(data, "system")))]


def _turns(row: Any, where: str) -> Iterator[Turn]:
    if not isinstance(row, dict):
        raise Refusal(400, f"{where}: expected an object", param=where)
    role = row.get("role")
    if role not in ("user", "assistant", "system"):
        raise Refusal(400, f"{where}.role: expected user, assistant or system", param=f"{where}.role")
    yield Turn(role, tuple(_parts(row.get("content"), f"{where}.content")))


def _parts(content: Any, where: str) -> Iterator[Part]:
    if isinstance(content, str):
        yield Text(content)
        return
    if not isinstance(content, list):
        raise Refusal(400, f"{where}: expected a string or an array", param=where)
    for number, block in enumerate(content):
        path = f"{where}.{number}"
        if not isinstance(block, dict):
            raise Refusal(400, f"{path}: expected an object", param=path)
        yield from _block(block, path)


def _block(block: Mapping[str, Any], path: str) -> Iterator[Part]:
    kind = block.get("type")
    if kind == "text":
        yield Text(str(block.get("text", "")))
    elif kind == "image":
        yield _image(block.get("source"), f"{path}.source")
    elif kind == "document":
        yield _document(block, path)
    elif kind == "tool_use":
        arguments = orjson.dumps(block.get("input") or {}).decode()
        yield Call(str(block.get("id", "")), str(block.get("name", "")), arguments)
    elif kind == "tool_result":
        inner = block.get("content")
        parts = () if inner is None else result_parts(_parts(inner, f"{path}.content"), f"{path}.content")
        yield Result(str(block.get("tool_use_id", "")), parts, block.get("is_error") is True)
    elif kind == "thinking":
        yield Thought(str(block.get("thinking", "")))
    elif kind == "redacted_thinking":
        return
    else:
        raise untranslatable(f"{path}.type", f"the provider has nothing like a '{kind}' block")


def _image(source: Any, path: str) -> Image:
    if isinstance(source, dict) and source.get("type") == "base64":
        return Image(str(source.get("media_type", "")), str(source.get("data", "")))
    if isinstance(source, dict) and source.get("type") == "url":
        return Image(url=str(source.get("url", "")))
    raise untranslatable(f"{path}.type", "only base64 and url pictures travel")


def _document(block: Mapping[str, Any], path: str) -> Part:
    source = block.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    if isinstance(source, dict) and kind == "text":
        return Text(str(source.get("data", "")))
    if isinstance(source, dict) and kind == "base64":
        return Document(
            str(source.get("media_type", "")), str(source.get("data", "")), name=str(block.get("title") or "file.pdf")
        )
    if isinstance(source, dict) and kind == "url":
        return Document(url=str(source.get("url", "")), name=str(block.get("title") or "file.pdf"))
    raise untranslatable(f"{path}.source.type", "only text, base64 and url documents travel")


def _tools(rows: list[Any] | None) -> tuple[Tool, ...]:
    tools = []
    for number, row in enumerate(rows or ()):
        if not isinstance(row, dict):
            raise Refusal(400, f"tools.{number}: expected an object", param=f"tools.{number}")
        # Not left out like Responses' hosted tools, which codex always offers: Claude Code hands its web search over
        # in a request of its own, and an answer without the search would be an invention.
        if row.get("type") not in (None, "custom"):
            raise untranslatable(
                f"tools.{number}.type", f"'{row['type']}' runs at, or is known to, its own provider only"
            )
        tools.append(
            Tool(
                str(row.get("name", "")),
                str(row.get("description") or ""),
                row.get("input_schema") or {},
                row.get("strict") if isinstance(row.get("strict"), bool) else None,
            )
        )
    return tuple(tools)


def _choice(data: Mapping[str, Any] | None) -> tuple[str | None, bool | None]:
    if data is None:
        return None, None
    kind = data.get("type")
    parallel = None if data.get("disable_parallel_tool_use") is None else not data["disable_parallel_tool_use"]
    names = {"auto": "auto", "none": "none", "any": "required"}
    if kind == "tool":
        return f"={data.get('name', '')}", parallel
    if kind not in names:
        raise Refusal(400, "tool_choice.type: expected auto, any, none or tool", param="tool_choice.type")
    return names[kind], parallel


def _output(data: Mapping[str, Any] | None) -> tuple[Mapping[str, Any] | None, Effort | None]:
    if data is None:
        return None, None
    fields = Fields(data, "output_config")
    effort, form = fields.take("effort", str), fields.take("format", dict)
    fields.done()
    if form is not None and form.get("type") != "json_schema":
        raise untranslatable("output_config.format.type")
    return (form or {}).get("schema"), effort


def _effort(thinking: Mapping[str, Any] | None) -> Effort | None:
    """A thinking budget as an effort: under 4,096 tokens low, under 16,384 medium, else high; adaptive is default."""
    if thinking is None or thinking.get("type") != "enabled":
        return None
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int):
        return "medium"
    return "low" if budget < 4096 else "medium" if budget < 16384 else "high"


def write_request(prompt: Prompt) -> dict[str, Any]:
    """A Messages request; one user or assistant turn at a time, tool results first in theirs."""
    system, rest = [], list(prompt.turns)
    while rest and rest[0].role == "system":
        system.append(plain(rest.pop(0).parts))
    body: dict[str, Any] = {
        "model": prompt.model,
        "max_tokens": prompt.max_tokens or DEFAULT_MAX_TOKENS,
        "messages": _written_turns(rest),
    }
    if system:
        body["system"] = "\n\n".join(system)
    if prompt.tools:
        body["tools"] = [_written_tool(tool) for tool in prompt.tools]
        if choice := _written_choice(prompt):
            body["tool_choice"] = choice
    output: dict[str, Any] = {}
    if prompt.schema is not None:
        output["format"] = {"type": "json_schema", "schema": prompt.schema}
    if prompt.effort is not None:
        if prompt.effort == "none":
            body["thinking"] = {"type": "disabled"}
        else:
            output["effort"] = "low" if prompt.effort == "minimal" else prompt.effort
    optional = {
        "temperature": prompt.temperature,
        "top_p": prompt.top_p,
        "stop_sequences": list(prompt.stop) or None,
        "stream": True if prompt.stream else None,
        "output_config": output or None,
        "metadata": {"user_id": prompt.user} if prompt.user else None,
    }
    if prompt.temperature is not None and prompt.temperature > 1:
        raise untranslatable("temperature", "the model's provider takes 0 to 1")
    return body | {name: value for name, value in optional.items() if value is not None}


def _written_turns(turns: Iterable[Turn]) -> list[dict[str, Any]]:
    """Neighbours of one role become one message; system text in the middle stays in its place."""
    rows: list[dict[str, Any]] = []
    for turn in turns:
        role, blocks = turn.role, [block for part in turn.parts for block in _written_part(part)]
        if not blocks:
            continue
        if rows and rows[-1]["role"] == role:
            rows[-1]["content"] += blocks
        else:
            rows.append({"role": role, "content": blocks})
    for row in rows:
        row["content"].sort(key=lambda block: block["type"] != "tool_result")
    return rows


def _written_part(part: Part) -> list[dict[str, Any]]:
    if isinstance(part, Text):
        return [{"type": "text", "text": part.text}] if part.text.strip() else []
    if isinstance(part, Image):
        source = (
            {"type": "url", "url": part.url}
            if part.url
            else {"type": "base64", "media_type": part.media_type, "data": part.data}
        )
        return [{"type": "image", "source": source}]
    if isinstance(part, Document):
        source = (
            {"type": "url", "url": part.url}
            if part.url
            else {"type": "base64", "media_type": part.media_type or "application/pdf", "data": part.data}
        )
        return [{"type": "document", "source": source}]
    if isinstance(part, Call):
        return [{"type": "tool_use", "id": part.id, "name": part.name, "input": arguments_object(part.arguments)}]
    if isinstance(part, Result):
        inner = [block for inner_part in part.parts for block in _written_part(inner_part)]
        return [
            {
                "type": "tool_result",
                "tool_use_id": part.id,
                "content": inner,
                **({"is_error": True} if part.is_error else {}),
            }
        ]
    return []


def arguments_object(arguments: str) -> dict[str, Any]:
    """A call's arguments as an object; text that is no JSON object becomes `{"input": text}`."""
    try:
        data = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return {"input": arguments}
    return data if isinstance(data, dict) else {"input": arguments}


def _written_tool(tool: Tool) -> dict[str, Any]:
    schema = dict(tool.schema) or {"type": "object", "properties": {}}
    schema.setdefault("type", "object")
    row: dict[str, Any] = {"name": tool.name, "input_schema": schema}
    if tool.description:
        row["description"] = tool.description
    return row


def _written_choice(prompt: Prompt) -> dict[str, Any] | None:
    choice = prompt.tool_choice
    kind: dict[str, Any] = {"type": {"required": "any", "none": "none"}.get(choice or "auto", "auto")}
    if choice is not None and choice.startswith("="):
        kind = {"type": "tool", "name": choice[1:]}
    if prompt.parallel is False and kind["type"] != "none":
        kind["disable_parallel_tool_use"] = True
    return kind if choice is not None or prompt.parallel is False else None
