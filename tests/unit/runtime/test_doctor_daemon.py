"""Doctor of daemons that serve: gateway and MAP server."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from gateway import cli as gateway_cli
from ifmap import cli as map_cli
from lab.pki import Authority, Credentials
from runtime.doctor_daemon import check_listening, check_server, gather_listening, gather_server, told
from runtime.errors import ExitCode
from runtime.findings import Level
from runtime.listen import Listen


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    return Authority(tmp_path / "pki").gateway("vpn.example.net", ["127.0.0.1"])


def tls(credentials: Credentials) -> str:
    return f'[tls]\nca = "{credentials.ca}"\ncertificate = "{credentials.certificate}"\nkey = "{credentials.key}"\n'


def judged(capsys: pytest.CaptureFixture[str], code: int) -> dict[str, Any]:
    assert code == ExitCode.DEGRADED, "the daemon isn't running"
    return {row["check"]: row for row in json.loads(capsys.readouterr().out)["items"]}


def test_who_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ports = gather_listening()
        assert port in ports
        here = Listen.parse(f"127.0.0.1:{port}")
        assert [one.state for one in check_listening([here], ports, True)] == [Level.OK]
        (taken,) = check_listening([here], ports, False)
        assert (taken.state, taken.detail) == (Level.WARNING, "another program listens at this port")
    (gone,) = check_listening([here], frozenset(), True)
    assert (gone.state, f"sport = :{port}" in gone.hint) == (Level.FAILED, True)
    assert [one.state for one in check_listening([here, Listen.parse("[::]:0")], frozenset(), False)] == [Level.OK] * 2


def test_listening_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "proc/self/net").mkdir(parents=True)
    (tmp_path / "proc/self/net/tcp").write_text(
        "  sl  local_address rem_address   st\n   0: 0100007F:1466 00000000:0000 0A\n   1: 0100007F:0050 0:0 01\n\n"
    )
    assert gather_listening(tmp_path) == frozenset({5222})


def test_a_server_that_is_needed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = Listen.parse(f"127.0.0.1:{server.getsockname()[1]}")
        (there,) = check_server("XMPP server", gather_server(where))
        assert (there.state, there.detail) == (Level.OK, "accepts connections")
    (gone,) = check_server("XMPP server", gather_server(where))
    assert (gone.state, gone.detail) == (Level.FAILED, "Connection refused")
    assert "is it running" in gone.hint


def test_a_component_looks_for_its_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter22")
    secret.chmod(0o600)
    path = tmp_path / "gateway.toml"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        path.write_text(
            f'[gateway]\ndomain = "vpn.example.net"\n[state]\ndirectory = "{tmp_path}"\n'
            f'[xmpp]\nmode = "component"\nport = {port}\nsecret_file = "{secret}"\n'
        )
        code = gateway_cli.main(["--socket", str(tmp_path / "none"), "doctor", "-j", "--config", str(path)])
    found = judged(capsys, code)
    assert found["configuration"]["state"] == found[f"XMPP server 127.0.0.1:{port}"]["state"] == "ok"
    assert found[f"xmpp.secret_file {secret}"]["state"] == "ok"


def test_problems_are_findings() -> None:
    assert [row["state"] for row in told([])] == ["ok"]
    (row,) = told([("peer x", "is away", "start it")])
    assert row == {"check": "peer x", "state": "failed", "detail": "is away", "hint": "start it"}


def test_a_gateway(tmp_path: Path, credentials: Credentials, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gateway.toml"
    secret = tmp_path / "secret"
    secret.write_text("hunter22")
    secret.chmod(0o604)
    path.write_text(
        f'[gateway]\ndomain = "vpn.example.net"\nlisten = ["127.0.0.1:0"]\n[state]\ndirectory = "{tmp_path}"\n'
        f'{tls(credentials)}[[host]]\nname = "hv1"\naddresses = ["192.0.2.11"]\npassword_file = "{secret}"\n'
    )
    code = gateway_cli.main(["--socket", str(tmp_path / "none"), "doctor", "-j", "--config", str(path)])
    found = judged(capsys, code)
    assert found["daemon"]["state"] == "failed"
    assert found[f"certificate {credentials.certificate}"]["state"] == "ok"
    assert found[f"password of host hv1 {secret}"]["state"] == "warning"
    assert found["configuration"]["state"] == "failed", "such a secret isn't taken"
    assert found[f"state directory {tmp_path}"]["state"] == "ok"
    assert found["port 127.0.0.1:0"]["state"] == "ok"
    assert "clock" in found


def test_a_map_server(tmp_path: Path, credentials: Credentials, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "map.toml"
    path.write_text(
        f'[map]\nlisten = ["127.0.0.1:0"]\n[store]\nurl = "sqlite:///{tmp_path}/map.db"\n{tls(credentials)}'
    )
    code = map_cli.main(["--socket", str(tmp_path / "none"), "doctor", "-j", "--config", str(path)])
    found = judged(capsys, code)
    assert found["configuration"]["state"] == "ok"
    assert found[f"certificate {credentials.ca}"]["state"] == "ok"
    assert found[f"state directory {tmp_path}"]["state"] == "ok"


@pytest.mark.parametrize("main", [gateway_cli.main, map_cli.main])
def test_without_a_configuration(main: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    none = str(tmp_path / "none")
    found = judged(capsys, main(["--socket", none, "doctor", "-j", "--config", none]))
    assert "no such file" in found["configuration"]["detail"]
    assert "clock" in found
