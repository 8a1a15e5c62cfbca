"""File tools: what they change, what they refuse, and what they tell the model then."""

from __future__ import annotations

import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.executors.tools import Toolbox, shorten
from harness.sandbox import Sandbox
from harness.types import ToolResult, ToolUse

Use = Callable[..., Awaitable[ToolResult]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    (tmp_path / "secret").write_text("s3cret")
    (tmp_path / "tree" / "a.py").write_text("one\ntwo\nthree\n")
    (tmp_path / "tree" / ".git").write_text("gitdir: /somewhere\n")
    return tmp_path / "tree"


@pytest.fixture
def use(root: Path, tmp_path: Path) -> Use:
    toolbox = Toolbox(Sandbox("none"), root, tmp_path, 1000)

    async def call(name: str, /, **given: Any) -> ToolResult:
        return await toolbox.use(ToolUse(id="1", name=name, input=given), 5)

    return call


async def test_edit_replaces_the_only_occurrence(use: Use, root: Path) -> None:
    assert not (await use("edit", path="a.py", old="two\n", new="2\n")).is_error
    assert (root / "a.py").read_text() == "one\n2\nthree\n"


@pytest.mark.parametrize(
    ("old", "told"),
    [("four", "does not contain that text"), ("e", "3 times"), ("", "old is empty"), (None, "'old' is missing")],
)
async def test_an_edit_that_cannot_be_is_explained_and_changes_nothing(
    use: Use, root: Path, old: str | None, told: str
) -> None:
    given = {"old": old} if old is not None else {}
    result = await use("edit", path="a.py", new="x", **given)
    assert result.is_error and told in result.content
    assert (root / "a.py").read_text() == "one\ntwo\nthree\n"


async def test_line_ends_and_mode_of_an_edited_file_stay(use: Use, root: Path) -> None:
    (root / "w.sh").write_bytes(b"one\r\ntwo\r\n")
    (root / "w.sh").chmod(0o755)
    assert not (await use("edit", path="w.sh", old="one\ntwo", new="1\n2")).is_error
    assert (root / "w.sh").read_bytes() == b"1\r\n2\r\n"
    assert stat.S_IMODE((root / "w.sh").stat().st_mode) == 0o755


async def test_write_makes_folders(use: Use, root: Path) -> None:
    assert (await use("write", path="x/y/z.txt", content="ü\n")).content == "created x/y/z.txt (1 lines)"
    assert (root / "x/y/z.txt").read_text() == "ü\n"
    assert (await use("write", path="x/y/z.txt", content="")).content.startswith("replaced")


async def test_read_shows_a_part_and_says_how_to_go_on(use: Use, root: Path) -> None:
    (root / "long.txt").write_text("".join(f"line {n}\n" for n in range(1, 501)))
    whole = (await use("read", path="long.txt")).content
    assert whole.startswith("line 1\n") and "of 500; read on with start=" in whole
    assert (await use("read", path="long.txt", start=499)).content == "line 499\nline 500\n"
    assert (await use("read", path="long.txt", start=3, lines=1)).content.startswith("line 3\n")
    assert (await use("read", path="long.txt", start=900)).content == "(the file has 500 lines)"
    assert (await use("read", path=".")).content == ".git\na.py\nlong.txt"


async def test_absolute_paths_inside_are_understood(use: Use, root: Path) -> None:
    assert (await use("read", path=str(root / "a.py"))).content == "one\ntwo\nthree\n"


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "x/../../secret", "link", "folder/secret", "~/x", "a\0b"])
@pytest.mark.parametrize("tool", ["read", "write", "edit"])
async def test_nothing_outside_is_touched(use: Use, root: Path, tmp_path: Path, path: str, tool: str) -> None:
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "folder").symlink_to(tmp_path)
    result = await use(tool, path=path, content="x", old="s3cret", new="x")
    assert (tmp_path / "secret").read_text() == "s3cret"
    assert "s3cret" not in result.content
    if path != "~/x":  # an odd name, but a name inside
        assert result.is_error


@pytest.mark.parametrize("path", [".git", ".GIT/hooks/pre-commit", "sub/.git/config"])
async def test_git_is_not_a_file_among_others(use: Use, root: Path, path: str) -> None:
    result = await use("write", path=path, content="x")
    assert result.is_error and "belongs to git" in result.content
    assert (root / ".git").read_text() == "gitdir: /somewhere\n"


async def test_what_is_no_text_file_is_refused(use: Use, root: Path) -> None:
    (root / "b.bin").write_bytes(b"\xff\xfe\x00")
    os.mkfifo(root / "pipe")
    assert "not UTF-8" in (await use("read", path="b.bin")).content
    assert "not a file" in (await use("read", path="pipe")).content
    assert "not a file" in (await use("write", path="pipe", content="x")).content
    assert "is a folder" in (await use("write", path=".", content="x")).content
    assert "no file nowhere.py" in (await use("read", path="nowhere.py")).content
    with (root / "huge").open("wb") as file:
        file.truncate(3_000_000)
    assert "look at parts" in (await use("read", path="huge")).content


async def test_unknown_tools_and_wrong_inputs_are_told_as_such(use: Use) -> None:
    assert "there is no tool 'grep'" in (await use("grep", pattern="x")).content
    assert "'path' is not text" in (await use("read", path=3)).content
    assert "'start' is not a whole number" in (await use("read", path="a.py", start="x")).content
    assert "'command' is missing" in (await use("bash")).content


async def test_the_editor_that_models_are_trained_on(use: Use, root: Path) -> None:
    edit = "edit"
    assert "two" in (await use(edit, command="view", path="a.py")).content
    assert (await use(edit, command="view", path="a.py", view_range=[2, 2])).content.startswith("two\n")
    assert (await use(edit, command="view", path="a.py", view_range=[2, -1])).content == "two\nthree\n"
    await use(edit, command="str_replace", path="a.py", old_str="two\n", new_str="2\n")
    await use(edit, command="insert", path="a.py", insert_line=1, insert_text="1.5")
    assert (root / "a.py").read_text() == "one\n1.5\n2\nthree\n"
    await use(edit, command="create", path="b.py", file_text="new\n")
    assert (root / "b.py").read_text() == "new\n"
    assert (await use(edit, command="undo_edit", path="a.py")).is_error
    assert (await use(edit, command="insert", path="a.py", insert_line=9, insert_text="x")).is_error
    assert (await use("bash", restart=True)).content.startswith("Each call is a new shell")


@given(st.text(max_size=500), st.integers(min_value=1, max_value=300))
def test_shortened_text_is_within_its_bound_and_keeps_both_ends(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert len(short) <= max(limit, 60)
    if len(text) <= limit:
        assert short == text
    elif limit > 100:
        assert text.startswith(short.split("\n… ")[0]) and text.endswith(short[-20:])
