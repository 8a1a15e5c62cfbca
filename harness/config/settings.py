"""`harness.yaml` → Settings: every section, its defaults, and where it is looked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from harness.config.reading import environment, expand, read_mapping, validate
from harness.errors import ConfigError, did_you_mean
from harness.types import Budget, Limits, TierPool, Value

FILE_NAMES = ("harness.yaml", "harness.yml", ".harness/harness.yaml")

DEFAULT_TIERS: dict[str, tuple[str, ...]] = {
    "haiku": ("anthropic/claude-haiku-5-5",),
    "sonnet": ("anthropic/claude-sonnet-5-5",),
    "opus": ("anthropic/claude-opus-5-5",),
}


ROLES = {"planner": "sonnet", "reviewer": "opus"}
ROUTING_ROLES = {"default_tier": "sonnet", "baseline_tier": "sonnet"}
"""Roles and their tiers among the default ones; among others it is the cheapest, middle or strongest in their place."""


class TrackerSettings(Value):
    kind: str = "auto"
    """`auto` takes `beads` where `.beads/` and `bd` are found, else `jsonl`; or a name, or `package.module:Name`."""
    path: Path | None = None
    """For `jsonl`: the file. Default `.beads/issues.jsonl`."""


class ProviderSettings(Value):
    """How one provider is reached."""

    format: Literal["anthropic", "openai", "openai_responses"] = "openai"
    base_url: str | None = None
    """None takes the SDK's default, which honours `ANTHROPIC_BASE_URL` and `OPENAI_BASE_URL`."""
    api_key: SecretStr | None = None
    """Write `$NAME` to take it from the environment."""
    api_key_env: str | None = None
    """Environment variable to read when `api_key` is not set."""


class ModelSettings(Value):
    timeout_seconds: float = Field(600, gt=0)
    retries: int = Field(4, ge=0)
    """Per model, before the next in the pool is tried."""
    max_retry_after_seconds: float = Field(60, ge=0)
    """A longer `Retry-After` means the next model, not a wait."""
    cooldown_seconds: float = Field(30, ge=0)
    """How long a failing model is passed over."""
    max_concurrent: int = Field(16, ge=1)
    """Calls in flight, over all tasks."""
    script: Path | None = None
    """For the scripted model: its file of replies. Set, no API is called."""
    cache_ttl: Literal["5m", "1h"] = "5m"


class ProxySettings(Value):
    base_url: str = "http://localhost:12000"
    timeout: float = Field(30, gt=0)
    """Seconds."""


class EmbeddedSettings(Value):
    config_path: Path
    image: str = "katanemo/plano:0.4.0"
    ports: dict[str, int] = {"ingress": 10000, "egress": 12000}
    env: dict[str, SecretStr] = {}


class RoutePreference(Value):
    """A route described in words: which requests belong to it, and which tier or models serve them."""

    name: str
    description: str
    examples: tuple[str, ...] = ()
    tier: str | None = None
    models: tuple[str, ...] = ()


class LearnedSettings(Value):
    enabled: bool = True
    """Even then it stays silent until it has evidence."""
    min_outcomes: int = Field(30, ge=1)
    explore_usd_per_day: Decimal = Decimal(0)
    half_life_days: float = Field(60, gt=0)
    neighbours: Literal["words", "embedded"] = "words"
    """How similar issues are found: by the words of their titles, or (slower: `embedded`) by meaning."""
    min_success: float = Field(0.6, ge=0, le=1)
    """A cheaper tier that solves fewer than this share is not begun at: failed attempts cost time, too."""


class RoutingSettings(Value):
    mode: Literal["direct", "plano_proxy", "plano_embedded", "policy"] = "direct"
    """How a call reaches its model; see examples/routing."""
    direct: dict[str, Any] = Field({}, max_length=0)
    """Nothing to set; for files that write out all modes."""
    proxy: ProxySettings = ProxySettings()
    embedded: EmbeddedSettings | None = None
    fallback: bool = False
    """Whether a call goes to the provider directly when Plano cannot be reached."""
    rules: tuple[dict[str, Any], ...] = ()
    """Rules asked before the built-in patterns; a rule with a built-in's name replaces it."""
    rules_file: Path | None = None
    """Replaces the built-in `rules.yaml` altogether."""
    default_tier: str = ROUTING_ROLES["default_tier"]
    """Where nothing else says anything of an issue."""
    baseline_tier: str = ROUTING_ROLES["baseline_tier"]
    """What costs are compared with: the tier you would use for everything."""
    preferences: tuple[RoutePreference, ...] = ()
    """Routes described in words, asked of issues that no rule fits; `strategies: [preference]` brings its own."""
    preference_threshold: float = Field(0.45, ge=0, le=1)
    """How sure a described route must be."""
    strategies: tuple[str, ...] = ()
    """Strategies asked after `learned`: `preference` (described routes), or your own (`package.module:Name`)."""
    learned: LearnedSettings = LearnedSettings()

    @model_validator(mode="after")
    def _embedded_has_a_file(self) -> RoutingSettings:
        if self.mode == "plano_embedded" and self.embedded is None:
            raise ValueError("mode plano_embedded needs `embedded: {config_path: …}`")
        return self


class SandboxSettings(Value):
    mode: Literal["auto", "bubblewrap", "landlock", "none"] = "auto"
    network: bool = False
    readable: tuple[Path, ...] = ()
    """Further paths that programs may read, e.g. a shared virtual environment."""
    environment: tuple[str, ...] = ()
    """Names of variables to pass on; those that look like credentials are refused."""
    memory_mb: int | None = Field(None, ge=64)
    """Address space of each process; None is unbounded."""
    processes: int = Field(512, ge=16)
    """At a time, in one command."""
    file_mb: int = Field(2048, ge=1)
    """The largest file a program may write."""


class QueueSettings(Value):
    poll_seconds: float = Field(30, gt=0)
    """How often `harness work --watch` looks for ready issues by itself."""
    parallel_issues: int = Field(2, ge=1)
    """Issues at a time."""
    pause_after_failures: int = Field(3, ge=1)
    """Failures in a row, of different issues."""
    max_attempts_per_issue: int = Field(2, ge=1)
    """Failures; afterwards the issue is labelled `harness:stuck` and left alone until that label is removed."""
    outage_pause_seconds: float = Field(60, gt=0)
    """The wait when every model of a tier fails, before it is asked again."""
    outage_give_up_seconds: float = Field(3600, gt=0)
    budget_per_day: Budget = Budget()
    """Over all runs of a day; reached, the queue stops in good order."""


class TracingSettings(Value):
    enabled: bool | None = None
    """None: when the environment names a collector (`OTEL_EXPORTER_OTLP_ENDPOINT`); see docs/observability.md."""
    content: bool = False
    """Whether spans hold prompts, answers and the texts of errors."""
    propagate: bool = False
    """Whether model calls carry `traceparent`, so that a gateway of yours goes on with the trace."""


class RepositorySettings(Value):
    """One more repository (or rig) for `harness work`."""

    path: Path
    wanted_labels: tuple[str, ...] = ()
    settings: Path | None = None


class ExecutorCommand(Value):
    """A command-line agent as an executor.

    In `argv`, `environment` and `stdin` these are filled in: `{prompt}`, `{prompt_file}`, `{model}`, `{tier}`,
    `{affinity}`, `{worktree}`, `{home}` (private and empty), and with a `provider` also `{base_url}` and `{key}`.
    `{{word}}` is `{word}` itself.
    """

    argv: tuple[str, ...] = Field(min_length=1)
    environment: dict[str, str] = {}
    stdin: str | None = None
    provider: str | None = None
    """The provider that it may reach, at `{base_url}` and through the harness, which holds the key."""
    network: bool = False
    """Give it, and its tools, the whole network."""
    model_names: dict[str, str] = {}
    """Tier → the name this agent knows it by. Default: the tier's first model of the provider."""
    usage: Literal["codex", "opencode"] | None = None
    """Whose JSON events tell its usage; None: not told, and its cost is unknown."""
    litter: tuple[str, ...] = ()
    """Globs at the top of the checkout: files of its own that it leaves behind, removed afterwards."""
    install: str | None = None
    """How to get it, for who hasn't."""


class OwnPrice(Value):
    """What one model costs you, in USD per million tokens; it stands above the published price."""

    input: Decimal = Field(ge=0)
    output: Decimal = Field(ge=0)
    cache_read: Decimal | None = Field(None, ge=0)
    """None, here and below: the same as `input`."""
    cache_write_5m: Decimal | None = Field(None, ge=0)
    cache_write_1h: Decimal | None = Field(None, ge=0)


class Settings(Value):
    """Everything that can be configured; all of it has a default."""

    version: Literal[1] = 1
    tracker: TrackerSettings = TrackerSettings()
    tiers: dict[str, tuple[str, ...]] = DEFAULT_TIERS
    """Ordered from cheap to strong; each maps to `provider/model` names in the order in which they are tried. With
    names of your own, the cheapest, middle and strongest stand in where a default says haiku, sonnet or opus."""
    planner: str = ROLES["planner"]
    """The tier that splits an issue into tasks; a stronger routed tier stands above it."""
    worker: str | None = None
    """The tier that does the tasks; None takes the routed tier."""
    reviewer: str = ROLES["reviewer"]
    """The tier that reviews what the pipeline's trigger picks."""
    executor: str = "tool_loop"
    """Who does a task: `tool_loop`, `claude_code`, `codex`, `opencode`, `aider`, or one of `executors`."""
    executors: dict[str, ExecutorCommand] = {}
    """Named presets for the `command` executor."""
    max_parallel: int = Field(4, ge=1)
    """Tasks at a time, over all issues of this process."""
    backend: str = "local"
    """Where tasks run: `local`, or `dbos` for many machines."""
    database: SecretStr | None = None
    """PostgreSQL URL for `backend: dbos`; `HARNESS_DATABASE_URL` in the environment stands above it."""
    exchange: str = "origin"
    """For `backend: dbos`: the git remote, by name or URL, through which machines exchange commits."""
    lease_seconds: float = Field(60, ge=2)
    """For `backend: dbos`: a worker that has been silent this long is taken for dead, and its tasks are given away."""
    verify: tuple[str, ...] = ()
    """Commands that must succeed for any work in this repository."""
    land: Literal["branch", "merge", "pr"] = "branch"
    """What becomes of accepted work: a branch `harness/ISSUE`, a merge into yours, or a pull request."""
    budget: Budget = Budget()
    """Per run."""
    task_budget: Budget = Budget()
    """Per task; never more than its run has left."""
    limits: Limits = Limits()
    attempts_per_tier: int = Field(2, ge=1)
    """Tries at a task, each told what failed before, until the next tier up is asked."""
    max_redo: int = Field(2, ge=0)
    """Redos of a task after a conflict or a broken merge."""
    pipelines: Path = Path("pipelines")
    """Folder of the repository's own pipelines."""
    providers: dict[str, ProviderSettings] = {}
    """Addresses, formats and keys of providers that are not known, or not reached the usual way."""
    models: ModelSettings = ModelSettings()
    prices: dict[str, OwnPrice] = {}
    """By `provider/model`, for models whose published price is unknown or not yours."""
    routing: RoutingSettings = RoutingSettings()
    sandbox: SandboxSettings = SandboxSettings()
    """What programs that work on a task may do; see docs/sandbox.md."""
    queue: QueueSettings = QueueSettings()
    tracing: TracingSettings = TracingSettings()
    """OpenTelemetry traces; see docs/observability.md."""
    repositories: tuple[RepositorySettings, ...] = ()
    """More repositories whose queues `harness work` takes."""
    gateway: dict[str, Any] = {}
    """Read by `harness serve`; see `config/gateway.py`."""
    content: bool = True
    """False keeps prompts and replies out of everything stored."""
    suggest_labels: bool = False
    """Whether the Beads hook's watcher labels an unlabelled issue with the tier it suggests."""
    root: Path = Path(".")
    """The repository; found, not configured."""
    source: str = "defaults"
    """The file this was read from."""

    @model_validator(mode="before")
    @classmethod
    def _roles_are_filled(cls, data: Any) -> Any:
        return _with_roles(data) if isinstance(data, dict) else data

    @field_validator("tiers")
    @classmethod
    def _tiers_have_models(cls, tiers: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if not tiers:
            raise ValueError("at least one tier is needed")
        for tier, models in tiers.items():
            if not models:
                raise ValueError(f"tier '{tier}' has no model; write e.g. [anthropic/claude-haiku-5-5]")
            for model in models:
                if "/" not in model:
                    raise ValueError(f"'{model}' has no provider; write provider/model, e.g. anthropic/{model}")
        return tiers

    def pool(self, tier: str) -> TierPool:
        """A tier's models; raises ConfigError for an unknown tier."""
        if tier not in self.tiers:
            raise ConfigError(
                self.source,
                ("tiers",),
                f"no tier '{tier}'; known: {', '.join(self.tiers)}{did_you_mean(tier, self.tiers)}",
            )
        return TierPool(tier=tier, models=self.tiers[tier])

    def meant(self, tier: str) -> str:
        """The tier that a shipped file means by `haiku`, `sonnet` or `opus`, also where the tiers have other names."""
        return tier if tier in self.tiers else _meant(tier, tuple(self.tiers), self.routing.default_tier)

    def ladder(self, tier: str) -> tuple[TierPool, ...]:
        """The tier and all stronger ones, cheap → strong."""
        first = self.pool(tier)
        names = list(self.tiers)
        return (first, *(self.pool(name) for name in names[names.index(first.tier) + 1 :]))

    @property
    def state(self) -> Path:
        """The folder of journal, reports and spool: `.harness/` in the repository."""
        return self.root / ".harness"


def _meant(tier: str, names: Sequence[str], otherwise: str) -> str:
    return {"haiku": names[0], "opus": names[-1]}.get(tier, otherwise)


def _with_roles(data: dict[str, Any]) -> dict[str, Any]:
    """The same, and roles that the file gives to no tier given to one of its own, where the default is none of them."""
    names = tuple(data["tiers"]) if isinstance(data.get("tiers"), dict) else ()
    routing = data.get("routing", {})
    if not names or not isinstance(routing, dict):
        return data
    middle = names[len(names) // 2]
    roles = {role: _meant(tier, names, middle) for role, tier in ROLES.items() if tier not in names}
    asked = {role: _meant(tier, names, middle) for role, tier in ROUTING_ROLES.items() if tier not in names}
    return {**roles, **data, "routing": {**asked, **routing}}


def find_settings(root: Path) -> Path | None:
    """The repository's settings file, or None; raises ConfigError where there are several.

    What is there and cannot be read, such as a link that leads nowhere, is found too: reading it says so.
    """
    found = [root / name for name in FILE_NAMES if (root / name).exists() or (root / name).is_symlink()]
    if len(found) > 1:
        raise ConfigError(str(found[0]), (), f"there is {found[1]} as well", "keep one of the two")
    return found[0] if found else None


def load_settings(
    root: Path,
    file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Settings:
    """Settings of the repository at `root`; `overrides` (from the command line) win over the file.

    Raises ConfigError naming file, key path and cure.
    """
    path = file or find_settings(root)
    where = str(path) if path else "defaults"
    data = read_mapping(path) if path else {}
    data = expand(data, environment() if variables is None else variables, where)
    if isinstance(data.get("tiers"), dict):
        data["tiers"] = {tier: [m] if isinstance(m, str) else m for tier, m in data["tiers"].items()}
    for key in ("root", "source"):
        if key in data:
            raise ConfigError(where, (key,), "is found, not configured; remove it")
    if found := (environment() if variables is None else variables).get("HARNESS_DATABASE_URL"):
        data = {**data, "database": found}
    merged = {**data, **{key: value for key, value in (overrides or {}).items() if value is not None}}
    settings: Settings = validate(Settings, merged | {"root": root, "source": where}, where)
    for role in ("planner", "worker", "reviewer"):
        tier = getattr(settings, role)
        if tier is not None and tier not in settings.tiers:
            known = f"known: {', '.join(settings.tiers)}{did_you_mean(tier, settings.tiers)}"
            raise ConfigError(where, (role,), f"no tier '{tier}'; {known}")
    return settings
