"""Credentials go, everything else stays."""

from __future__ import annotations

import pytest

from harness.redact import is_credential_name, redact, redact_json, register

B64 = "A1b2C3d4E5f6G7h8I9j0" * 3


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("key sk-ant-api03-" + B64 + "-AA end", "key [redacted] end"),
        ("OPENAI=sk-proj-" + B64, "OPENAI=[redacted]"),
        ("ghp_" + B64[:36] + ", github_pat_" + B64 + B64, "[redacted], [redacted]"),
        ("AKIAIOSFODNN7EXAMPLE", "[redacted]"),
        ("aws_secret_access_key = " + B64[:40], "aws_secret_access_key = [redacted]"),
        ("Authorization: Bearer abc.def-123456", "Authorization: Bearer [redacted]"),
        ('{"authorization": "Basic dXNlcjpwYXNz"}', '{"authorization": "Basic [redacted]"}'),
        ("x-api-key: 0123456789abcdef", "x-api-key: [redacted]"),
        ("postgresql://me:s3cret@db/x", "postgresql://me:[redacted]@db/x"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nrest", "[redacted]\nrest"),
        ("cut off -----BEGIN PRIVATE KEY-----\nabc", "cut off [redacted]"),
        ("xoxb-1234567890-abcdef, glpat-" + B64[:20], "[redacted], [redacted]"),
    ],
)
def test_secrets_are_cut_out(text: str, clean: str) -> None:
    assert redact(text) == clean
    assert redact(clean) == clean


@pytest.mark.parametrize(
    "text",
    [
        "commit 9d1b3c0d3f0a4b2c8e7f6a5b4c3d2e1f0a9b8c7d",
        "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "a task-force of risk-averse disk-management-professionals",
        "https://example.org:8080/a@b",
        "the bearer of this letter has understood",
        "def authorization(self): ...",
        "eyJ is how a token begins",
    ],
)
def test_other_text_is_left_alone(text: str) -> None:
    assert redact(text) is text


def test_registered_values_go_wherever_they_stand() -> None:
    register(["hunter2-hunter2", "hunter2-hunter2-longer", "short"])
    assert redact("xhunter2-hunter2-longery short") == "x[redacted]y short"


def test_json_keeps_its_shape() -> None:
    data = {"sk-ant-" + B64: [1, None, {"a": "ghp_" + B64[:36]}]}
    assert redact_json(data) == {"sk-ant-" + B64: [1, None, {"a": "[redacted]"}]}


@pytest.mark.parametrize(("name", "is_one"), [("OPENAI_API_KEY", True), ("GITHUB_TOKEN", True), ("KEYBOARD", False),
                                               ("DATABASE_DSN", True), ("PATH", False), ("AUTHOR", False)])  # fmt: skip
def test_names_of_credentials(name: str, is_one: bool) -> None:
    assert is_credential_name(name) is is_one
