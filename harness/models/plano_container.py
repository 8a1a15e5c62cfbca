"""Plano in Docker, owned by this process: started when first needed, watched by its health, gone when we are.

Image, mount point and ports are those of Plano's deployment guide (docs.planoai.dev, "Deployment"). Values of variables
travel in the environment of the `docker` process; its arguments hold their names alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import anyio
import httpx2

from harness import proc
from harness.config.settings import EmbeddedSettings
from harness.errors import ConfigError, MissingTool, ModelUnavailable
from harness.redact import redact, register

CONFIG_INSIDE = "/app/plano_config.yaml"
PORTS_INSIDE = {"ingress": 10000, "egress": 12000}
START_SECONDS = 60.0
"""For the first answer on `/healthz`; pulling the image comes before and has its own time."""
PULL_SECONDS = 900.0
PASSED_ON = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY")


class PlanoContainer:
    """One container; `start` may be called by many tasks at once and before every call."""

    def __init__(
        self, settings: EmbeddedSettings, root: Path, variables: Mapping[str, str], start_seconds: float = START_SECONDS
    ) -> None:
        self._settings = settings
        self._config = settings.config_path if settings.config_path.is_absolute() else root / settings.config_path
        self._secrets = {name: value.get_secret_value() for name, value in settings.env.items()}
        register(self._secrets.values())
        self._environment = {name: variables[name] for name in PASSED_ON if name in variables} | self._secrets
        self._start_seconds = start_seconds
        self._lock = anyio.Lock()
        self._started = False
        self.port = settings.ports.get("egress", PORTS_INSIDE["egress"])
        self.name = f"harness-plano-{self.port}"
        """The same for the same port, so that what a killed process left behind is found and replaced."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, again: bool = False) -> None:
        """Return once Plano answers; `again` looks whether a started one still lives, and replaces it if not.

        Raises ConfigError, MissingTool (no docker) or ModelUnavailable (with the container's log).
        """
        async with self._lock:
            if self._started and (not again or await self.running()):
                return
            if not self._config.is_file():
                raise ConfigError("routing > embedded", ("config_path",), f"no such file: {self._config}")
            await self._docker("rm", "--force", self.name)
            began = await self._docker(*self._run_arguments(), timeout=PULL_SECONDS)
            if not began.ok:
                said = redact(began.output.strip())[-600:]
                raise ModelUnavailable(f"docker could not start {self._settings.image}: {said}", "try: docker info")
            self._started = True
            await self._wait_until_healthy()

    async def running(self) -> bool:
        """Whether the container is alive."""
        told = await self._docker("inspect", "--format", "{{.State.Running}}", self.name)
        return told.ok and told.stdout.strip() == "true"

    async def stop(self) -> None:
        """Remove the container; silent when there is none."""
        if self._started:
            self._started = False
            with anyio.CancelScope(shield=True):
                await self._docker("rm", "--force", self.name)

    def _run_arguments(self) -> list[str]:
        arguments = ["run", "--detach", "--name", self.name]
        arguments += ["--volume", f"{self._config.resolve()}:{CONFIG_INSIDE}:ro"]
        for name, outside in self._settings.ports.items():
            arguments += ["--publish", f"127.0.0.1:{outside}:{PORTS_INSIDE.get(name, outside)}"]
        for name in self._secrets:
            arguments += ["--env", name]
        return [*arguments, self._settings.image]

    async def _wait_until_healthy(self) -> None:
        async with httpx2.AsyncClient(timeout=2.0, trust_env=False) as client:
            with anyio.move_on_after(self._start_seconds):
                while True:
                    try:
                        if (await client.get(f"{self.url}/healthz")).status_code == 200:
                            return
                    except httpx2.TransportError:
                        if not await self.running():
                            break
                    await anyio.sleep(0.25)
        log = redact((await self._docker("logs", "--tail", "20", self.name)).output.strip())[-1500:]
        await self._docker("rm", "--force", self.name)
        self._started = False
        raise ModelUnavailable(
            f"Plano did not come up on {self.url}/healthz; its last words: {log or '(none)'}",
            f"check {self._config} with: planoai up {self._config}",
        )

    async def _docker(self, *arguments: str, timeout: float = 30.0) -> proc.Completed:
        try:
            return await proc.run(["docker", *arguments], env=self._environment, timeout=timeout)
        except MissingTool as error:
            raise MissingTool(
                error.message, "install Docker, or set routing > mode to plano_proxy, policy or direct"
            ) from None
