"""Git as a user has it: real repositories, real git, odd names, hostile content."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import GitError, MissingTool
from harness.workspace import GitWorkspace
from harness.workspace.finding import check_version
from harness.workspace.trees import branch_name, flat_name


def git(folder: Path, *args: str, ok: bool = True) -> str:
    done = subprocess.run(["git", *args], cwd=folder, capture_output=True, text=True)  # noqa: TID251 - the user's git
    assert done.returncode == 0 or not ok, done.stderr
    return done.stdout.strip()


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def commit_all(folder: Path, message: str = "work") -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def new_repo(folder: Path, *options: str) -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main", *options)
    git(folder, "config", "user.name", "Ada Löve")
    git(folder, "config", "user.email", "ada@example.org")
    write(folder, a_txt="one\ntwo\nthree\n", src__b_py="b = 1\n", _gitignore="*.o\n")
    commit_all(folder, "first")
    return folder


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return new_repo(tmp_path / "my repo")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
async def space(repo: Path, cache: Path) -> GitWorkspace:
    return await GitWorkspace.open(repo, cache)


def everything(repo: Path) -> tuple[str, ...]:
    """All of a user's repository that must not change behind their back."""
    asked = (("for-each-ref",), ("status", "--porcelain", "--ignored"), ("worktree", "list"),
             ("config", "--list", "--local"), ("stash", "list"), ("symbolic-ref", "-q", "HEAD"))  # fmt: skip
    return tuple(git(repo, *args, ok=False) for args in asked)


async def edited(space: GitWorkspace, name: str, parent: str, **files: str) -> str:
    """A commit on `parent` made in a worktree."""
    async with space.worktree(name, parent) as path:
        write(path, **files)
        made = await space.commit(path, parent, f"{name}\n")
    assert made is not None
    return made


# ── names ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_names_resolve_as_the_user_sees_them(space: GitWorkspace, repo: Path) -> None:
    head = git(repo, "rev-parse", "HEAD")
    git(repo, "tag", "-a", "v1", "-m", "x")
    assert await space.resolve("HEAD") == await space.resolve("main") == await space.resolve("v1") == head
    assert await space.resolve(f"{head}^{{tree}}") == git(repo, "rev-parse", "HEAD^{tree}")
    assert await space.branch() == "main"
    git(repo, "checkout", "-q", "--detach")
    assert await space.branch() is None
    with pytest.raises(GitError, match="no commit 'nowhere'"):
        await space.resolve("nowhere")
    with pytest.raises(GitError):
        await space.resolve("--output=x")


async def test_files_of_a_commit_with_any_name(space: GitWorkspace, repo: Path) -> None:
    write(repo, **{"ünï code_txt": "x"})
    (repo / "line\nbreak").write_text("x")
    head = commit_all(repo)
    assert set(await space.files(head)) == {".gitignore", "a.txt", "src/b.py", "ünï code.txt", "line\nbreak"}


@pytest.mark.parametrize("name", ["a b", "a/b", "..", "ü", "x.lock", "-x", "@{1}", "a" * 300, "a:b", "CON~1", ""])
def test_any_name_becomes_a_branch_that_git_takes(name: str, repo: Path) -> None:
    flat, branch = flat_name(name), branch_name(f"harness/{name}/t")
    assert "/" not in flat
    assert 0 < len(flat) <= 80
    git(repo, "check-ref-format", f"refs/heads/{branch}")
    git(repo, "check-ref-format", f"refs/heads/{flat}")


@given(st.text(max_size=30), st.text(max_size=30))
def test_different_names_stay_different(one: str, other: str) -> None:
    assert (flat_name(one) == flat_name(other)) is (one == other)


# ── worktrees ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_worktree_is_clean_private_and_gone_afterwards(space: GitWorkspace, repo: Path, cache: Path) -> None:
    head = await space.resolve("HEAD")
    write(repo, a_txt="the user is editing\n", new_txt="untracked\n")
    before = everything(repo)
    async with space.worktree("r1/t1-0-1", head) as path:
        assert not path.is_relative_to(repo)
        assert path.is_relative_to(cache)
        assert (path / "a.txt").read_text() == "one\ntwo\nthree\n"
        assert not (path / "new.txt").exists()
        assert git(path, "status", "--porcelain") == ""
        assert git(path, "log", "--format=%s") == "first"
        assert everything(repo) == before
    assert not path.exists()
    assert await space.sweep() == []
    assert everything(repo) == before


async def test_forty_worktrees_at_once(space: GitWorkspace) -> None:
    head = await space.resolve("HEAD")
    seen: set[Path] = set()
    everybody = anyio.Event()

    async def one(number: int) -> None:
        async with space.worktree(f"r1/t{number}", head) as path:
            seen.add(path)
            if len(seen) == 40:
                everybody.set()
            await everybody.wait()
            assert (path / "a.txt").exists()

    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(one, number)
    assert len(seen) == 40
    assert not any(path.exists() for path in seen)


async def test_one_name_is_one_holders_at_a_time(space: GitWorkspace) -> None:
    head = await space.resolve("HEAD")
    inside = 0

    async def one() -> None:
        nonlocal inside
        async with space.worktree("same", head):
            inside += 1
            assert inside == 1
            await anyio.sleep(0.02)
            inside -= 1

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(one)


async def test_what_a_crash_left_is_replaced_or_swept(space: GitWorkspace, repo: Path, cache: Path) -> None:
    head = await space.resolve("HEAD")
    path = await space._trees.add("r1/t1", head)  # what a killed process leaves: a worktree that nobody removes
    (path / "leftover").write_text("x")
    (path / "a.txt").unlink()
    async with space.worktree("r1/t1", head) as again:
        assert again == path
        assert sorted(item.name for item in again.iterdir()) == [".git", ".gitignore", "a.txt", "src"]
    dead = await space._trees.add("r1/t2", head)
    async with space.worktree("r1/t3", head) as living:
        assert await (await GitWorkspace.open(repo, cache)).sweep() == [dead.name]
        assert living.exists()
    assert not dead.exists()


async def test_write_protected_content_is_removed_too(space: GitWorkspace, repo: Path) -> None:
    async with space.worktree("r1/t1", await space.resolve("HEAD")) as path:
        (path / "locked" / "deep").mkdir(parents=True)
        (path / "locked" / "deep" / "file").write_text("x")
        (path / "locked" / "deep").chmod(0o500)
        (path / "locked").chmod(0o000)
        (path / "out").symlink_to(repo)
    assert not path.exists()
    assert (repo / "a.txt").exists()


async def test_snapshot_and_restore_are_exact(space: GitWorkspace) -> None:
    async with space.worktree("r1/t1", await space.resolve("HEAD")) as path:
        write(path, new__file_txt="new\n", junk_o="ignored\n")
        (path / "a.txt").unlink()
        (path / "src" / "b.py").chmod(0o755)
        (path / "link").symlink_to("nowhere/at all")
        (path / "bytes").write_bytes(bytes(range(256)))
        tree = await space.snapshot(path)
        write(path, a_txt="back", new__file_txt="changed\n", more__x_txt="x")
        (path / "link").unlink()
        (path / "link").mkdir()
        (path / "link" / "f").write_text("a folder now")
        (path / "src" / "b.py").chmod(0o644)
        await space.restore(path, tree)
        assert await space.snapshot(path) == tree
        assert not (path / "a.txt").exists()
        assert not (path / "more").exists()
        assert (path / "link").readlink() == Path("nowhere/at all")
        assert stat.S_IMODE((path / "src" / "b.py").stat().st_mode) & 0o100
        assert (path / "bytes").read_bytes() == bytes(range(256))
        assert (path / "junk.o").read_text() == "ignored\n"


async def test_a_change_of_equal_size_in_the_same_moment_is_seen(space: GitWorkspace) -> None:
    async with space.worktree("r1/t1", await space.resolve("HEAD")) as path:
        trees = set()
        for letter in "abcdefghij":
            (path / "a.txt").write_text(letter)
            trees.add(await space.snapshot(path))
    assert len(trees) == 10


async def test_a_commit_is_the_users_and_none_without_a_change(space: GitWorkspace, repo: Path) -> None:
    head = await space.resolve("HEAD")
    message = "Title\n\n# not a comment\n\nHarness-Step: r1/t1/0.1#abc\n"
    async with space.worktree("r1/t1", head) as path:
        assert await space.commit(path, head, message) is None
        write(path, a_txt="changed\n", x_o="ignored")
        made = await space.commit(path, head, message)
        assert made is not None
    assert git(repo, "show", "-s", "--format=%an <%ae> %P", made) == f"Ada Löve <ada@example.org> {head}"
    assert git(repo, "show", "-s", "--format=%B", made) == message.strip()
    assert await space.changed(head, made) == ("a.txt",)
    await space.keep("harness/r1/t1", made)
    assert git(repo, "rev-parse", "harness/r1/t1") == made
    assert await space.find_step("r1/t1/0.1#abc") == made
    assert await space.find_step("r1/t1/0.2#abc") is None


async def test_a_commit_message_steers_no_terminal(space: GitWorkspace, repo: Path) -> None:
    head = await space.resolve("HEAD")
    async with space.worktree("r1/t1", head) as path:
        write(path, a_txt="changed\n")
        made = await space.commit(path, head, "\x1b[31mred\0\r\u202e title\n\n\tbody é\n")
    assert made is not None
    assert git(repo, "show", "-s", "--format=%B", made) == "[31mred title\n\n\tbody é"


async def test_only_branches_of_ours_are_kept(space: GitWorkspace) -> None:
    with pytest.raises(GitError, match="not a branch of harness"):
        await space.keep("main", await space.resolve("HEAD"))


async def test_a_diff_is_bounded_and_safe_with_binary(space: GitWorkspace, repo: Path) -> None:
    head = await space.resolve("HEAD")
    async with space.worktree("r1/t1", head) as path:
        (path / "big.txt").write_text("line of text\n" * 500_000)
        (path / "picture").write_bytes(b"\0\1\2" * 100)
        shutil.move(path / "src" / "b.py", path / "src" / "c.py")
        made = await space.commit(path, head, "x")
    assert made is not None
    text = await space.diff(head, made)
    assert len(text) < 4_300_000
    assert "bytes left out" in text
    assert "Binary files /dev/null and b/picture differ" in await space.diff(head, made, ["picture"])
    assert "rename from src/b.py" in await space.diff(head, made)
    assert await space.diff(head, made, ["*.txt"]) == ""  # paths are paths, not patterns


# ── merging ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_merge_touches_no_checkout_and_names_conflicts(space: GitWorkspace, repo: Path) -> None:
    head = await space.resolve("HEAD")
    ours = await edited(space, "t1", head, a_txt="ONE\ntwo\nthree\n")
    clean = await edited(space, "t2", head, src__b_py="b = 2\n")
    clash = await edited(space, "t3", head, a_txt="uno\ntwo\nthree\n")
    before = everything(repo)
    merged = await space.merge(ours, clean, "Merge t2")
    assert merged.commit is not None
    assert await space.changed(head, merged.commit) == ("a.txt", "src/b.py")
    assert git(repo, "show", "-s", "--format=%P %s", merged.commit) == f"{ours} {clean} Merge t2"
    broken = await space.merge(ours, clash, "Merge t3")
    assert (broken.commit, broken.conflicts) == (None, ("a.txt",))
    assert "Merge conflict in a.txt" in broken.message
    assert everything(repo) == before


async def test_a_merge_is_the_same_commit_whenever_it_is_made(space: GitWorkspace) -> None:
    head = await space.resolve("HEAD")
    one, two = await edited(space, "t1", head, x_txt="1"), await edited(space, "t2", head, y_txt="2")
    first = await space.merge(one, two, "m")
    await anyio.sleep(1.1)  # git's clock ticks in seconds
    assert await space.merge(one, two, "m") == first


async def test_what_contains_the_other_is_the_merge(space: GitWorkspace) -> None:
    head = await space.resolve("HEAD")
    later = await edited(space, "t1", head, x_txt="1")
    assert (await space.merge(head, later, "m")).commit == (await space.merge(later, head, "m")).commit == later


async def test_histories_without_a_common_commit_are_told(space: GitWorkspace, repo: Path) -> None:
    git(repo, "checkout", "-q", "--orphan", "other")
    other = commit_all(repo, "other root")
    with pytest.raises(GitError, match="unrelated histories"):
        await space.merge(await space.resolve("main"), other, "m")


async def test_a_merge_that_git_wrongly_calls_clean_is_a_conflict(space: GitWorkspace, repo: Path) -> None:
    write(repo, f1="a\n")
    base = commit_all(repo)
    (repo / "f1").unlink()
    write(repo, d__f3="a\na\n")
    ours = commit_all(repo)
    git(repo, "checkout", "-q", "-B", "theirs", base)
    write(repo, f1="", d__f3="")
    merged = await space.merge(ours, commit_all(repo), "m")
    assert (merged.commit, set(merged.conflicts)) == (None, {"f1", "d/f3"})
    assert "collides with another path" in merged.message


LINES = st.lists(st.sampled_from("abc"), max_size=6)
EDITS = st.dictionaries(st.sampled_from(["f1", "f2", "d/f3"]), st.one_of(st.none(), LINES), max_size=3)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(base=EDITS, ours=EDITS, theirs=EDITS)
def test_a_merge_equals_what_git_merge_makes_in_a_checkout(
    tmp_path_factory: pytest.TempPathFactory, base: dict, ours: dict, theirs: dict
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    repo = new_repo(folder / "r")

    def apply(edits: dict[str, list[str] | None], onto: str, branch: str) -> str:
        git(repo, "checkout", "-q", "-B", branch, onto)
        for name, lines in edits.items():
            path = repo / name
            path.parent.mkdir(exist_ok=True)
            path.unlink(missing_ok=True) if lines is None else path.write_text("".join(f"{line}\n" for line in lines))
        return commit_all(repo, branch)

    start = apply({"f1": list("abcabc"), **base}, "main", "base")
    one, two = apply(ours, start, "ours"), apply(theirs, start, "theirs")

    async def merge():  # type: ignore[no-untyped-def]
        return await (await GitWorkspace.open(repo, folder / "cache")).merge(one, two, "m")

    got = anyio.run(merge)
    git(repo, "checkout", "-q", "-B", "check", one)
    said = git(repo, "merge", "--no-edit", "--no-ff", two, ok=False)
    unmerged = set(git(repo, "diff", "--name-only", "--diff-filter=U").split())
    if "CONFLICT" in said:
        assert got.commit is None
        assert unmerged <= set(got.conflicts)
    else:
        assert got.commit is not None
        assert git(repo, "rev-parse", f"{got.commit}^{{tree}}") == git(repo, "rev-parse", "HEAD^{tree}")
    shutil.rmtree(folder)


# ── landing ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_land_branch_creates_and_moves_only_its_own(space: GitWorkspace, repo: Path) -> None:
    head = await space.resolve("HEAD")
    first, second = await edited(space, "t1", head, x_txt="1"), await edited(space, "t2", head, x_txt="2")
    landing = await space.land("harness/bd-1", first, "main", "branch", "T", "B")
    assert (landing.branch, landing.commit, landing.into) == ("harness/bd-1", first, "main")
    assert await space.land("harness/bd-1", first, "main", "branch", "T", "B") == landing
    assert (await space.land("harness/bd-1", second, "main", "branch", "T", "B")).commit == second
    git(repo, "branch", "-f", "harness/bd-1", head)
    git(repo, "checkout", "-q", "harness/bd-1")
    theirs = commit_all(repo, "mine")
    git(repo, "checkout", "-q", "main")
    with pytest.raises(GitError, match="commits that harness did not make"):
        await space.land("harness/bd-1", first, "main", "branch", "T", "B")
    assert git(repo, "rev-parse", "harness/bd-1") == theirs


async def test_land_branch_leaves_a_checked_out_one_alone(space: GitWorkspace, repo: Path) -> None:
    head = await space.resolve("HEAD")
    git(repo, "checkout", "-q", "-b", "harness/bd-1")
    with pytest.raises(GitError, match="checked out"):
        await space.land("harness/bd-1", await edited(space, "t1", head, x_txt="1"), "main", "branch", "T", "B")
    assert git(repo, "status", "--porcelain") == ""


async def test_land_merge_moves_branch_and_clean_checkout_together(space: GitWorkspace, repo: Path) -> None:
    head = await space.resolve("HEAD")
    made = await edited(space, "t1", head, a_txt="new\n", deep__x_txt="1")
    write(repo, harness_yaml="version: 1\n")  # untracked files are the user's own business
    landing = await space.land("harness/bd-1", made, "main", "merge", "T", "B")
    assert (landing.commit, landing.into) == (made, "main")
    assert git(repo, "rev-parse", "HEAD") == made
    assert git(repo, "status", "--porcelain") == "?? harness.yaml"
    assert (repo / "deep" / "x.txt").read_text() == "1"
    assert git(repo, "reflog", "-1", "--format=%gs") == "harness: land"
    assert (await space.land("harness/bd-1", made, "main", "merge", "T", "B")).commit == made


async def test_land_merge_on_a_moved_base(space: GitWorkspace, repo: Path) -> None:
    made = await edited(space, "t1", await space.resolve("HEAD"), x_txt="1")
    write(repo, a_txt="somebody else\n")
    theirs = commit_all(repo, "meanwhile")
    landing = await space.land("harness/bd-1", made, "main", "merge", "T", "B")
    assert git(repo, "rev-parse", "HEAD") == landing.commit
    assert git(repo, "show", "-s", "--format=%P", "HEAD").split() == [theirs, made]
    assert "had moved" in landing.note
    assert git(repo, "status", "--porcelain") == ""


async def test_land_merge_into_a_branch_nobody_has_checked_out(space: GitWorkspace, repo: Path) -> None:
    made = await edited(space, "t1", await space.resolve("HEAD"), x_txt="1")
    git(repo, "checkout", "-q", "-b", "topic")
    write(repo, a_txt="dirty\n")
    before = git(repo, "status", "--porcelain")
    assert (await space.land("harness/bd-1", made, "main", "merge", "T", "B")).commit == made
    assert git(repo, "rev-parse", "main") == made
    assert git(repo, "status", "--porcelain") == before


@pytest.mark.parametrize("how", ["edited", "staged", "deleted", "in the way"])
async def test_land_merge_never_touches_a_dirty_tree(space: GitWorkspace, repo: Path, how: str) -> None:
    made = await edited(space, "t1", await space.resolve("HEAD"), a_txt="new\n", x_txt="1")
    if how == "deleted":
        (repo / "a.txt").unlink()
    elif how == "in the way":
        write(repo, x_txt="the user's own\n")
    else:
        write(repo, a_txt="dirty\n")
    if how == "staged":
        git(repo, "add", "a.txt")
    before = everything(repo)
    with pytest.raises(GitError) as caught:
        await space.land("harness/bd-1", made, "main", "merge", "T", "B")
    assert everything(repo) == before
    assert "uncommitted changes" in caught.value.message or "overwritten" in caught.value.message


async def test_land_merge_with_a_conflict_changes_nothing(space: GitWorkspace, repo: Path) -> None:
    made = await edited(space, "t1", await space.resolve("HEAD"), a_txt="ours\n")
    write(repo, a_txt="theirs\n")
    commit_all(repo)
    before = everything(repo)
    with pytest.raises(GitError, match=r"conflicts with it in a\.txt"):
        await space.land("harness/bd-1", made, "main", "merge", "T", "B")
    assert everything(repo) == before


async def test_land_merge_goes_on_after_a_crash_between_files_and_branch(space: GitWorkspace, repo: Path) -> None:
    head = await space.resolve("HEAD")
    made = await edited(space, "t1", head, a_txt="new\n", x_txt="1")
    git(repo, "read-tree", "-m", "-u", head, made)
    assert (await space.land("harness/bd-1", made, "main", "merge", "T", "B")).commit == made
    assert git(repo, "rev-parse", "HEAD") == made
    assert git(repo, "status", "--porcelain") == ""


async def test_land_merge_without_a_branch_tells_the_cure(space: GitWorkspace) -> None:
    with pytest.raises(GitError, match="detached"):
        await space.land("harness/bd-1", await space.resolve("HEAD"), None, "merge", "T", "B")
    with pytest.raises(GitError, match="does not exist"):
        await space.land("harness/bd-1", await space.resolve("HEAD"), "gone", "merge", "T", "B")


async def test_land_merge_leaves_files_with_filters_to_the_user(repo: Path, cache: Path) -> None:
    (repo / ".gitattributes").write_text("*.bin filter=lfs\n")
    commit_all(repo)
    space = await GitWorkspace.open(repo, cache)
    made = await edited(space, "t1", await space.resolve("HEAD"), data_bin="x")
    before = everything(repo)
    with pytest.raises(GitError, match="filter program"):
        await space.land("harness/bd-1", made, "main", "merge", "T", "B")
    assert everything(repo) == before


async def test_land_pr_pushes_and_says_what_to_do_without_gh(repo: Path, cache: Path, tmp_path: Path) -> None:
    space = await GitWorkspace.open(repo, cache)
    made = await edited(space, "t1", await space.resolve("HEAD"), x_txt="1")
    assert "no remote" in (await space.land("harness/bd-1", made, "main", "pr", "T", "B")).note
    git(tmp_path, "init", "-q", "--bare", "far.git")
    git(repo, "remote", "add", "origin", str(tmp_path / "far.git"))
    space = await GitWorkspace.open(repo, cache)
    landing = await space.land("harness/bd-1", made, "main", "pr", "T", "B")
    assert landing.note == "pushed to origin; open a pull request from harness/bd-1 into main"
    assert git(tmp_path / "far.git", "rev-parse", "harness/bd-1") == made


async def test_land_pr_uses_gh(space: GitWorkspace, repo: Path, cache: Path, tmp_path: Path,
                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    git(tmp_path, "init", "-q", "--bare", "far.git")
    git(repo, "remote", "add", "origin", str(tmp_path / "far.git"))
    space = await GitWorkspace.open(repo, cache)
    script = tmp_path / "bin" / "gh"
    script.parent.mkdir()
    script.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/argv\ncat > {tmp_path}/body\necho https://example.org/pull/7\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    made = await edited(space, "t1", await space.resolve("HEAD"), x_txt="1")
    landing = await space.land("harness/bd-1", made, "main", "pr", "A title", "A body")
    assert landing.url == "https://example.org/pull/7"
    assert (tmp_path / "argv").read_text() == (
        "pr create --head harness/bd-1 --base main --title A title --body-file -\n"
    )
    assert (tmp_path / "body").read_text() == "A body"


# ── hostile content: nothing of it runs, nothing of it leaks ──────────────────────────────────────────────────


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A program that leaves a mark when anybody runs it; the test fails if it was."""
    script, mark = tmp_path / "canary", tmp_path / "it-ran"
    script.write_text(f'#!/bin/sh\necho "$0 $@" >> {mark}\ncat\n')
    script.chmod(0o755)
    yield script
    assert not mark.exists(), mark.read_text()


PROGRAM_KEYS = """
    core.fsmonitor core.sshCommand core.editor core.pager core.askPass core.gitProxy diff.external diff.evil.command
    diff.evil.textconv merge.evil.driver filter.evil.clean filter.evil.smudge filter.evil.process gpg.program
    credential.helper sequence.editor uploadpack.packObjectsHook
""".split()


def evil_config(canary: Path) -> list[tuple[str, str]]:
    flags = [("commit.gpgSign", "true"), ("filter.evil.required", "true"), ("core.hooksPath", f"{canary.parent}/hooks")]
    return [*((key, str(canary)) for key in PROGRAM_KEYS), *flags, ("alias.add", f"!{canary}")]


def evil_hooks(folder: Path, canary: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name in ("pre-commit", "post-checkout", "post-merge", "reference-transaction", "post-index-change", "pre-push",
                 "prepare-commit-msg", "fsmonitor-watchman", "post-commit", "update", "post-rewrite"):  # fmt: skip
        shutil.copy(canary, folder / name)


def test_the_canary_sings_under_plain_git(repo: Path, tmp_path: Path) -> None:
    script, mark = tmp_path / "bird", tmp_path / "sang"
    script.write_text(f"#!/bin/sh\necho >> {mark}\ncat\n")
    script.chmod(0o755)
    git(repo, "config", "core.fsmonitor", str(script))
    git(repo, "status", ok=False)
    assert mark.exists()


async def full_round(space: GitWorkspace, repo: Path) -> None:
    """Everything the harness does with a repository."""
    head = await space.resolve("HEAD")
    base = await space.branch()
    one = await edited(space, "t1", head, a_txt="ONE\ntwo\nthree\n", x_evil="1")
    two = await edited(space, "t2", head, a_txt="one\ntwo\nTHREE\n")
    async with space.worktree("t3", one) as path:
        write(path, a_txt="other\n")
        tree = await space.snapshot(path)
        await space.restore(path, tree)
    merged = await space.merge(one, two, "m")
    assert merged.commit is not None
    await space.diff(head, merged.commit)
    await space.changed(head, merged.commit)
    await space.keep("harness/r/x", merged.commit)
    await space.find_step("x")
    await space.land("harness/bd-1", merged.commit, base, "branch", "T", "B")
    await space.sweep()


async def test_the_repositorys_configuration_and_hooks_run_nothing(repo: Path, cache: Path, canary: Path) -> None:
    (repo / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
    commit_all(repo)
    for key, value in evil_config(canary):
        git(repo, "config", key, value)
    evil_hooks(repo / ".git" / "hooks", canary)
    evil_hooks(canary.parent / "hooks", canary)
    included = canary.parent / "included"
    included.write_text(f"[core]\n\tfsmonitor = {canary}\n")
    git(repo, "config", "include.path", str(included))
    git(repo, "config", f"includeIf.gitdir:{repo}/.path", str(included))
    space = await GitWorkspace.open(repo, cache)
    await full_round(space, repo)


async def test_landing_runs_no_hook_of_the_repository(repo: Path, cache: Path, canary: Path) -> None:
    for key, value in evil_config(canary):
        git(repo, "config", key, value)
    evil_hooks(repo / ".git" / "hooks", canary)
    evil_hooks(canary.parent / "hooks", canary)
    space = await GitWorkspace.open(repo, cache)
    made = await edited(space, "t1", await space.resolve("HEAD"), a_txt="new\n")
    assert (await space.land("harness/bd-1", made, "main", "merge", "T", "B")).commit == made
    assert (repo / "a.txt").read_text() == "new\n"


async def test_a_nested_repository_runs_nothing_and_its_files_count(space: GitWorkspace, canary: Path) -> None:
    head = await space.resolve("HEAD")
    async with space.worktree("t1", head) as path:
        inner = new_repo(path / "sub")
        for key, value in evil_config(canary):
            git(inner, "config", key, value)
        evil_hooks(inner / ".git" / "hooks", canary)
        (path / "odd").mkdir()
        (path / "odd" / ".git").write_text(f"gitdir: {inner}/.git\n")
        (path / "odd" / "file").write_text("x")
        made = await space.commit(path, head, "x")
        assert made is not None
        await space.restore(path, await space.snapshot(path))
    assert set(await space.changed(head, made)) == {"odd/file", "sub/.gitignore", "sub/a.txt", "sub/src/b.py"}


async def test_a_replaced_dot_git_is_not_looked_at(space: GitWorkspace, canary: Path) -> None:
    head = await space.resolve("HEAD")
    async with space.worktree("t1", head) as path:
        (path / ".git").unlink()
        evil = new_repo(path / "evil")
        for key, value in evil_config(canary):
            git(evil, "config", key, value)
        evil_hooks(evil / ".git" / "hooks", canary)
        shutil.move(evil / ".git", path / ".git")
        write(path, a_txt="changed\n")
        made = await space.commit(path, head, "x")
        assert made is not None
        await space.restore(path, await space.snapshot(path))
    assert "a.txt" in await space.changed(head, made)
    assert not path.exists()


async def test_attributes_written_by_a_task_run_nothing(repo: Path, cache: Path, canary: Path) -> None:
    # The drivers exist in the user's configuration, for honest use; a task points them at its own files.
    for key, value in evil_config(canary):
        git(repo, "config", key, value)
    space = await GitWorkspace.open(repo, cache)
    head = await space.resolve("HEAD")
    one = await edited(space, "t1", head, _gitattributes="* filter=evil diff=evil merge=evil\n", a_txt="x\n")
    two = await edited(space, "t2", one, a_txt="y\n")
    await space.diff(head, two)
    assert (await space.merge(two, await edited(space, "t3", one, b_txt="z\n"), "m")).commit is not None


async def test_a_symlink_leaks_nothing_and_is_not_written_through(space: GitWorkspace, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("do not read")
    head = await space.resolve("HEAD")
    async with space.worktree("t1", head) as path:
        before = await space.snapshot(path)
        shutil.rmtree(path / "src")
        (path / "src").symlink_to(secret)
        (path / "direct").symlink_to(secret / "key")
        made = await space.commit(path, head, "x")
        assert made is not None
        await space.restore(path, before)  # writes src/b.py: into the worktree, not through the link
        assert (path / "src" / "b.py").read_text() == "b = 1\n"
    assert sorted(item.name for item in secret.iterdir()) == ["key"]
    assert "do not read" not in await space.diff(head, made)
    assert await space.changed(head, made) == ("direct", "src", "src/b.py")


async def test_the_environment_cannot_redirect_git(space: GitWorkspace, tmp_path: Path, canary: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    for name in ("GIT_SSH_COMMAND", "GIT_EXTERNAL_DIFF", "GIT_EDITOR", "GIT_PAGER", "GIT_ASKPASS", "GIT_PROXY_COMMAND"):
        monkeypatch.setenv(name, str(canary))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(canary))
    head = await space.resolve("HEAD")
    made = await edited(space, "t1", head, a_txt="x\n")
    assert "+x" in await space.diff(head, made)
    assert not (tmp_path / "index").exists()


async def test_special_files_do_not_hang_or_break_a_snapshot(space: GitWorkspace) -> None:
    async with space.worktree("t1", await space.resolve("HEAD")) as path:
        before = await space.snapshot(path)
        os.mkfifo(path / "pipe")
        (path / "src" / "b.py").chmod(0o000)
        (path / "closed").mkdir(mode=0o000)
        assert await space.snapshot(path) == before


# ── repositories of all kinds ─────────────────────────────────────────────────────────────────────────────────


async def test_no_repository_no_commit_no_folder(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(GitError, match="in no git repository"):
        await GitWorkspace.open(tmp_path, cache)
    with pytest.raises(GitError, match="no such folder"):
        await GitWorkspace.open(tmp_path / "nowhere", cache)
    git(tmp_path, "init", "-q", "empty")
    with pytest.raises(GitError, match="no commit yet"):
        await (await GitWorkspace.open(tmp_path / "empty", cache)).resolve("HEAD")


async def test_a_linked_worktree_as_the_users_checkout(repo: Path, cache: Path, tmp_path: Path) -> None:
    git(repo, "worktree", "add", "-q", "-b", "topic", str(tmp_path / "linked"))
    linked = tmp_path / "linked"
    space = await GitWorkspace.open(linked / "src", cache)
    assert space.repo == linked
    assert await space.branch() == "topic"
    made = await edited(space, "t1", await space.resolve("HEAD"), a_txt="new\n")
    await space.land("harness/bd-1", made, "topic", "merge", "T", "B")
    assert (linked / "a.txt").read_text() == "new\n"
    assert git(linked, "status", "--porcelain") == ""
    other = await edited(space, "t2", await space.resolve("main"), a_txt="main\n")
    await space.land("harness/bd-2", other, "main", "merge", "T", "B")
    assert git(repo, "status", "--porcelain") == ""
    assert (repo / "a.txt").read_text() == "main\n"


async def test_a_bare_and_a_shallow_repository(repo: Path, cache: Path, tmp_path: Path) -> None:
    commit_all(repo, "second")
    git(tmp_path, "clone", "-q", "--bare", str(repo), "bare.git")
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repo}", "shallow")
    for name in ("bare.git", "shallow"):
        space = await GitWorkspace.open(tmp_path / name, cache)
        head = await space.resolve("HEAD")
        merged = await space.merge(
            await edited(space, "t1", head, x_txt="1"), await edited(space, "t2", head, y_txt="1"), "m"
        )
        assert merged.commit is not None
        assert (await space.land("harness/bd-1", merged.commit, "main", "merge", "T", "B")).commit == merged.commit


async def test_a_repository_with_submodules(repo: Path, cache: Path, tmp_path: Path) -> None:
    inner = new_repo(tmp_path / "inner")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "vendor")
    head = commit_all(repo, "submodule")
    space = await GitWorkspace.open(repo, cache)
    made = await edited(space, "t1", head, a_txt="new\n")
    assert await space.changed(head, made) == ("a.txt",)
    await space.land("harness/bd-1", made, "main", "merge", "T", "B")
    assert git(repo, "status", "--porcelain") == ""
    assert (repo / "vendor" / "a.txt").exists()


async def test_land_merge_in_a_submodule_and_in_its_linked_worktree(repo: Path, cache: Path, tmp_path: Path) -> None:
    outer = new_repo(tmp_path / "outer")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repo), "vendor/sub")
    inner, linked = outer / "vendor" / "sub", tmp_path / "linked"
    git(inner, "worktree", "add", "--quiet", "-b", "side", str(linked))
    for checkout, branch in ((inner, "main"), (linked, "side")):
        space = await GitWorkspace.open(checkout, cache)
        made = await edited(space, "t1", await space.resolve("HEAD"), a_txt=f"{branch}\n")
        await space.land("harness/bd-1", made, branch, "merge", "T", "B")
        assert git(checkout, "rev-parse", "HEAD") == made
        assert (checkout / "a.txt").read_text() == f"{branch}\n"
        assert git(checkout, "status", "--porcelain") == ""


async def test_a_sha256_repository(cache: Path, tmp_path: Path) -> None:
    repo = new_repo(tmp_path / "sha", "--object-format=sha256")
    space = await GitWorkspace.open(repo, cache)
    made = await edited(space, "t1", await space.resolve("HEAD"), a_txt="new\n")
    assert re.fullmatch("[0-9a-f]{64}", made)
    await space.land("harness/bd-1", made, "main", "merge", "T", "B")
    assert git(repo, "rev-parse", "HEAD") == made


async def test_packed_refs_are_read_and_survive(repo: Path, cache: Path) -> None:
    git(repo, "branch", "topic")
    git(repo, "pack-refs", "--all")
    space = await GitWorkspace.open(repo, cache)
    made = await edited(space, "t1", await space.resolve("topic"), a_txt="new\n")
    await space.keep("harness/r/t1", made)
    git(repo, "pack-refs", "--all")
    assert await space.resolve("harness/r/t1") == made
    git(repo, "fsck", "--strict")


async def test_a_partial_clone_is_refused_with_the_cure(repo: Path, cache: Path) -> None:
    git(repo, "config", "core.repositoryformatversion", "1")
    git(repo, "config", "extensions.partialClone", "origin")
    with pytest.raises(GitError, match="partial clone") as caught:
        await GitWorkspace.open(repo, cache)
    assert "git fetch --refetch" in str(caught.value)


async def test_an_old_git_is_told_with_the_cure(tmp_path: Path) -> None:
    old = tmp_path / "git"
    old.write_text("#!/bin/sh\necho git version 2.30.2\n")
    old.chmod(0o755)
    with pytest.raises(MissingTool, match=r"2\.30\.2 is too old") as caught:
        await check_version(str(old))
    assert "install git" in str(caught.value)
