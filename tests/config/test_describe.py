"""The settings file that `harness init` writes: true, complete, and no different from having none."""

from __future__ import annotations

import re
from pathlib import Path

from harness.config.describe import FOUND, as_yaml, keys
from harness.config.reading import read_mapping
from harness.config.settings import Settings, load_settings


def test_as_written_it_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "harness.yaml"
    path.write_text(as_yaml())
    assert load_settings(tmp_path) == Settings(root=tmp_path, source=str(path))
    assert read_mapping(path) == {"version": 1}


def test_every_default_it_shows_is_the_default(tmp_path: Path) -> None:
    lines = as_yaml(("make test",)).splitlines()
    uncommented = "\n".join(line[1:] if re.match(r"#(    )*\w+:", line) else line for line in lines)
    (tmp_path / "harness.yaml").write_text(uncommented)
    settings = load_settings(tmp_path)
    assert settings == Settings(root=tmp_path, source=settings.source, verify=("make test",))
    assert set(read_mapping(tmp_path / "harness.yaml")) == set(Settings.model_fields) - FOUND


def test_docs_are_told_and_no_line_is_too_long() -> None:
    text = as_yaml()
    assert "# Ordered from cheap to strong" in text
    assert "frozen record" not in text, "a section without a docstring inherits none"
    assert max(len(line) for line in text.splitlines()) < 125
    assert {key.name: key.section is not None for key in keys()}["tracker"]
