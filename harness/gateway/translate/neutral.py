"""The common ground of the three wire formats: what a conversation, an answer and a stream are, whoever's words they
come in. Each format has one reader into these values and one writer out of them, so there are six ways and not twelve.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.gateway.refusal import Refusal

Stop = Literal["end", "tool", "length", "stop_sequence", "refusal"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """Either `url`, or `data` (base64) of `media_type`."""

    media_type: str = ""
    data: str = ""
    url: str = ""

    @property
    def address(self) -> str:
        """As one URL; inline pictures as `data:`."""
        return self.url or f"data:{self.media_type};base64,{self.data}"


@dataclass(frozen=True, slots=True)
class Document:
    """A file shown to the model: base64 `data` of `media_type`, or a `url`."""

    media_type: str = ""
    data: str = ""
    url: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call; `arguments` is JSON text, or free text for a `custom` tool."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool gave back."""

    id: str
    parts: tuple[Text | Image, ...]
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Thought:
    """A model's reasoning in words. It is shown to the client, and not sent back to another vendor's model: its proof
    of origin (signature, encrypted content) holds only at home."""

    text: str


Part = Text | Image | Document | Call | Result | Thought


@dataclass(frozen=True, slots=True)
class Turn:
    role: Literal["system", "user", "assistant"]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    description: str
    schema: Mapping[str, Any]
    strict: bool | None = None
    custom: bool = False
    """Takes free text and no JSON: seen by other formats as a function with one `input` string."""
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """A whole request."""

    model: str
    turns: tuple[Turn, ...]
    """System text stands where it stood: first, or in the middle."""
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    """`auto`, `none`, `required`, or `=name` of the one tool to call."""
    parallel: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    stream: bool = False
    usage_in_stream: bool = True
    """Whether the client wants a usage chunk (Chat Completions asks for it)."""
    effort: Effort | None = None
    schema: Mapping[str, Any] | None = None
    """JSON Schema that the answer must follow."""
    schema_name: str = "answer"
    schema_strict: bool | None = None
    """Whether the answer is held to the schema; None where it was not said."""
    user: str | None = None
    dropped: tuple[str, ...] = ()
    """Fields without a counterpart that change nothing but speed, price or bookkeeping."""


@dataclass(frozen=True, slots=True)
class Count:
    """Tokens; `input` excludes what was cached."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole reply."""

    id: str
    model: str
    parts: tuple[Text | Call | Thought, ...]
    stop: Stop = "end"
    count: Count | None = None
    stop_sequence: str | None = None


@dataclass(frozen=True, slots=True)
class Began:
    """The first event of a stream."""

    id: str
    model: str
    count: Count | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """More of the part at `index`; `kind` is the same for all deltas of an index."""

    kind: Literal["text", "thought", "call"]
    index: int
    text: str
    call_id: str = ""
    """With `name`, on a call's first delta."""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    stop: Stop
    count: Count | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The provider broke off with an error of its own."""

    message: str
    code: str = "upstream_error"


@dataclass(frozen=True, slots=True)
class Ping:
    """Keep-alive."""


Event = Began | Delta | Ended | Failed | Ping


def events_of(answer: Answer) -> Iterator[Event]:
    """A whole reply as the events that would have streamed it."""
    yield Began(answer.id, answer.model, answer.count)
    for number, part in enumerate(answer.parts):
        if isinstance(part, Call):
            yield Delta("call", number, part.arguments, part.id, part.name)
        else:
            yield Delta("text" if isinstance(part, Text) else "thought", number, part.text)
    yield Ended(answer.stop, answer.count)


@dataclass(slots=True)
class Fields:
    """A request's fields, each taken once: what nobody took is refused by name."""

    data: Mapping[str, Any]
    where: str = ""
    taken: set[str] = field(default_factory=set)

    def path(self, name: str | int) -> str:
        return f"{self.where}.{name}" if self.where else str(name)

    def take(self, name: str, *kinds: type, required: bool = False) -> Any:
        """The field's value or None; raises Refusal for one of the wrong type."""
        self.taken.add(name)
        value = self.data.get(name)
        if value is None:
            if required:
                raise Refusal(400, f"{self.path(name)}: is required", param=self.path(name))
            return None
        if kinds and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            wanted = " or ".join(
                _NAMES.get(kind, kind.__name__) for kind in kinds if kind is not float or int not in kinds
            )
            raise Refusal(400, f"{self.path(name)}: expected {wanted}", param=self.path(name))
        return value

    def drop(self, names: Iterable[str]) -> tuple[str, ...]:
        """Take the named fields and do without them; the names of those that were given."""
        names = tuple(names)
        self.taken.update(names)
        return tuple(self.path(name) for name in names if self.data.get(name) is not None)

    def done(self) -> None:
        """Raise Refusal for the first field that nobody took."""
        for name, value in self.data.items():
            if name not in self.taken and value is not None:
                raise untranslatable(self.path(name))


_NAMES = {
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "an array",
    dict: "an object",
}


def untranslatable(path: str, why: str = "the model's provider has no counterpart for it") -> Refusal:
    """The 400 for what another wire format cannot say."""
    return Refusal(400, f"{path}: cannot be translated: {why}", param=path, code="untranslatable")


def result_parts(parts: Iterable[Part], path: str) -> tuple[Text | Image, ...]:
    """What a tool gave back, as every format can say it; raises Refusal."""
    given = tuple(parts)
    kept = tuple(part for part in given if isinstance(part, Text | Image))
    if len(kept) < len(given):
        raise untranslatable(path, "a tool result there holds text and pictures only")
    return kept


def plain(parts: Iterable[Part]) -> str:
    """The text of text parts, joined by line breaks."""
    return "\n".join(part.text for part in parts if isinstance(part, Text))
