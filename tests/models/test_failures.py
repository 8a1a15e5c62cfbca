"""HTTP errors sorted by what helps."""

from __future__ import annotations

import email.utils
import time

import pytest

from harness.models.failures import failure_of, retry_after_seconds


@pytest.mark.parametrize(("status", "code", "kind"), [
    (429, "rate_limit_error", "transient"), (529, "overloaded_error", "transient"), (500, "api_error", "transient"),
    (503, "", "transient"), (408, "", "transient"), (409, "", "transient"), (504, "timeout_error", "transient"),
    (200, "overloaded_error", "transient"), (200, "api_error", "transient"), (200, "", "transient"),
    (200, "invalid_request_error", "request"), (200, "authentication_error", "auth"),
    (401, "authentication_error", "auth"), (403, "permission_error", "auth"), (401, "invalid_api_key", "auth"),
    (402, "", "quota"), (429, "insufficient_quota", "quota"), (400, "billing_error", "quota"),
    (404, "not_found_error", "model"), (400, "model_not_found", "model"),
    (400, "invalid_request_error", "request"), (413, "request_too_large", "request"), (422, "", "request"),
])  # fmt: skip
def test_kinds(status: int, code: str, kind: str) -> None:
    assert failure_of(status, "said", {}, code).kind == kind


def test_anthropics_low_balance_is_no_bad_request() -> None:
    said = "Your credit balance is too low to access the Anthropic API."
    assert failure_of(400, said, {}, "invalid_request_error").kind == "quota"


def test_retry_after_in_all_its_forms() -> None:
    assert retry_after_seconds({"retry-after": "7"}) == 7
    assert retry_after_seconds({"retry-after-ms": "1500", "retry-after": "2"}) == 1.5
    date = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert 55 < (retry_after_seconds({"retry-after": date}) or 0) <= 60
    past = email.utils.formatdate(time.time() - 60, usegmt=True)
    assert retry_after_seconds({"retry-after": past}) == 0
    assert retry_after_seconds({"retry-after": "soon"}) is None and retry_after_seconds({}) is None


def test_messages_are_one_bounded_line_without_secrets() -> None:
    failure = failure_of(500, "a\nb sk-ant-0123456789abcdefghij " + "x" * 1000, {})
    assert "\n" not in failure.message and "0123456789abcdefghij" not in failure.message and len(failure.message) <= 500
    assert str(failure).startswith("500: a b")
