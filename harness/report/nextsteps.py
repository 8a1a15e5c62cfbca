"""What a user does after a run, in commands that can be copied."""

from __future__ import annotations

from harness.markup import Html, join, tag
from harness.types import Run


def next_steps(run: Run) -> list[Html]:
    """One to four steps, the most useful first."""
    steps = {
        "done": _done, "failed": _failed, "rejected": _rejected, "over_budget": _over_budget,
        "interrupted": _interrupted, "cancelled": _anew, "running": _running,
    }[run.status](run)  # fmt: skip
    if run.hint and run.status != "done":
        steps.insert(0, join((run.hint[0].upper() + run.hint[1:],)))
    if run.error:
        steps.insert(0, tag("b", run.error[0].upper() + run.error[1:]))
    return steps


def _done(run: Run) -> list[Html]:
    steps: list[Html] = []
    landing = run.landing
    if landing and landing.mode == "branch":
        look = f"git log -p {run.base[:10]}..{landing.branch}" if run.base else f"git log -p {landing.branch}"
        steps += [_step("Look at it: ", look), _step("Take it: ", f"git merge {landing.branch}")]
    elif landing and landing.mode == "pr":
        steps.append(join(("Review the pull request: ", tag("b", landing.url or landing.branch))))
    elif landing:
        steps.append(join((f"Nothing: the work is on {landing.into or landing.branch}.",)))
    else:
        steps.append(join(("The work passed and was not landed; its branches are kept.",)))
    if run.filed:
        steps.append(join((f"Findings outside this issue became issues of their own: {', '.join(run.filed)}.",)))
    steps.append(_step("Say how good it is, so that routing learns: ", f"harness experiments rate {run.id} 5"))
    return steps


def _failed(run: Run) -> list[Html]:
    failed = [result.task_id for result in run.results if result.status == "failed"]
    steps = [
        join(
            ("See what verification said: ", [(tag("a", f"task {name}", href=f"#task-{name}"), " ") for name in failed])
        )
    ]
    return [*(steps if failed else []), *_anew(run)]


def _anew(run: Run) -> list[Html]:
    return [_step("With the cause removed, or more said in the issue, begin anew: ", f"harness run {run.issue.id}")]


def _rejected(run: Run) -> list[Html]:
    steps = [join((tag("a", "Read the findings", href="#review"), "; the work is kept on its branches."))]
    steps.append(_step("Say in the issue what is wanted, then: ", f"harness run {run.issue.id}"))
    return steps


def _over_budget(run: Run) -> list[Html]:
    spent = float(run.usage.cost_usd)
    command = f"harness resume {run.id} --budget-usd {max(0.01, 2 * spent):.2f}"
    return [_step("All finished work is kept; go on with more: ", command)]


def _interrupted(run: Run) -> list[Html]:
    return [_step("Go on where it stopped; nothing is paid twice: ", f"harness resume {run.id}")]


def _running(run: Run) -> list[Html]:
    return [
        _step("Watch it: ", "harness serve"),
        _step("Stop it, keeping what is finished: ", f"harness cancel {run.id}"),
    ]


def _step(words: str, command: str) -> Html:
    return join((words, tag("code", command)))
