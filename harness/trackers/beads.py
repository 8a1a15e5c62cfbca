"""Issues kept by Beads, through its own command `bd`; checked with bd 0.47.1 (SQLite) and 1.0.5 (Dolt).

What the two disagree about is settled here: 1.x may wrap its JSON in an envelope; 0.x exits 0 on failure and says so
on standard error only; `ready` and `list` of 0.x leave out dependencies, so that they are read with `show`; and 0.x
claims by read-then-write, so that the claims of this machine go one at a time under a lock.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import anyio

from harness import proc
from harness.config.settings import Settings
from harness.errors import IssueNotFound, MissingTool, TrackerError
from harness.protocols import Wanted
from harness.redact import redact, redact_json
from harness.trackers import record
from harness.trackers.detect import database
from harness.trackers.lock import held
from harness.types import Issue

PROGRAM = "bd"
INSTALL = "install Beads: go install github.com/steveyegge/beads/cmd/bd@latest (or set `tracker: {kind: jsonl}`)"
TITLE_LIMIT = 500
"""Bytes of UTF-8; bd says "characters" and counts bytes."""

_SECONDS = 120.0
"""One bd call; the embedded database of 1.x lets one process in at a time."""
_AT_ONCE = 100
"""Ids in one `bd show`: argument lists are bounded."""
_NOT_FOUND = re.compile(r"no issues? found|issue .*not found|not found: ", re.IGNORECASE)
_NAMED = re.compile(r'matching "([^"]+)"')
_NO_DATABASE = re.compile(r"no (active )?beads (database|workspace)|database not initialized", re.IGNORECASE)
_UNKNOWN_FLAG = re.compile(r"unknown flag: (--[\w-]+)")


class BeadsTracker:
    """The issues of the Beads database that `bd` finds from the repository's root."""

    name = "beads"

    def __init__(self, settings: Settings) -> None:
        self._root = settings.root

    async def get(self, issue_id: str) -> Issue:
        found = await self._show([issue_id])
        if not found:
            raise _missing(issue_id)
        return found[0]

    async def ready(self, wanted: Wanted) -> list[Issue]:
        argv = ["ready", "--limit=0", "--sort=priority", "--unassigned"]
        argv += [f"--label={_csv(label)}" for label in wanted.labels]
        if wanted.parent:
            argv.append(f"--parent={wanted.parent}")
        now = datetime.now(UTC)
        listed = [row for row in await self._rows(argv) if record.takeable(row, now)]
        # bd has looked at the blockers; what `ready` tells of them leaves out their state.
        issues = [record.issue(row, self.name, blocked_by=()) for row in listed]
        chosen = sorted((found for found in issues if record.wanted_by(wanted, found)), key=record.by_urgency)
        chosen = chosen[: wanted.limit]
        if any("dependency_count" not in row for row in listed):  # 0.x: no parent either
            return sorted(await self._show([found.id for found in chosen]), key=record.by_urgency)
        return chosen

    async def children(self, issue_id: str) -> list[Issue]:
        rows = await self._rows(["list", f"--parent={issue_id}", "--limit=0"])
        found = await self._show([str(row["id"]) for row in rows])
        return sorted((child for child in found if child.status not in record.OVER), key=record.by_urgency)

    async def claim(self, issue_id: str, actor: str) -> bool:
        async with self._lock():
            before = await self.get(issue_id)
            if _holds(before, actor):
                return True
            if before.status != "open" or before.assignee not in (None, actor):
                return False
            said = await self._bd(["update", "--claim", "--", before.id], actor)
            after = await self.get(before.id)
        if _holds(after, actor):
            return True
        if after.status == "open" and after.assignee in (None, actor):
            raise self._refusal("update --claim", said)
        return False

    async def comment(self, issue_id: str, text: str, actor: str) -> None:
        # A file, because the command line has a length limit and a comment may start with a dash.
        async with anyio.TemporaryDirectory(prefix="harness-comment-") as folder:
            file = anyio.Path(folder) / "comment.md"
            await file.write_text(_plain(redact(text)), encoding="utf-8")
            await self._change(["comments", "add", f"--file={file}", "--", issue_id], actor, issue_id)

    async def close(self, issue_id: str, reason: str, actor: str) -> None:
        if (await self.get(issue_id)).status not in record.OVER:
            await self._change(["close", f"--reason={_plain(redact(reason))}", "--", issue_id], actor, issue_id)

    async def release(self, issue_id: str, reason: str, actor: str, labels: Sequence[str] = ()) -> None:
        async with self._lock():
            before = await self.get(issue_id)
            added = [f"--add-label={_csv(label)}" for label in labels]
            if before.status not in record.OVER and before.assignee in (None, actor):
                await self._change(
                    ["update", "--status=open", "--assignee=", *added, "--", before.id], actor, before.id
                )
            elif added:
                await self._change(["update", *added, "--", before.id], actor, before.id)
        # The comment comes last: an issue without an explanation is better than one that nobody can see.
        await self.comment(issue_id, reason, actor)

    async def file(self, issue: Issue, discovered_from: str, actor: str) -> str:
        title, body = _texts(issue)
        argv = ["create", f"--title={title}", f"--type={issue.type}", f"--priority={issue.priority}", "--body-file=-"]
        argv += [f"--labels={_csv(label)}" for label in issue.labels]
        argv += [f"--deps={_csv('discovered-from:' + discovered_from)}"] if discovered_from else []
        argv += [f"--parent={issue.parent}"] if issue.parent else []
        said = None
        if issue.metadata:
            metadata = json.dumps(redact_json(issue.metadata), ensure_ascii=False)
            said = await self._bd([*argv, f"--metadata={metadata}"], actor, body)
            if _UNKNOWN_FLAG.search(said.output):  # 0.x has no metadata; the body keeps it
                said, body = None, f"{body}\n\nMetadata: {metadata}"
        said = said or await self._bd(argv, actor, body)
        issue_id = str(self._changed("create", said, discovered_from)["id"])
        for target in issue.blocked_by:  # `--deps blocks:` means one direction in 0.x and the other in 1.x
            await self._change(["dep", "add", "--", issue_id, target], actor, target)
        return issue_id

    async def suggest(self, issue_id: str, tier: str, actor: str) -> None:
        """Label an issue `model:<tier>`, and say so in Beads' own metadata where this bd has any (1.x)."""
        label = f"--add-label={_csv('model:' + tier)}"
        argv = ["update", label, f"--set-metadata=execution_suggested_model={tier}", "--", issue_id]
        said = await self._bd(argv, actor)
        if _UNKNOWN_FLAG.search(said.output):
            argv.pop(2)
            said = await self._bd(argv, actor)
        self._changed("update", said, issue_id)

    # ── bd ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _show(self, ids: Sequence[str]) -> list[Issue]:
        """The issues in full, in the order asked for; raises IssueNotFound when there is none of them."""
        found: list[Issue] = []
        for start in range(0, len(ids), _AT_ONCE):
            part = ids[start : start + _AT_ONCE]
            said = await self._bd(["show", "--", *part])
            rows = self._read("show", said, missing=part[0])
            found += [record.issue(row, self.name) for row in rows]
        return found

    async def _rows(self, argv: Sequence[str]) -> list[dict[str, Any]]:
        return self._read(argv[0], await self._bd(argv))

    async def _change(self, argv: Sequence[str], actor: str, about: str) -> dict[str, Any]:
        """The changed record; `about` is the issue to name when bd knows none of that id."""
        return self._changed(argv[0], await self._bd(argv, actor), about)

    def _changed(self, verb: str, said: proc.Completed, about: str) -> dict[str, Any]:
        rows = self._read(verb, said, about)
        if not rows:  # 0.x: exit code 0, nothing on standard output, the reason on standard error
            raise self._refusal(verb, said, about)
        return rows[0]

    async def _bd(self, argv: Sequence[str], actor: str | None = None, body: str | None = None) -> proc.Completed:
        options = ["--json"] + ([f"--actor={actor}"] if actor else [])
        stdin = None if body is None else body.encode("utf-8", "replace")
        try:
            return await proc.run([PROGRAM, *options, *argv], cwd=self._root, stdin=stdin, timeout=_SECONDS)
        except MissingTool as error:
            raise MissingTool(error.message, INSTALL if error.hint else None) from None

    def _read(self, verb: str, said: proc.Completed, missing: str = "") -> list[dict[str, Any]]:
        """The records on standard output, whichever shape they have; raises TrackerError for a refusal."""
        text = said.stdout.strip()
        data = _json(text)
        if not said.ok or (data is None and (text or verb == "show")):
            raise self._refusal(verb, said, missing)
        rows = [] if data is None else data if isinstance(data, list) else [data]
        if not all(isinstance(row, Mapping) for row in rows):
            raise TrackerError(
                f"bd {verb} printed something else than issues: {text[:200]!r}", "does `bd version` say 0.47 or newer?"
            )
        return [dict(row) for row in rows]

    def _refusal(self, verb: str, said: proc.Completed, issue_id: str = "") -> TrackerError:
        """What bd complained of, on whichever stream and in whichever form, as our error."""
        if said.timed_out:
            return TrackerError(
                f"bd {verb} gave no answer within {_SECONDS:g} s", "is another bd stuck? `bd doctor` tells"
            )
        complaint = _complaint(said)
        if _NO_DATABASE.search(complaint):
            cure = "bd init, or bd bootstrap in a clone; to share another checkout's: export BEADS_DIR=CHECKOUT/.beads"
            return TrackerError(f"no Beads database at {self._root}", cure)
        if _UNKNOWN_FLAG.search(complaint):
            return TrackerError(f"this bd is too old: {complaint}", INSTALL)
        if issue_id and _NOT_FOUND.search(complaint):
            named = _NAMED.search(complaint)
            return _missing(named[1] if named else issue_id)
        return TrackerError(f"bd {verb}: {complaint}")

    def _lock(self) -> Any:
        folder = database(self._root)
        return held(folder if folder.is_dir() else self._root)


def _texts(issue: Issue) -> tuple[str, str]:
    """Title and body as bd takes them: the title one line, and what does not fit into it in the body; no body empty."""
    title = " ".join(_plain(redact(issue.title)).split()) or "(no title)"
    body = _plain(redact(issue.body))
    if len(title.encode()) > TITLE_LIMIT:
        body = f"{title}\n\n{body}"
        title = title.encode()[: TITLE_LIMIT - len("…".encode())].decode(errors="ignore") + "…"
    if issue.files:
        body += f"\n\nFiles: {', '.join(issue.files)}"
    return title, body.strip() or title


def _holds(found: Issue, actor: str) -> bool:
    return found.status == "in_progress" and found.assignee == actor


def _missing(issue_id: str) -> IssueNotFound:
    return IssueNotFound(f"no issue '{issue_id}'", "`bd list` shows those there are")


def _json(text: str) -> Any:
    """The payload, out of its envelope if it has one; None when there is none."""
    try:
        data = json.loads(text)
    except ValueError:
        return None
    if isinstance(data, dict) and "data" in data and set(data) <= {"data", "schema_version"}:
        return data["data"]
    return data


def _complaint(said: proc.Completed) -> str:
    """The first thing that explains a refusal: a JSON error object anywhere, else the first line of text."""
    for stream in (said.stdout, said.stderr):
        start = stream.find("{")
        data = _json(stream[start:]) if start >= 0 else None
        if isinstance(data, dict) and data.get("error"):
            return str(data["error"])
    lines = [line.strip() for line in (said.stderr + "\n" + said.stdout).splitlines() if line.strip()]
    told = (line for line in lines if not line.startswith(("⚠", "NOTE:", "Warning:")))
    return next(told, f"exit code {said.exit_code} and no explanation").removeprefix("Error: ")


def _csv(value: str) -> str:
    """One value of a comma-separated option: quoted, so that a comma in it stays in it."""
    return '"' + value.replace('"', '""') + '"' if re.search(r'[,"\n]', value) else value


def _plain(text: str) -> str:
    """Text that can be an argument and a database value: no NUL, no lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
