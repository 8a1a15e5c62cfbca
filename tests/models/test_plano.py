"""Plano: running somewhere, or in a container of ours, and the way around it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from harness.budget import Meter
from harness.config.settings import Settings
from harness.errors import ConfigError, MissingTool, ModelAuthError, ModelUnavailable
from harness.models.plano import PlanoModelClient, connect
from harness.models.plano_container import PlanoContainer
from harness.types import Budget
from tests.contracts.model_client import HAIKU, asks
from tests.fakes.docker import StandIn, install
from tests.wire import WireServer

SECRET = "sk-proj-abcdefghij0123456789"
NOBODY = "http://127.0.0.1:9"


def proxied(url: str, direct: str = NOBODY, fallback: bool = True) -> PlanoModelClient:
    settings = Settings.model_validate(
        {
            "models": {"retries": 0},
            "routing": {"mode": "plano_proxy", "proxy": {"base_url": url, "timeout": 5}, "fallback": fallback},
            "providers": {"anthropic": {"base_url": direct}},
        }
    )
    return connect(settings, {})


class TestProxy:
    async def test_the_full_name_goes_to_the_egress_and_the_reply_says_who_served_it(self) -> None:
        with WireServer([{"text": "ok"}]) as plano:
            client = proxied(plano.url, fallback=False)
            reply = await client.complete(asks(), Meter())
            assert (plano.calls[0].path, plano.calls[0].body["model"]) == ("/v1/chat/completions", HAIKU.models[0])
            assert reply.model == HAIKU.models[0] and "fallback" not in reply.metadata
            await client.aclose()

    @pytest.mark.parametrize(("served", "model", "priced"), [
        ("claude-sonnet-5-5", "anthropic/claude-sonnet-5-5", True), ("openai/gpt-4o", "openai/gpt-4o", True),
        ("nobody-knows-it", "plano/nobody-knows-it", False),
    ])  # fmt: skip
    async def test_a_model_that_plano_chose_is_named_and_priced_as_itself(
        self, served: str, model: str, priced: bool
    ) -> None:
        with WireServer(lambda request: request.body.update(model=served) or {"text": "ok"}) as plano:
            client = proxied(plano.url)
            reply = await client.complete(asks(), Meter())
            assert reply.model == reply.call.model == model
            assert (reply.call.usage.unpriced_requests == 0) is priced
            await client.aclose()

    async def test_a_key_that_plano_lacks_is_planos_matter(self) -> None:
        with WireServer([{"error": {"kind": "auth"}}]) as plano:
            client = proxied(plano.url, fallback=False)
            with pytest.raises(ModelAuthError, match="plano refused the key") as caught:
                await client.complete(asks(), Meter())
            assert plano.url in str(caught.value.hint) and "export" not in str(caught.value.hint)
            await client.aclose()


class TestFallback:
    @pytest.mark.parametrize(
        "answer", [{"kind": "server"}, {"kind": "auth"}, {"kind": "bad_request"}, {"kind": "not_found"}]
    )
    async def test_what_plano_cannot_serve_the_provider_does(self, answer: dict[str, Any]) -> None:
        with WireServer([{"error": answer}]) as plano, WireServer([{"text": "direct"}]) as provider:
            client = proxied(plano.url, provider.url)
            meter = Meter()
            reply = await client.complete(asks(), meter)
            assert reply.text == "direct" and reply.metadata["fallback"] is True and meter.usage.requests == 1
            assert "Plano did not serve this" in reply.metadata["warnings"][0]
            assert provider.calls[0].path == "/v1/messages"
            await client.aclose()

    async def test_both_reasons_are_told_when_both_ways_are_closed(self) -> None:
        with WireServer([{"error": {"kind": "rate_limited", "message": "slow down"}}]) as provider:
            client = proxied(NOBODY, provider.url)
            with pytest.raises(ModelUnavailable) as caught:
                await client.complete(asks(), Meter())
            said = str(caught.value)
            assert "Plano:" in said and "cannot reach" in said and "directly:" in said and "slow down" in said
            await client.aclose()

    async def test_without_it_planos_failure_is_the_end(self) -> None:
        with WireServer([{"text": "never"}]) as provider:
            client = proxied(NOBODY, provider.url, fallback=False)
            with pytest.raises(ModelUnavailable, match="cannot reach"):
                await client.complete(asks(), Meter())
            assert not provider.calls
            await client.aclose()


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[StandIn]:
    stand_in = install(tmp_path / "bin", "replies: [{text: from the container}]")
    yield stand_in
    stand_in.kill()


def embedded(docker: StandIn, root: Path, port: int, **routing: Any) -> Settings:
    (root / "plano_config.yaml").write_text("version: v0.4.0\n")
    place = {"config_path": "plano_config.yaml", "ports": {"ingress": port + 1, "egress": port}}
    place["env"] = {"OPENAI_API_KEY": SECRET}
    data = {"mode": "plano_embedded", "embedded": place, **routing}
    return Settings.model_validate({"root": root, "models": {"retries": 0}, "routing": data})


def on_path(docker: StandIn) -> dict[str, str]:
    return {"PATH": f"{docker.folder}:{os.environ['PATH']}", "HOME": os.environ["HOME"], "UNRELATED_TOKEN": "no"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


class TestEmbedded:
    async def test_a_container_is_started_asked_and_removed(self, docker: StandIn, tmp_path: Path) -> None:
        port = free_port()
        client = connect(embedded(docker, tmp_path, port), on_path(docker))
        assert not docker.runs(), "nothing starts before the first call"
        for _ in range(2):
            assert (await client.complete(asks(), Meter())).text == "from the container"
        argv = docker.argv()
        assert len(docker.runs()) == 1 and argv[-1] == "katanemo/plano:0.4.0"
        assert f"{tmp_path}/plano_config.yaml:/app/plano_config.yaml:ro" in argv
        assert f"127.0.0.1:{port}:12000" in argv and f"127.0.0.1:{port + 1}:10000" in argv
        assert argv[argv.index("--env") + 1] == "OPENAI_API_KEY" and SECRET not in " ".join(argv)
        assert docker.environment()["OPENAI_API_KEY"] == SECRET and "UNRELATED_TOKEN" not in docker.environment()
        await client.aclose()
        assert not docker.alive() and docker.calls()[-1] == "rm"

    async def test_a_container_that_died_is_started_again(self, docker: StandIn, tmp_path: Path) -> None:
        client = connect(embedded(docker, tmp_path, free_port()), on_path(docker))
        await client.complete(asks(), Meter())
        docker.kill()
        assert (await client.complete(asks(), Meter())).text == "from the container"
        assert len(docker.runs()) == 2
        await client.aclose()

    async def test_a_container_that_dies_in_the_middle_of_a_call_is_too(self, docker: StandIn, tmp_path: Path) -> None:
        (docker.folder / "script.yaml").write_text("replies: [{text: slow, seconds: 1}]")
        client = connect(embedded(docker, tmp_path, free_port()), on_path(docker))
        answers: list[str] = []

        async def ask() -> None:
            answers.append((await client.complete(asks(), Meter())).text)

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            while not docker.served():
                await anyio.sleep(0.02)
            docker.kill()
        assert answers == ["slow"] and len(docker.runs()) == 2
        await client.aclose()

    async def test_what_a_killed_process_left_behind_is_replaced(self, docker: StandIn, tmp_path: Path) -> None:
        settings = embedded(docker, tmp_path, free_port())
        left = connect(settings, on_path(docker))
        await left.complete(asks(), Meter())
        fresh = connect(settings, on_path(docker))
        assert (await fresh.complete(asks(), Meter())).text == "from the container"
        assert docker.calls()[0] == "rm" and docker.calls().count("run") == 2
        await fresh.aclose()
        await left.aclose()

    async def test_dockers_own_words_are_told_without_secrets(self, docker: StandIn, tmp_path: Path) -> None:
        (docker.folder / "refuse").write_text(f"docker: pull access denied; OPENAI_API_KEY={SECRET}")
        client = connect(embedded(docker, tmp_path, free_port()), on_path(docker))
        with pytest.raises(ModelUnavailable, match="pull access denied") as caught:
            await client.complete(asks(), Meter())
        assert SECRET not in str(caught.value)
        await client.aclose()

    async def test_with_fallback_a_container_that_cannot_start_is_gone_around(
        self, docker: StandIn, tmp_path: Path
    ) -> None:
        (docker.folder / "refuse").write_text("docker: no space left on device")
        with WireServer([{"text": "direct"}]) as provider:
            settings = embedded(docker, tmp_path, free_port(), fallback=True)
            variables = on_path(docker) | {"ANTHROPIC_BASE_URL": provider.url}
            client = connect(settings, variables)
            reply = await client.complete(asks(), Meter())
            assert reply.text == "direct" and "no space left" in reply.metadata["warnings"][0]
            await client.aclose()

    async def test_a_container_that_never_gets_healthy_tells_its_log(self, docker: StandIn, tmp_path: Path) -> None:
        (docker.folder / "mute").touch()
        settings = embedded(docker, tmp_path, free_port()).routing.embedded
        assert settings is not None
        container = PlanoContainer(settings, tmp_path, on_path(docker), start_seconds=0.5)
        with pytest.raises(ModelUnavailable, match=r"cannot read plano_config\.yaml: line 3"):
            await container.start()
        assert not docker.alive()

    async def test_without_docker_the_cure_is_told(self, docker: StandIn, tmp_path: Path) -> None:
        client = connect(embedded(docker, tmp_path, free_port()), {"PATH": str(tmp_path / "nothing")})
        with pytest.raises(MissingTool, match="docker") as caught:
            await client.complete(asks(), Meter())
        assert "plano_proxy" in str(caught.value.hint)

    async def test_a_missing_configuration_is_named(self, docker: StandIn, tmp_path: Path) -> None:
        settings = embedded(docker, tmp_path, free_port())
        (tmp_path / "plano_config.yaml").unlink()
        with pytest.raises(ConfigError, match="config_path: no such file"):
            await connect(settings, on_path(docker)).complete(asks(), Meter())
        assert not docker.calls()

    async def test_many_tasks_at_once_start_one_container(self, docker: StandIn, tmp_path: Path) -> None:
        client = connect(embedded(docker, tmp_path, free_port()), on_path(docker))
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(client.complete, asks(f"t{number}"), Meter(Budget(calls=1)))
        assert len(docker.runs()) == 1
        await client.aclose()
