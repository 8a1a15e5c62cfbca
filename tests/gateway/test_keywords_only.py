"""Where the embedding model's libraries cannot be imported, keywords decide, and everybody is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from harness.proc import run

WITHOUT = """
import sys
sys.modules[{missing!r}] = None
from harness.cli import main
sys.exit(main(sys.argv[1:]))
"""
LIBRARIES = ("onnxruntime", "tokenizers")


def command(missing: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", WITHOUT.format(missing=missing), *arguments]


@pytest.mark.parametrize("missing", LIBRARIES)
def test_serve_decides_with_keywords_and_says_so(missing: str, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    argv = command(missing, "serve", "-C", str(tmp_path), "--port", "0", "--json")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        url = json.loads(process.stdout.readline())["url"]
        text = "Write a Python function that implements binary search"
        body = {"model": "gpt-4o-mini", "max_tokens": 9, "messages": [{"role": "user", "content": text}]}
        decision = httpx2.post(f"{url}/routing/v1/messages", json=body, timeout=15).json()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) in (0, 130)
        assert "Traceback" not in process.stderr.read()
    assert decision["route"] == "code_generation"
    assert decision["warnings"] == [f"keywords only: {missing} is not installed"]


@pytest.mark.parametrize("missing", LIBRARIES)
async def test_doctor_says_so(missing: str, tmp_path: Path) -> None:
    (tmp_path / "harness.yaml").write_text("sandbox: {mode: none}\n")
    argv = command(missing, "doctor", "-C", str(tmp_path), "--json")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    said = await run(argv, env=environment, timeout=60)
    findings = {row["name"]: row for row in json.loads(said.stdout)["findings"]}
    found = findings["described routes"]
    assert found["state"] == "missing" and f"{missing} is not installed" in found["detail"]
    assert "pip install" in found["cure"]
