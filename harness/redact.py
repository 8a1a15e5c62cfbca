"""Text without credentials: what is journaled, logged, commented or reported passes through `redact` first.

Two nets. Exact values: whatever was configured as a secret is registered at start and found wherever it stands.
Patterns: keys that a repository, a tool's output or an issue may hold, recognised by their issuers' published
prefixes, so that commit ids, hashes and base64 stay what they are.

The scanners in the registries (detect-secrets and its kind) judge files line by line by entropy and keep a baseline
of accepted findings; they give no span to cut out and mistake every commit id for a secret, so they do not fit here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "[redacted]"

_PREFIXED = (
    r"sk-ant-[A-Za-z0-9_-]{16,}",  # Anthropic
    r"sk-or-v1-[0-9a-f]{32,}",  # OpenRouter
    r"sk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{20,}",  # OpenAI and those that follow its form
    r"(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,}",  # GitHub
    r"glpat-[A-Za-z0-9_-]{20,}",  # GitLab
    r"(?:AKIA|ASIA)[0-9A-Z]{16}",  # AWS access key ids
    r"AIza[A-Za-z0-9_-]{35}",  # Google
    r"gsk_[A-Za-z0-9]{40,}|xai-[A-Za-z0-9]{40,}|hf_[A-Za-z0-9]{30,}|dop_v1_[0-9a-f]{64}",  # Groq, xAI, Hugging Face, DO
    r"xox[abposr]-[A-Za-z0-9-]{10,}",  # Slack
    r"[sr]k_live_[A-Za-z0-9]{20,}|whsec_[A-Za-z0-9]{24,}",  # Stripe
    r"npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{60,}",  # package registries
    r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",  # JSON web tokens
)

_PATTERNS = re.compile(
    r"(?P<pem>-----BEGIN (?P<label>[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?)-----.*?(?:-----END (?P=label)-----|\Z))"
    r"|(?<![A-Za-z0-9_-])(?:" + "|".join(_PREFIXED) + r")(?![A-Za-z0-9])"
    # What follows a name that says it is a secret; the name stays, so that the line still tells what it was.
    r"|(?P<name>\b(?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?(?:bearer|basic|token)?\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<header>\bx-api-key[\"']?\s*[:=]\s*[\"']?)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<bearer>\bbearer\s+)(?=[A-Za-z0-9._~+/=-]*[0-9])[A-Za-z0-9._~+/=-]{20,}"
    r"|(?P<aws>\baws_(?:secret_access_key|session_token)[\"']?\s*[:=]\s*[\"']?)[A-Za-z0-9/+=]{20,}"
    # A password inside a URL: postgresql://user:password@host
    r"|(?P<url>\b[a-z][a-z0-9+.-]*://[^\s/:@\"']*:)[^\s/@\"']{1,256}(?=@)",
    re.DOTALL | re.IGNORECASE,
)

_HINTS = re.compile(r"sk-|gh[pousr]_|github_pat|glpat|A[KS]IA|AIza|gsk_|xai-|hf_|dop_v1|xox|k_live|whsec|npm_|pypi-|eyJ"
                    r"|BEGIN|authorization|api-key|bearer|aws_|://", re.IGNORECASE)  # fmt: skip
"""No match, no need for the slower patterns; most text has none."""

_CREDENTIAL_NAME = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|AUTH)(?:_|$)|_DSN$",
                              re.IGNORECASE)  # fmt: skip

_known: set[str] = set()
_exact: re.Pattern[str] | None = None


def register(values: Iterable[str]) -> None:
    """Hide these exact values from now on, in the whole process. Values under 8 characters would blot out words and
    are left alone."""
    global _exact
    _known.update(value for value in values if len(value) >= 8)
    longest_first = sorted(_known, key=len, reverse=True)
    _exact = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def register_environment(environment: Mapping[str, str]) -> None:
    """Hide the values of all variables whose name says credential: `…_KEY`, `…_TOKEN`, `…_SECRET`, …"""
    register(value for name, value in environment.items() if is_credential_name(name))


def is_credential_name(name: str) -> bool:
    """Whether an environment variable of this name should be taken for a secret."""
    return bool(_CREDENTIAL_NAME.search(name))


def redact(text: str) -> str:
    """The text with every credential in it replaced by `[redacted]`; the same object when there is none."""
    if _exact is not None:
        text = _exact.sub(MASK, text)
    return _PATTERNS.sub(_masked, text) if _HINTS.search(text) else text


def redact_json(data: Any) -> Any:
    """Plain JSON data with every string in it redacted; names of keys stay."""
    if isinstance(data, str):
        return redact(data)
    if isinstance(data, dict):
        return {key: redact_json(value) for key, value in data.items()}
    if isinstance(data, list):
        return [redact_json(value) for value in data]
    return data


def _masked(match: re.Match[str]) -> str:
    kept = match["name"] or match["header"] or match["bearer"] or match["aws"] or match["url"] or ""
    return kept + MASK
