"""`python -m tests.wire --script FILE --port N`: the scripted server by hand, for curl and for real clients."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from harness.models.script import read_script
from tests.wire.server import WireServer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.wire", description=__doc__)
    parser.add_argument("--script", type=Path, required=True, help="file of replies (format: harness/models/script.py)")
    parser.add_argument("--port", type=int, default=8900)
    parser.add_argument("--key", help="refuse other keys with 401")
    arguments = parser.parse_args()
    with WireServer(read_script(arguments.script), key=arguments.key, port=arguments.port) as server:
        print(f"listening on {server.url} (Anthropic Messages, OpenAI Chat Completions and Responses)", flush=True)
        shown = 0
        while True:
            for request in server.requests[shown:]:
                shown += 1
                told = f" → {request.facts}" if request.wire else ""
                print(
                    f"{request.method} {request.path}{'?' + request.query if request.query else ''}{told}", flush=True
                )
            time.sleep(0.2)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
