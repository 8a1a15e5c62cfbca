"""A router model decides: Arch-Router or Plano-Orchestrator behind any OpenAI-compatible endpoint.

Prompts are those the two models were trained on (`data/arch_router.txt`, `data/orchestrator.txt`, from katanemo/plano,
Apache-2.0), to the byte. Replies are read more generously than Plano reads them: both shapes, fences, single quotes.
"""

from __future__ import annotations

import json
import re
from ast import literal_eval
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Literal, Protocol

import anyio
import httpx2

from harness.config.settings import RoutePreference
from harness.errors import HarnessError
from harness.routing.turns import Spoken, Turn, said
from harness.types import Value

Form = Literal["arch_router", "orchestrator"]

CONTEXT_TOKENS: dict[Form, int] = {"arch_router": 2048, "orchestrator": 8192}
MAX_TURNS = 16
"""The orchestrator sees no more of the conversation's end than this."""
BYTES_PER_TOKEN = 4
"""The estimate that both models' prompts are cut by."""
TEMPERATURE = 0.01
ERROR_BYTES = 512
"""How much of a failing endpoint's answer is quoted."""
ELLIPSIS = "…"


class RouterDown(HarnessError):
    """The router model could not be reached, took too long, or said nothing that names a route."""


class Answer(Value):
    """What the endpoint said: HTTP status and body."""

    status: int
    body: bytes


Post = Callable[[dict[str, Any]], Awaitable[Answer]]
"""Sends a chat completion request's JSON, returns the answer; raises httpx2.HTTPError or OSError."""


class Resting(Protocol):
    """Who is passed over for a while, because they failed a moment ago."""

    def rest(self, model: str, reason: str, retry_after: float | None = None) -> None: ...

    def recovered(self, model: str) -> None: ...

    def resting(self) -> dict[str, tuple[float, str]]:
        """Name → (seconds left, why)."""


class RouterModel:
    """Asks one router model. `post` reaches it; `timeout` is in seconds for the whole answer.

    With `resting`, one that was down or slow is not waited for again by the next requests.
    """

    def __init__(
        self,
        model: str,
        post: Post,
        *,
        form: Form = "orchestrator",
        timeout: float = 5,
        context_tokens: int | None = None,
        resting: Resting | None = None,
    ) -> None:
        self.model, self.form, self.timeout = model, form, timeout
        self._post, self._resting = post, resting
        self._context = context_tokens or CONTEXT_TOKENS[form]

    async def choose(self, routes: Sequence[RoutePreference], turns: Sequence[Spoken]) -> str | None:
        """The name of the route the model picks, or None when it says that none fits; raises RouterDown."""
        content = await self._asked(request(self.model, prompt(routes, turns, self.form, self._context)))
        return parse_reply(content, [route.name for route in routes])

    async def _asked(self, body: dict[str, Any]) -> str:
        name = f"router model {self.model}"
        if self._resting is None:
            return await self._answer(name, body)
        if (rest := self._resting.resting().get(name)) is not None:
            raise RouterDown(f"{name} {rest[1]}; asked again in {rest[0]:.0f} s")
        try:
            content = await self._answer(name, body)
        except RouterDown as down:
            self._resting.rest(name, down.message.removeprefix(f"{name} "))
            raise
        self._resting.recovered(name)
        return content

    async def _answer(self, name: str, body: dict[str, Any]) -> str:
        try:
            with anyio.fail_after(self.timeout):
                answer = await self._post(body)
        except TimeoutError:
            raise RouterDown(f"{name} took longer than {self.timeout:g} s") from None
        except (httpx2.HTTPError, OSError) as error:
            raise RouterDown(f"{name} cannot be reached ({type(error).__name__})") from None
        if not 200 <= answer.status < 300:
            raise RouterDown(f"{name} answered {answer.status}: {upstream_message(answer.body)}")
        try:
            content = json.loads(answer.body)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError):
            raise RouterDown(f"{name} answered with something that is no chat completion") from None
        return content if isinstance(content, str) else ""


def http_post(client: httpx2.AsyncClient, base_url: str, headers: Mapping[str, str] | None = None) -> Post:
    """A `Post` to `base_url`'s chat completions; `headers` carry the credential, if the endpoint wants one."""
    url = base_url.rstrip("/")
    url = url if url.endswith("/chat/completions") else url + "/chat/completions"

    async def post(body: dict[str, Any]) -> Answer:
        answer = await client.post(url, json=body, headers=dict(headers or {}))
        return Answer(status=answer.status_code, body=answer.content)

    return post


def request(model: str, text: str) -> dict[str, Any]:
    """The chat completion request for a prompt."""
    return {"model": model, "messages": [{"role": "user", "content": text}], "temperature": TEMPERATURE}


def prompt(
    routes: Sequence[RoutePreference], turns: Sequence[Spoken], form: Form, context_tokens: int | None = None
) -> str:
    """The prompt for a conversation, cut from its beginning to about `context_tokens`."""
    template = (files("harness.routing") / "data" / f"{form}.txt").read_text(encoding="utf-8")
    limit = context_tokens or CONTEXT_TOKENS[form]
    kept = [{"role": turn.role, "content": turn.text} for turn in fitting(turns, form, template, limit)]
    if form == "arch_router":
        listed = _compact([{"name": route.name, "description": route.description} for route in routes])
        talk = _compact(kept)
    else:
        parameters = {"type": "object", "properties": {}, "required": []}
        listed = "\n".join(
            spaced_json({"name": route.name, "description": route.description, "parameters": parameters})
            for route in routes
        )
        talk = json.dumps(kept, ensure_ascii=False, indent=4)
    head, rest = template.split("{routes}")
    middle, tail = rest.split("{conversation}")
    return head + listed + middle + talk + tail


def fitting(turns: Sequence[Spoken], form: Form, template: str, limit: int) -> tuple[Turn, ...]:
    """The end of the conversation that fits; a user text that overflows loses its middle, an assistant's goes whole."""
    spoken = said(turns)
    if form == "orchestrator":
        spoken = spoken[-MAX_TURNS:]
    used = len(template.encode()) // BYTES_PER_TOKEN
    kept: list[Turn] = []
    for turn in reversed(spoken):
        tokens = len(turn.text.encode()) // BYTES_PER_TOKEN
        if used + tokens > limit:
            if turn.role == "user" and limit > used:
                kept.append(Turn("user", trim_middle(turn.text, (limit - used) * BYTES_PER_TOKEN)))
            break
        used += tokens
        kept.append(turn)
    return tuple(reversed(kept)) or spoken[-1:]


def trim_middle(text: str, max_bytes: int) -> str:
    """The text in at most so many bytes of UTF-8: three fifths from its start, an ellipsis, the rest from its end."""
    whole = text.encode()
    if len(whole) <= max_bytes:
        return text
    room = max_bytes - len(ELLIPSIS.encode())
    if room < 1:
        return ""
    head = room * 3 // 5
    tail = room - head
    return whole[:head].decode(errors="ignore") + ELLIPSIS + whole[len(whole) - tail :].decode(errors="ignore")


def parse_reply(content: str, names: Sequence[str]) -> str | None:
    """The first known route a reply names; None for `other`, an empty answer or unknown names.

    Raises RouterDown for a reply that is neither `{"route": "name"}` nor `{"route": ["name", …]}`.
    """
    text = content.strip().removesuffix("\\n").strip()
    if not text:
        return None
    data = _loaded(text)
    if not isinstance(data, dict):
        raise RouterDown(f"the router model's reply names no route: {text[:120]!r}")
    told = data.get("route")
    listed = [told] if isinstance(told, str) else told
    if listed is None:
        return None
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise RouterDown(f"the router model's reply names no route: {text[:120]!r}")
    return next((name for name in listed if name in names), None)


def upstream_message(body: bytes | str) -> str:
    """What a failing endpoint says, at most 512 bytes: its `error.message`, else its body."""
    text = body if isinstance(body, str) else body.decode(errors="replace")
    try:
        error = json.loads(text)["error"]
        told = error["message"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError):
        told = text
    return str(told).encode()[:ERROR_BYTES].decode(errors="ignore")


def spaced_json(value: Any) -> str:
    """JSON with a space after each colon and comma."""
    return json.dumps(value, ensure_ascii=False)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _loaded(text: str) -> Any:
    """The reply's object: as JSON, within a fence, or written as Python would (single quotes); else None."""
    fenced = re.search(r"```(?:json)?\s*(.*?)\s*```", text, re.DOTALL)
    plain = (fenced[1] if fenced else text).strip()
    try:
        return json.loads(plain)
    except ValueError:
        pass
    try:
        return literal_eval(plain) if len(plain) < 4096 else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
