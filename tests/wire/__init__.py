"""A scripted model server on the true wire formats, for every test that needs one. See `server.WireServer`."""

from tests.wire.server import WireRequest, WireServer

__all__ = ["WireRequest", "WireServer"]
