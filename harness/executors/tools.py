"""The five tools of our own agent loop, done in one worktree: what the model is told of them, and what they do."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread

from harness.redact import redact
from harness.sandbox import Sandbox
from harness.types import Tool, ToolResult, ToolUse

LARGEST_FILE = 2_000_000
"""Bytes; a larger file is no source that a model should read or rewrite whole."""


def _schema(required: tuple[str, ...], **properties: tuple[str, str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {"type": kind, "description": text} for name, (kind, text) in properties.items()},
        "required": list(required),
        "additionalProperties": False,
    }


BASH = Tool(
    name="bash",
    description="Run a shell command in the checkout. No network; each call is a new shell; background processes end "
    "with it.",
    input_schema=_schema(("command",), command=("string", "The command line.")),
    trained_as="bash",
)
READ = Tool(
    name="read",
    description="Read a text file, or list a folder.",
    input_schema=_schema(
        ("path",),
        path=("string", "Relative to the checkout."),
        start=("integer", "First line, from 1."),
        lines=("integer", "How many lines."),
    ),
)
EDIT = Tool(
    name="edit",
    description="Replace text in a file. `old` must occur exactly once, white space included.",
    input_schema=_schema(
        ("path", "old", "new"),
        path=("string", "Relative to the checkout."),
        old=("string", "The exact text to replace, long enough to be unique."),
        new=("string", "The text to put in its place."),
    ),
    trained_as="text_editor",
)
WRITE = Tool(
    name="write",
    description="Create a file, or replace its whole content.",
    input_schema=_schema(
        ("path", "content"), path=("string", "Relative to the checkout."), content=("string", "The whole content.")
    ),
)
FINISH = Tool(
    name="finish",
    description="Say that the task is done, after you have checked it.",
    input_schema=_schema(("summary",), summary=("string", "What you changed and how you checked it, in a few lines.")),
)
TOOLS = (BASH, READ, EDIT, WRITE, FINISH)


class ToolMistake(Exception):
    """The model asked for what cannot be; the message tells it what to do instead."""


@dataclass(frozen=True)
class Toolbox:
    """Does tool calls in a worktree: shell commands through the sandbox, files by itself and only inside."""

    sandbox: Sandbox
    worktree: Path
    scratch: Path
    output_chars: int

    async def use(self, call: ToolUse, seconds: float) -> ToolResult:
        """The call's result, bounded and redacted; a mistake of the model's comes back as an error it can act on."""
        try:
            if call.name == "bash":
                text, failed = await self._bash(call.input, seconds)
            else:
                text, failed = await anyio.to_thread.run_sync(self._file_tool, call), False
        except ToolMistake as mistake:
            text, failed = str(mistake), True
        return ToolResult(id=call.id, content=redact(shorten(text, self.output_chars)), is_error=failed)

    async def _bash(self, given: dict[str, Any], seconds: float) -> tuple[str, bool]:
        if given.get("restart"):
            return "Each call is a new shell; there is nothing to restart.", False
        done = await self.sandbox.run(
            _text(given, "command"), self.worktree, seconds, scratch=self.scratch, merge=True, output_limit=1 << 20
        )
        output = done.stdout.rstrip("\n")
        if done.timed_out:
            return f"{output}\n(stopped after {seconds:.0f} seconds)".lstrip(), True
        if done.exit_code:
            return f"{output}\n(exit code {done.exit_code})".lstrip(), True
        return output or "(no output)", False

    def _file_tool(self, call: ToolUse) -> str:
        tools: dict[str, Callable[[dict[str, Any]], str]] = {
            "read": self._read,
            "edit": self._edit,
            "write": self._write,
        }
        if call.name not in tools:
            raise ToolMistake(f"there is no tool '{call.name}'; there are {', '.join(tool.name for tool in TOOLS)}")
        try:
            return tools[call.name](call.input)
        except OSError as error:
            raise ToolMistake(f"{call.input.get('path')}: {error.strerror or error}") from None

    def _read(self, given: dict[str, Any]) -> str:
        path = self._inside(_text(given, "path"))
        if path.is_dir():
            return "\n".join(sorted(f"{item.name}/" if item.is_dir() else item.name for item in path.iterdir()))
        lines = _content(path, given["path"]).splitlines(keepends=True)
        start = max(1, _whole(given, "start", 1))
        chosen = lines[start - 1 : start - 1 + max(1, _whole(given, "lines", len(lines) or 1))]
        shown, used = 0, 0
        while shown < len(chosen) and used + len(chosen[shown]) <= self.output_chars - 200:
            used += len(chosen[shown])
            shown += 1
        if not chosen:
            return f"(the file has {len(lines)} lines)" if lines else "(the file is empty)"
        if shown == 0:
            return chosen[0]  # one line longer than all that may be shown; its middle is left out
        end = start + shown - 1
        more = (
            f"\n(lines {start} to {end} of {len(lines)}; read on with start={end + 1})" if shown < len(chosen) else ""
        )
        return "".join(chosen[:shown]) + more

    def _edit(self, given: dict[str, Any]) -> str:
        if "command" in given:
            return self._text_editor(given)
        path = self._inside(_text(given, "path"))
        old, new = _text(given, "old"), _text(given, "new")
        return self._replace(path, given["path"], old, new)

    def _text_editor(self, given: dict[str, Any]) -> str:
        """The same in the words of the editor tool that models are trained on."""
        command, path = given["command"], _text(given, "path")
        if command == "view":
            first, last = [*(given.get("view_range") or ()), 1, -1][:2]
            count = {"lines": last - first + 1} if last >= first else {}
            return self._read({"path": path, "start": first, **count})
        if command == "create":
            return self._write({"path": path, "content": _text(given, "file_text")})
        if command == "str_replace":
            return self._replace(self._inside(path), path, _text(given, "old_str"), given.get("new_str") or "")
        if command == "insert":
            target = self._inside(path)
            lines = _content(target, path).splitlines(keepends=True)
            at = _whole(given, "insert_line", 0)
            text = given.get("insert_text", given.get("new_str")) or ""
            if not 0 <= at <= len(lines):
                raise ToolMistake(f"{path} has {len(lines)} lines; insert_line is 0 to {len(lines)}")
            if at and not lines[at - 1].endswith("\n"):
                lines[at - 1] += "\n"
            _save(target, "".join([*lines[:at], text if text.endswith("\n") else text + "\n", *lines[at:]]))
            return f"inserted after line {at} of {path}"
        raise ToolMistake(f"the editor has no command '{command}'; it has view, create, str_replace and insert")

    def _replace(self, path: Path, name: str, old: str, new: str) -> str:
        content = _content(path, name)
        if not old:
            raise ToolMistake("old is empty; give the text to replace, or use write for a whole file")
        if old not in content and "\r\n" in content:
            old, new = (text.replace("\r\n", "\n").replace("\n", "\r\n") for text in (old, new))
        count = content.count(old)
        if count == 0:
            raise ToolMistake(f"{name} does not contain that text; read the file and copy it exactly")
        if count > 1:
            raise ToolMistake(f"{name} contains that text {count} times; add lines around it until it is unique")
        if old == new:
            raise ToolMistake("old and new are the same text; nothing to do")
        _save(path, content.replace(old, new))
        return f"edited {name}"

    def _write(self, given: dict[str, Any]) -> str:
        name, content = _text(given, "path"), _text(given, "content")
        path = self._inside(name)
        if path.is_dir():
            raise ToolMistake(f"{name} is a folder; give a file's path")
        existed = path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        _save(path, content)
        return f"{'replaced' if existed else 'created'} {name} ({len(content.splitlines())} lines)"

    def _inside(self, name: str) -> Path:
        """The path a name stands for, with symbolic links followed; anything outside the worktree is refused."""
        if "\0" in name:
            raise ToolMistake("a path has no zero bytes")
        root = Path(os.path.realpath(self.worktree))
        path = Path(os.path.realpath(root / name))
        if path != root and not path.is_relative_to(root):
            raise ToolMistake(f"{name} is outside the checkout; paths are relative to its root")
        if any(part.lower() == ".git" for part in path.relative_to(root).parts):
            raise ToolMistake(f"{name} belongs to git; leave commits and branches to the harness")
        return path


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters: the first third and the last two thirds, because errors stand at the end."""
    if len(text) <= limit:
        return text
    note = f"\n… {len(text) - limit:,} characters left out …\n"
    room = max(0, limit - len(note))
    return text[: room // 3] + note + text[len(text) - (room - room // 3) :]


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str):
        raise ToolMistake(f"'{name}' is missing" if value is None else f"'{name}' is not text")
    return value


def _whole(given: dict[str, Any], name: str, default: int) -> int:
    value = given.get(name, default)
    if not isinstance(value, int):
        raise ToolMistake(f"'{name}' is not a whole number")
    return value


def _content(path: Path, name: str) -> str:
    if not path.exists():
        raise ToolMistake(f"there is no file {name}")
    if not path.is_file():
        raise ToolMistake(f"{name} is not a file")
    if path.stat().st_size > LARGEST_FILE:
        raise ToolMistake(f"{name} has {path.stat().st_size:,} bytes; look at parts of it with bash")
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise ToolMistake(f"{name} is not UTF-8 text") from None


def _save(path: Path, content: str) -> None:
    if path.exists() and not path.is_file():
        raise ToolMistake(f"{path.name} is not a file")
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
