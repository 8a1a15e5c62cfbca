"""A stopped run, gone on with from the page: a real `harness run`, a real server, a real browser."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.journal import SqliteJournal
from tests.fakes.browser import browser
from tests.fakes.places import git, place, row, writes
from tests.gateway.test_runs_page import TOKEN, served

RUN = "p-1-r1"


def stopped_in_its_first_call(folder: Path, script: Path) -> None:
    """`harness run`, interrupted twice while the model is thinking; afterwards the model answers at once."""
    quick = script.read_text()
    script.write_text(f"defaults: {{seconds: 60}}\n{quick}")
    argv = [sys.executable, "-m", "harness", "run", "p-1", "-C", str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for words in ("started with", "once more to stop now"):
                assert any(words in line for line in process.stderr), words
                process.send_signal(signal.SIGINT)
            process.stderr.read()
            assert process.wait(timeout=20) == 130
        finally:
            process.kill()
    script.write_text(quick)


@pytest.mark.needs_chromium
async def test_a_stopped_run_is_gone_on_with_from_the_page(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    settings = place(folder, [row("p-1")], [writes("p-1")])
    stopped_in_its_first_call(folder, tmp_path / "project-script.yaml")
    async with served(settings) as url, browser(tmp_path) as page:
        await page.open(f"{url}/runs?token={TOKEN}")
        await page.open(f"{url}/runs/{RUN}")
        assert await page.run("document.querySelector('.pill').textContent") == "interrupted"
        await page.run("document.querySelector('button.resume').click()")
        await page.until("document.querySelector('.pill').textContent === 'done'", seconds=60)
        assert await page.run("document.querySelectorAll('.node.done').length") == 1
        assert await page.run("document.querySelector('button') === null")
    journal = SqliteJournal(settings.state / "journal.db")
    run = await journal.load(RUN)
    await journal.aclose()
    assert run is not None and run.landing is not None
    assert git(folder, "show", f"{run.landing.branch}:p-1.txt") == "done\n", "done once"
