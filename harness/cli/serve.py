"""`harness serve`: the LLM gateway and the console."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import logging
import sys
from typing import Any

from harness.cli.common import common_options, repository_root, say
from harness.cli.options import port
from harness.config.gateway import gateway_settings, is_foreign
from harness.config.reading import environment, read_mapping
from harness.config.settings import Settings, load_settings
from harness.gateway import console
from harness.gateway.app import application
from harness.gateway.build import build_gateway
from harness.gateway.runs_page import console_token
from harness.gateway.server import check_exposure, listen, server
from harness.redact import redact, register, register_environment

EXAMPLES = """examples:
  harness serve                                     # 127.0.0.1:3456; decisions need no key
  harness serve -c plano_config.yaml                # Plano's own file, unchanged; or TOML with [router]
  ANTHROPIC_BASE_URL=http://localhost:3456 claude   # in another terminal
  curl -s localhost:3456/routing/v1/messages -d '{"model":"gpt-4o-mini","max_tokens":1024,
    "messages":[{"role":"user","content":"Write binary search in Python"}]}'
"""


def configure(parser: argparse.ArgumentParser) -> None:
    common_options(parser)
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1); any other needs gateway > tokens")
    parser.add_argument("--port", type=port, help="port (default: 3456; 0 takes a free one)")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")


def run(arguments: argparse.Namespace) -> int:
    root = repository_root(arguments.repo)
    foreign = arguments.config is not None and is_foreign(read_mapping(arguments.config))
    settings = load_settings(root, None if foreign else arguments.config)
    built = gateway_settings(settings, arguments.config if foreign else None)
    changes = {name: value for name in ("host", "port") if (value := getattr(arguments, name)) is not None}
    built = built.model_copy(update={"section": built.section.model_copy(update=changes)})
    check_exposure(built)
    _log_to_stderr(arguments.log_level)
    register_environment(environment())
    register(target.api_key.get_secret_value() for target in built.targets.values() if target.api_key)
    register(token.get_secret_value() for token in built.section.tokens)
    for warning in built.warnings:
        say(f"warning: {warning}")
    sockets = listen(built.section.host, built.section.port)
    host, bound = sockets.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{bound}"
    token = console_token(settings)
    gateway = build_gateway(built, settings)
    app = application(gateway, [*console.routes(gateway), *_more_routes(settings, token)])
    if arguments.json:
        print(json.dumps({"url": url, "source": built.source}), flush=True)
    say(f"harness gateway on {url} (configuration: {built.source}); requests are shown there in a browser")
    say(f"runs page: {_runs_link(url, token, settings)}")
    running = server(app, built)
    app.state.stopping = lambda: running.should_exit
    if running.config.loop == "uvloop":
        importlib.import_module("uvloop").run(running.serve(sockets=[sockets]))
    else:
        running.run(sockets=[sockets])
    return 0


def _runs_link(url: str, token: str, settings: Settings) -> str:
    """The link that may cancel and resume, for a person at a terminal; a log gets no secret."""
    if sys.stderr.isatty():
        return f"{url}/runs?token={token} (the token is for cancelling and resuming)"
    return f"{url}/runs (the token for cancelling and resuming: {settings.state / 'console-token'})"


def _more_routes(settings: Any, token: str) -> list[Any]:
    """The runs page, where it is installed."""
    if importlib.util.find_spec("harness.gateway.runs_page") is None:
        return []
    page = importlib.import_module("harness.gateway.runs_page")
    report = importlib.import_module("harness.report.html").run_report
    outcomes = importlib.import_module("harness.report.period").report_of
    return list(page.routes(settings, token, report, outcomes))


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Redacting("%(levelname)s: %(message)s"))
    root = logging.getLogger("harness")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    serving = logging.getLogger("uvicorn")  # its warnings are about clients' mistakes, and advise a WebSocket library
    serving.handlers[:] = [handler]
    serving.setLevel("ERROR")
