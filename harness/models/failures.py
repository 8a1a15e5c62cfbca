"""What went wrong with one call, sorted by what helps: the adapters translate into it, the pool acts on it."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from typing import Literal

from harness.redact import redact
from harness.types import Usage

Kind = Literal["transient", "timeout", "auth", "quota", "model", "request", "nonsense"]
"""transient   the same call may work in a moment: 408, 409, 429, 5xx, 529, no connection, a broken stream
timeout     no answer in time; once more at most
auth        401, 403, no key: nobody gets further before a person acts
quota       the account is out of credit: this model not, another provider's perhaps
model       this model is not there (404): another one may be
request     every model would refuse it
nonsense    an answer that cannot be read; asking again may help"""


class Failure(Exception):
    """One call failed. `message` is the provider's, without secrets; `spent` is what it cost all the same."""

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        spent: Usage | None = None,
    ) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.message = redact(" ".join(message.split()))[:500]
        self.status = status
        self.retry_after = retry_after
        self.spent = spent

    def __str__(self) -> str:
        return f"{self.status}: {self.message}" if self.status else self.message


def failure_of(
    status: int, message: str, headers: Mapping[str, str], code: str = "", spent: Usage | None = None
) -> Failure:
    """An HTTP error as a Failure. `code` is the provider's own name for it (`insufficient_quota`, `overloaded_error`).

    A status of 200 is an error event in a stream that had begun well; its code alone tells what it is.
    """
    return Failure(
        _kind(status, code, message),
        message or code or "no reason was given",
        status=None if status < 400 else status,
        retry_after=retry_after_seconds(headers),
        spent=spent,
    )


def _kind(status: int, code: str, message: str) -> Kind:
    if code in ("insufficient_quota", "billing_error", "billing_not_active") or status == 402:
        return "quota"
    if status == 400 and "credit balance is too low" in message:
        return "quota"
    if code == "authentication_error" or code == "permission_error" or status in (401, 403):
        return "auth"
    if code in ("model_not_found", "not_found_error") or status == 404:
        return "model"
    if code == "invalid_request_error" and status < 500:
        return "request"
    if status < 400 or status in (408, 409, 425, 429, 499) or status >= 500:
        return "transient"
    return "request"


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as `Retry-After-Ms` or `Retry-After` (seconds, or an HTTP date) says; None without either."""
    milliseconds, given = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if milliseconds:
            return max(0.0, float(milliseconds) / 1000)
        if given:
            return max(0.0, float(given))
    except ValueError:
        if given and (date := email.utils.parsedate_tz(given)):
            return max(0.0, email.utils.mktime_tz(date) - time.time())
    return None
