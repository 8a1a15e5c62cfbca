"""Who may look at what the gateway tells of itself: models, spend, requests."""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING

from harness.config.gateway_section import GatewaySettings
from harness.gateway.exchange import credential

if TYPE_CHECKING:
    from starlette.requests import Request


def may_look(settings: GatewaySettings, request: Request) -> bool:
    """Whoever is on this machine; others with one of the gateway's tokens, as `?token=` or as clients send it.

    The Host header is looked at too: a foreign site's name that resolves to this machine is still a foreign site.
    """
    if request.client is not None and _local(request.client.host) and _local(request.url.hostname or ""):
        return True
    headers = request.headers
    given = [request.query_params.get("token"), credential(headers), headers.get("x-harness-token")]
    tokens = [token.get_secret_value().encode() for token in settings.section.tokens]
    # All are compared, so that the time taken tells nothing.
    return any([hmac.compare_digest((one or "").encode(), token) for one in given for token in tokens])


def _local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in ("localhost", "testserver", "testclient")
