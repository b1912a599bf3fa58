"""The files of ``scripts/deploy``: accepted by the programs they are for, and in agreement with the gateway."""

from __future__ import annotations

import asyncio
import re
import subprocess
from configparser import RawConfigParser
from pathlib import Path
from shutil import which
from typing import Any

import aiohttp
import yaml

from apipod_proxy.cli import normal, parser
from apipod_proxy.edge.server import DEFAULT_BOUNDS
from apipod_proxy.settings import BY_NAME, Settings
from tests.serve.conftest import KEY, Launch, chat, until

DEPLOY = Path(__file__).parents[2] / "scripts" / "deploy"
ROOT = DEPLOY.parents[1]


def unit() -> dict[str, str]:
    """The service section; of repeated names the last."""
    found = RawConfigParser(strict=False, allow_no_value=True)
    found.optionxform = str  # type: ignore[assignment, method-assign]
    found.read(DEPLOY / "apipod-proxy.service")
    return dict(found["Service"])


def nginx_binary() -> str:
    binary = which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    assert binary is not None, "nginx is needed for this test: apt-get install nginx-light"
    return binary


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    binary = nginx_binary()
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x"]
    subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    text = (DEPLOY / "nginx.conf").read_text()
    text = re.sub(r"/etc/letsencrypt/\S+fullchain.pem", str(certificate), text)
    text = re.sub(r"/etc/letsencrypt/\S+privkey.pem", str(key), text)
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}} http {{ access_log off;\n{text}\n}}"
    )
    checked = subprocess.run(
        [binary, "-t", "-p", tmp_path, "-c", tmp_path / "nginx.conf"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "syntax is ok" in checked.stderr, checked.stderr
    assert "warn" not in checked.stderr


async def test_behind_this_nginx_streams_flow_metrics_are_hidden_and_websockets_are_refused_at_once(
    launch: Launch, tmp_path: Path
) -> None:
    gateway = await launch()
    text = (DEPLOY / "nginx.conf").read_text().partition("\nserver {\n    listen 80;")[0]
    text = text.replace("127.0.0.1:8081", gateway.base.removeprefix("http://"))
    text = re.sub(r"listen .*|ssl_.*", "", text).replace(
        "server_name", f"listen unix:{tmp_path}/front; server_name"
    )
    folders = " ".join(
        f"{name}_temp_path {tmp_path}/{name};" for name in ("fastcgi", "uwsgi", "scgi", "proxy")
    )
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}} http {{ access_log off;"
        f" client_body_temp_path {tmp_path}/body; {folders}\n{text}\n}}"
    )
    nginx = await asyncio.create_subprocess_exec(
        nginx_binary(), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")
    )
    try:
        await until((tmp_path / "front").exists)
        connector = aiohttp.UnixConnector(str(tmp_path / "front"))
        headers = {"authorization": f"Bearer {KEY}"}
        async with aiohttp.ClientSession("http://front", connector=connector, headers=headers) as client:
            for _ in range(2):
                body = chat("sim-4-5", stream=True)
                async with client.post("/v1/chat/completions", json=body) as answer:
                    assert (await answer.text()).rstrip().endswith("data: [DONE]")
            async with client.get("/metrics") as answer:
                assert (answer.status, answer.headers["server"][:5]) == (404, "nginx")
            upgrade = {"connection": "Upgrade", "upgrade": "websocket"}
            async with client.get("/v1/responses", headers=upgrade) as answer:
                assert answer.status == 426
    finally:
        nginx.terminate()
        await nginx.wait()


def test_proxies_in_front_hold_nothing_back_and_let_go_of_idle_connections_first() -> None:
    nginx = (DEPLOY / "nginx.conf").read_text()
    assert "proxy_buffering off;" in nginx
    assert f"client_max_body_size {Settings().max_body_mb}m;" in nginx
    caddy = (DEPLOY / "Caddyfile").read_text()
    assert "flush_interval -1" in caddy
    assert f"max_size {Settings().max_body_mb}MiB" in caddy
    for pattern, text in ((r"keepalive_timeout (\d+)s", nginx), (r"keepalive (\d+)s", caddy)):
        found = re.search(pattern, text)
        assert found is not None
        assert int(found[1]) < DEFAULT_BOUNDS.keepalive_seconds


def test_the_unit_starts_what_there_is_and_waits_longer_than_the_grace() -> None:
    service = unit()
    assert service["Type"] == "notify"
    _, *arguments = service["ExecStart"].split()
    assert parser().parse_args(normal(arguments)).command == "serve"
    assert int(service["TimeoutStopSec"]) > Settings().shutdown_grace_seconds + Settings().drain_seconds
    assert int(service["LimitNOFILE"]) >= 20_000
    assert service["NoNewPrivileges"] == service["DynamicUser"] == "yes"
    assert service["ProtectSystem"] == "strict"
    # systemd gives this folder to root whoever the service's user is.
    assert int(service["ConfigurationDirectoryMode"], 8) & 0o005 == 0o005


def test_compose_names_settings_that_exist() -> None:
    compose: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    gateway = compose["services"]["gateway"]
    assert set(gateway["environment"]) <= set(BY_NAME)
    command = [re.sub(r"\$\{\w+:-(.*)\}", r"\1", word) for word in gateway["command"]]
    assert parser().parse_args(command).workers == 2
    assert int(gateway["stop_grace_period"].removesuffix("s")) > Settings().shutdown_grace_seconds
    assert {"postgres", "redis"} == set(gateway["depends_on"])
    assert gateway["volumes"][0]["bind"] == {"create_host_path": False}


def test_the_image_holds_what_the_build_needs_and_nothing_else() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    needed = {name for line in copied for name in line.split()}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert needed <= {line[1:] for line in ignored if line.startswith("!")}
    assert all((ROOT / name).exists() for name in needed)
