"""Inside the sandbox: a port on its own loopback that leads to the model's door, and the agent beside it.

    relay.py PORT SOCKET COMMAND…

Standard library only: run as `python -I -S relay.py`. Ends with the command's exit code.
"""

from __future__ import annotations

import os
import socket
import sys
import threading


def main(arguments: list[str]) -> int:
    port, path, *command = arguments
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=64)
    child = os.fork()  # before any thread
    if child == 0:
        listener.close()
        try:
            os.execvp(command[0], command)
        except OSError as error:
            sys.stderr.write(f"cannot run '{command[0]}': {error.strerror}\n")
            os._exit(127)
    threading.Thread(target=_accept, args=(listener, path), daemon=True).start()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


def _accept(listener: socket.socket, path: str) -> None:
    while True:
        inside, _ = listener.accept()
        outside = socket.socket(socket.AF_UNIX)
        try:
            outside.connect(path)
        except OSError:
            inside.close()
            continue
        threading.Thread(target=_pump, args=(inside, outside), daemon=True).start()
        threading.Thread(target=_pump, args=(outside, inside), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for end, how in ((source, socket.SHUT_RD), (sink, socket.SHUT_WR)):
        try:
            end.shutdown(how)
        except OSError:
            pass  # the other thread was first


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
