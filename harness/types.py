"""The nouns of the product. Frozen values; JSON in, JSON out; imports nothing of ours.

The story they tell, in order of appearance:

    Issue ─route→ RouteDecision ─load→ Pipeline ─plan→ Plan ─execute→ TaskResult
          ─integrate→ Integration ─review→ Review ─land→ Run

Tokens are counts, money is Decimal US dollars, durations are seconds, commits are full hexadecimal object names.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field


class Value(BaseModel):
    """A frozen record that refuses unknown fields, so that a misspelt key is an error and never silence."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @property
    def objects(self) -> tuple[str, ...]:
        """Git objects that the value names, and that must be there where somebody goes on from it."""
        return ()


# ── what is to be done ────────────────────────────────────────────────────────────────────────────────────────


class Issue(Value):
    """One unit of work as its tracker tells it. Every text in it is untrusted data."""

    id: str
    title: str
    body: str = ""
    labels: tuple[str, ...] = ()
    type: str = "task"
    priority: int = 2
    """0 is the most urgent; never test it for truth."""
    status: str = "open"
    assignee: str | None = None
    files: tuple[str, ...] = ()
    blocked_by: tuple[str, ...] = ()
    """Ids of issues that must have landed first; only those still open."""
    parent: str | None = None
    created_at: datetime | None = None
    metadata: dict[str, Any] = {}
    source: str = ""
    """Which tracker told it: `beads`, `jsonl`, `command line`, …"""

    def labelled(self, prefix: str) -> tuple[str, ...]:
        """The values of labels `prefix:value`, in label order: `labelled("model")` → `("haiku",)`."""
        start = prefix + ":"
        return tuple(label[len(start) :].strip() for label in self.labels if label.startswith(start))


class TraceLine(Value):
    """One rule that was asked, in the order asked: what it said and why."""

    rule: str
    matched: bool
    why: str


class Opinion(Value):
    """What one strategy thinks of an issue."""

    tier: str
    rule: str
    reason: str
    confidence: float = 1.0
    propensity: float = 1.0
    """Probability of this tier under the strategy's own chance; below 1 where it explores."""
    pipeline: str | None = None
    warnings: tuple[str, ...] = ()


class Considered(NamedTuple):
    """A strategy's opinion, if any, and every rule it asked on the way."""

    opinion: Opinion | None
    trace: tuple[TraceLine, ...] = ()
    warnings: tuple[str, ...] = ()


class RouteDecision(Value):
    """Which tier and pipeline an issue gets, which rule said so, and what that will cost."""

    tier: str
    model: str
    """The first `provider/model` of the tier's pool."""
    pipeline: str
    strategy: str
    """`label`, `complexity`, `pattern`, `files`, `learned`, `preference` or `default` (or a plugin's own name)."""
    rule: str
    reason: str
    confidence: float = 1.0
    propensity: float = 1.0
    """Probability with which the deciding strategy picks this tier for such an issue; below 1 where it explores."""
    candidates: tuple[str, ...] = ()
    """The tier's whole pool, in the order in which it will be tried."""
    estimated_cost: Decimal | None = None
    """USD for the issue; None where a price is unknown."""
    baseline_cost: Decimal | None = None
    """USD for the same work with the baseline tier (Sonnet) throughout."""
    warnings: tuple[str, ...] = ()
    trace: tuple[TraceLine, ...] = ()


# ── how it is to be done ──────────────────────────────────────────────────────────────────────────────────────


class Budget(Value):
    """Upper bounds; None is unbounded. A child's bounds never exceed what its parent has left."""

    usd: Decimal | None = Field(None, ge=0, le=10**9)
    tokens: int | None = Field(None, ge=0)
    calls: int | None = Field(None, ge=0)
    """Model calls."""
    seconds: float | None = Field(None, ge=0)
    """Wall time."""


class Limits(Value):
    """Bounds on one attempt at one task, independent of money."""

    turns: int = Field(40, ge=1)
    max_output_tokens: int = Field(8192, ge=1)
    """Per model call."""
    command_seconds: float = Field(300.0, gt=0)
    """One shell command or verify command."""
    tool_output_chars: int = Field(16_000, ge=200)
    summary_chars: int = Field(2_000, ge=80)
    repeats: int = Field(3, ge=2)
    """The same tool call with the same result this many times in a row is a loop."""


class Task(Value):
    """One node of a plan: what one worker does in one worktree."""

    id: str
    title: str
    instructions: str = ""
    files: tuple[str, ...] = ()
    """Paths or globs relative to the repository; the scope the task may change. Empty: not restricted."""
    depends_on: tuple[str, ...] = ()
    verify: tuple[str, ...] = ()
    """Shell commands that must succeed in the task's worktree."""
    tier: str | None = None
    """The tier to start with; None takes the execute phase's."""


class Plan(Value):
    """A directed acyclic graph of tasks."""

    summary: str
    tasks: tuple[Task, ...]


class Phase(Value):
    """One stage of a pipeline."""

    id: str
    kind: str
    """`plan`, `execute` or `review`."""
    tier: str | None = None
    """The tier named by `model:` in YAML; None takes the role's default."""
    parallel: bool = True
    trigger: str | None = None
    tasks: tuple[Task, ...] = ()
    """Static tasks; they make a plan phase unnecessary."""
    output: str | None = None
    """File name for the phase's document, e.g. `task_breakdown.md`, in the run's folder."""
    commit_output: bool = False
    executor: str | None = None
    max_tasks: int = Field(20, ge=1)
    max_rework: int = Field(2, ge=0)
    panel: tuple[str, ...] = ()
    """Reviewer viewpoints asked in parallel, e.g. `("security", "architecture")`."""


class Pipeline(Value):
    """Named phases in order, with what must hold for their work to count."""

    name: str
    description: str = ""
    phases: tuple[Phase, ...]
    verify: tuple[str, ...] = ()
    budget: Budget = Budget()
    source: str = "built-in"
    """File it was read from."""

    def phase(self, kind: str) -> Phase | None:
        """The first phase of a kind, or None."""
        return next((phase for phase in self.phases if phase.kind == kind), None)


class TierPool(Value):
    """A tier and its `provider/model` names, in the order in which they are tried."""

    tier: str
    models: tuple[str, ...]


class Job(Value):
    """All that a worker may know: enough to do one task on any machine that has the repository."""

    run_id: str
    issue_id: str
    task: Task
    base: str
    """Commit the work starts from."""
    ladder: tuple[TierPool, ...]
    """Tiers to try, first one first; each later one is an escalation."""
    executor: str
    affinity: str
    """Stable id of this worker's model session (`X-Model-Affinity`)."""
    brief: str = ""
    """Prompt prefix shared, byte for byte, by all workers of the phase."""
    feedback: str = ""
    verify: tuple[str, ...] = ()
    """The pipeline's commands; the task's own come on top."""
    known_failures: dict[str, tuple[str, ...]] = {}
    """Verify commands that failed on the run's base already → their failing tests; not blamed on this task."""
    budget: Budget = Budget()
    limits: Limits = Limits()
    round: int = 0
    """0 for the first time; each redo after a conflict, a broken merge or a review counts one up."""

    @property
    def key(self) -> str:
        """Name of this piece of work in the journal: `execute/t3`, or `execute/t3/redo-1`."""
        return f"execute/{self.task.id}" + (f"/redo-{self.round}" if self.round else "")


# ── what it took ──────────────────────────────────────────────────────────────────────────────────────────────


class Usage(Value):
    """Token counts and price of one or many model calls. `input_tokens` excludes everything cached."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    """Price of the requests whose price is known."""
    unpriced_requests: int = 0
    """Requests whose price is unknown; their cost is not in `cost_usd`."""

    def __add__(self, other: Usage) -> Usage:
        names = type(self).model_fields
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in names})

    def __sub__(self, other: Usage) -> Usage:
        names = type(self).model_fields
        return Usage(**{name: getattr(self, name) - getattr(other, name) for name in names})

    @property
    def total_input(self) -> int:
        """All tokens the model read, cached or not."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens

    @property
    def tokens(self) -> int:
        """All tokens, read and written."""
        return self.total_input + self.output_tokens

    @property
    def cache_share(self) -> float:
        """Share of input tokens read from a cache, 0 to 1."""
        return self.cache_read_tokens / self.total_input if self.total_input else 0.0


class ModelCall(Value):
    """One paid call: who asked, which model answered, what it used. The unit of all accounting."""

    phase: str
    """`plan`, `execute`, `review`, …"""
    task_id: str | None = None
    attempt: int = 1
    tier: str
    model: str
    """`provider/model` that answered."""
    usage: Usage
    seconds: float = 0.0


def total(calls: tuple[ModelCall, ...] | list[ModelCall]) -> Usage:
    """The sum of the calls' usage."""
    return sum((call.usage for call in calls), Usage())


class Check(Value):
    """One verify command's outcome."""

    command: str
    exit_code: int
    seconds: float = 0.0
    output: str = ""
    """The tail of standard output and error, bounded and redacted."""
    failing: tuple[str, ...] = ()
    """Names of failing tests, read from all of the output, where its runner tells them."""
    known_failure: bool = False
    """It failed before the work began, so it does not count against it."""

    @property
    def ok(self) -> bool:
        return self.exit_code == 0 or self.known_failure


class Attempt(Value):
    """One executor session at one tier, and what verification said of it."""

    number: int
    tier: str
    model: str
    outcome: Literal["passed", "failed", "no_change", "error", "out_of_scope", "limit", "budget"]
    summary: str = ""
    feedback: str = ""
    """What the next attempt is told; empty when passed."""
    checks: tuple[Check, ...] = ()
    calls: tuple[ModelCall, ...] = ()
    commit: str | None = None
    """What it committed, when anything changed."""
    seconds: float = 0.0
    started_at: datetime | None = None
    worker: str = ""
    """Which worker did it: host and process, for the timeline."""

    @property
    def objects(self) -> tuple[str, ...]:
        return (self.commit,) if self.commit and self.outcome == "passed" else ()


class TaskResult(Value):
    """A task's end: done with a commit, failed with a reason, or skipped because of another."""

    task_id: str
    status: Literal["done", "failed", "skipped"]
    summary: str = ""
    commit: str | None = None
    attempts: tuple[Attempt, ...] = ()
    error: str | None = None
    round: int = 0

    @property
    def objects(self) -> tuple[str, ...]:
        return (self.commit,) if self.commit else ()

    @property
    def calls(self) -> tuple[ModelCall, ...]:
        return tuple(call for attempt in self.attempts for call in attempt.calls)

    @property
    def usage(self) -> Usage:
        return total(self.calls)

    @property
    def escalated(self) -> bool:
        """Whether a stronger tier than the first had to be asked."""
        return len({attempt.tier for attempt in self.attempts}) > 1


class Integration(Value):
    """The tasks' commits merged, in dependency order, and verified as a whole."""

    commit: str
    merged: tuple[str, ...] = ()
    """Task ids whose work is in `commit`."""
    conflicts: tuple[str, ...] = ()
    """Task ids redone because their merge conflicted."""
    broken: tuple[str, ...] = ()
    """Task ids redone because the merged tree failed verification with them."""
    checks: tuple[Check, ...] = ()
    error: str | None = None


class Finding(Value):
    """One remark of a reviewer."""

    severity: Literal["critical", "major", "minor", "info"] = "minor"
    path: str | None = None
    line: int | None = None
    title: str
    detail: str = ""
    task_id: str | None = None
    """The task that should be redone; None when it is none's."""
    out_of_scope: bool = False
    """True: worth an issue of its own, not a rework of this one."""


class Review(Value):
    """A reviewer's structured verdict on the integrated diff."""

    verdict: Literal["approve", "revise", "reject"]
    summary: str = ""
    findings: tuple[Finding, ...] = ()
    calls: tuple[ModelCall, ...] = ()
    round: int = 0


class Landing(Value):
    """Where accepted work went."""

    mode: Literal["branch", "merge", "pr"]
    branch: str
    commit: str
    into: str | None = None
    url: str | None = None
    note: str = ""
    """What the user has to do next, if anything."""


RunStatus = Literal["running", "done", "failed", "rejected", "over_budget", "interrupted", "cancelled"]


UNFINISHED: tuple[RunStatus, ...] = ("running", "interrupted", "over_budget")
"""States of a run that can go on."""


class Run(Value):
    """An issue's whole story so far: a frozen value that grows."""

    id: str
    issue: Issue
    route: RouteDecision
    pipeline: Pipeline
    repo: str = ""
    """Path of the repository worked on."""
    base: str = ""
    """Commit the run started from."""
    base_branch: str | None = None
    land: Literal["branch", "merge", "pr", "none"] | None = None
    """How accepted work is handed over, as it was asked for when the run began; None in runs of earlier versions."""
    start: str | None = None
    """Commit the tasks start from, where it is not `base`: the plan's document was committed first."""
    plan: Plan | None = None
    results: tuple[TaskResult, ...] = ()
    """The latest result of each task; earlier rounds' are in `superseded`."""
    superseded: tuple[TaskResult, ...] = ()
    integration: Integration | None = None
    reviews: tuple[Review, ...] = ()
    landing: Landing | None = None
    status: RunStatus = "running"
    error: str | None = None
    hint: str | None = None
    filed: tuple[str, ...] = ()
    """Ids of issues filed for out-of-scope findings; this run's queue does not pick them up."""
    other_calls: tuple[ModelCall, ...] = ()
    """Planner calls, and all others that belong to no task and no review."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    scripted: bool = False
    """True: a scripted model answered and no API was called."""

    def grown(self, **changes: Any) -> Run:
        """The same run with more of its story told."""
        return self.model_copy(update=changes)

    def untold(self) -> Run:
        """The run as it was when it began: its story is told again from the journal."""
        fresh = {"start", "plan", "results", "superseded", "integration", "reviews", "landing", "filed", "other_calls"}
        blank = {
            name: Run.model_fields[name].get_default() for name in fresh | {"status", "error", "hint", "finished_at"}
        }
        return self.model_copy(update=blank)

    @property
    def floor(self) -> str:
        """The commit that every task builds on."""
        return self.start or self.base

    @property
    def calls(self) -> tuple[ModelCall, ...]:
        """Every paid call of the run."""
        worked = tuple(call for result in (*self.superseded, *self.results) for call in result.calls)
        return self.other_calls + worked + tuple(call for review in self.reviews for call in review.calls)

    @property
    def usage(self) -> Usage:
        return total(self.calls)

    @property
    def accepted(self) -> bool:
        return self.status == "done"


class Event(Value):
    """Something a watcher may want to see now: the live table, logs, traces and the runs page read these."""

    run_id: str
    kind: str
    """`run.started`, `phase.started`, `task.started`, `task.turn`, `task.attempt`, `task.finished`, `merge`,
    `review`, `run.finished`, …"""
    at: datetime
    issue_id: str | None = None
    phase: str | None = None
    task_id: str | None = None
    data: dict[str, Any] = {}


# ── talking to a model ────────────────────────────────────────────────────────────────────────────────────────


class Text(Value):
    type: Literal["text"] = "text"
    text: str
    cache: bool = False
    """A cache breakpoint after this block, where the provider has them."""


class ToolUse(Value):
    type: Literal["tool_use"] = "tool_use"
    id: str
    name: str
    input: dict[str, Any]


class ToolResult(Value):
    type: Literal["tool_result"] = "tool_result"
    id: str
    content: str
    is_error: bool = False


class Opaque(Value):
    """A provider's own block (a thinking block, say) that must go back to it untouched."""

    type: Literal["opaque"] = "opaque"
    provider: str
    block: dict[str, Any]


Block = Text | ToolUse | ToolResult | Opaque


class Message(Value):
    role: Literal["user", "assistant"]
    content: tuple[Block, ...]


class Tool(Value):
    """A tool the model may call; `input_schema` is JSON Schema."""

    name: str
    description: str
    input_schema: dict[str, Any]
    trained_as: str | None = None
    """A tool kind that models are trained on (`bash`, `text_editor`): sent as the provider's own type where the
    model has it."""


class ModelRequest(Value):
    """One call to one tier: the client picks the model from the pool, retries, falls back and prices."""

    pool: TierPool
    system: tuple[Text, ...] = ()
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    answer_schema: dict[str, Any] | None = None
    """JSON Schema the answer must follow (structured output)."""
    max_output_tokens: int = 8192
    affinity: str | None = None
    """Session id, sent as `X-Model-Affinity`."""
    phase: str = ""
    issue_id: str | None = None
    task_id: str | None = None
    run_id: str | None = None
    attempt: int = 1
    turn: int = 1
    traceparent: str | None = None
    """W3C trace context, sent along where settings ask for it (`tracing > propagate`)."""


class ModelReply(Value):
    """What came back, who said it, and what it used."""

    model: str
    """`provider/model` that answered."""
    content: tuple[Block, ...]
    stop_reason: Literal["end", "tool_use", "max_tokens", "refusal", "other"] = "end"
    call: ModelCall
    metadata: dict[str, Any] = {}

    @property
    def provider(self) -> str:
        """Who served it: the part of `model` before the slash."""
        return self.model.partition("/")[0]

    @property
    def text(self) -> str:
        return "".join(block.text for block in self.content if isinstance(block, Text))

    @property
    def tool_uses(self) -> tuple[ToolUse, ...]:
        return tuple(block for block in self.content if isinstance(block, ToolUse))
