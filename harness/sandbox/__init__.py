"""Programs confined to one worktree: no network, no home, no credentials, nothing left running afterwards."""

from harness.sandbox.confined import Mode, Sandbox, sweep_scratch
from harness.sandbox.probing import Probe, detect, probe

__all__ = ["Mode", "Probe", "Sandbox", "detect", "probe", "sweep_scratch"]
