"""The daemon's command line: what stops it before it serves."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.attachment import Attached, VpnRecord, parse_attach
from agent.config import AgentConfig
from agent.main import _ranges, main, session_settings
from agent.store import State, Store
from lab.pki import Authority, Credentials
from runtime.config import load
from runtime.errors import ExitCode


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    return Authority(tmp_path / "pki").host("hv1", "vpn.example.net", ["192.0.2.11"])


def write(tmp_path: Path, credentials: Credentials, more: str = "", **changes: str) -> Path:
    values = {
        "name": "hv1",
        "address": "192.0.2.11",
        "ca": str(credentials.ca),
        "certificate": str(credentials.certificate),
        "key": str(credentials.key),
        **changes,
    }
    path = tmp_path / "agent.toml"
    path.write_text(
        '[host]\nname = "{name}"\naddress = "{address}"\n'
        '[tls]\nca = "{ca}"\ncertificate = "{certificate}"\nkey = "{key}"\n'.format(**values)
        + f'[state]\ndirectory = "{tmp_path}/state"\n[control]\nsocket = "{tmp_path}/sock"\n{more}'
    )
    return path


GATEWAY = '[[gateway]]\naddress = "192.0.2.1"\ndomain = "VPN.example.net"\n'


def test_a_good_configuration(tmp_path: Path, credentials: Credentials, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(write(tmp_path, credentials, GATEWAY)), "--check"]) == ExitCode.OK
    assert capsys.readouterr().out == "configuration ok\n"
    assert not (tmp_path / "state").exists(), "a check changes nothing"


@pytest.mark.parametrize(
    ("more", "changes", "message"),
    [
        ("", {"address": "192.0.2"}, "host.address"),
        ("", {"address": "2001:db8::1"}, "host.address"),
        ("", {"name": "hv 1"}, "host.name"),
        ("", {"ca": "/no/such/file"}, "certificates /no/such/file: No such file"),
        ("[datapath]\nlabel_base = 3\n", {}, "label_base"),
        ("[datapath]\nlabel_base = 1048570\n", {}, "label_base + label_count"),
        ("[datapath]\ntable_base = 200\n", {}, "table_base"),
        ('[datapath]\nencapsulations = ["vxlan"]\n', {}, "encapsulations"),
        ("[datapath]\nencapsulations = []\n", {}, "encapsulations"),
        ("[datapath]\nunderlay_mtu = 100\n", {}, "underlay_mtu"),
        ("[signaling]\nhold_time = 0\n", {}, "hold_time"),
        (GATEWAY + GATEWAY, {}, "the same address and port"),
        ('[control]\nsocket = "x"\n', {}, "not TOML"),
        ("[signalling]\n", {}, "did you mean signaling?"),
        (GATEWAY + 'password_file = "/no/such/file"\n', {}, "secret /no/such/file"),
    ],
)
def test_a_bad_configuration(
    tmp_path: Path,
    credentials: Credentials,
    capsys: pytest.CaptureFixture[str],
    more: str,
    changes: dict[str, str],
    message: str,
) -> None:
    assert main(["--config", str(write(tmp_path, credentials, more, **changes)), "--check"]) != ExitCode.OK
    error = capsys.readouterr().err
    assert error.startswith("vrfwire-agent: ")
    assert message in error


def test_a_certificate_is_needed_unless_there_is_a_password(
    tmp_path: Path, credentials: Credentials, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, credentials, GATEWAY)
    text = path.read_text().replace(f'certificate = "{credentials.certificate}"\nkey = "{credentials.key}"\n', "")
    path.write_text(text)
    assert main(["--config", str(path), "--check"]) == ExitCode.FAILURE
    assert "needs [tls] certificate and key" in capsys.readouterr().err
    secret = tmp_path / "secret"
    secret.write_text("word")
    secret.chmod(0o600)
    path.write_text(text + f'password_file = "{secret}"\n')
    assert main(["--config", str(path), "--check"]) == ExitCode.OK


def test_a_state_directory_in_use(tmp_path: Path, credentials: Credentials, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path / "state")
    assert main(["--config", str(write(tmp_path, credentials))]) == ExitCode.CONFLICT
    assert "another daemon is using it" in capsys.readouterr().err
    store.close()


def test_who_the_host_is_to_a_gateway(tmp_path: Path, credentials: Credentials) -> None:
    loaded = load(AgentConfig, program="agent", path=write(tmp_path, credentials, GATEWAY, name="HV7.Example.net"))
    settings = session_settings(loaded.value, loaded.value.gateway[0])
    assert settings.identity.jid == "hv7.example.net@vpn.example.net/vrfwire"
    assert settings.identity.address == "192.0.2.11"
    assert settings.certificate == credentials.certificate


def test_numbers_given_out_under_an_earlier_configuration_stay_ours(tmp_path: Path, credentials: Credentials) -> None:
    config = load(AgentConfig, program="agent", path=write(tmp_path, credentials)).value
    attachment = parse_attach({"name": "a", "vpn": "blue", "addresses": ["10.1.1.1"], "tap": "t"}, "hv1")
    state = State((VpnRecord("blue", 1, 9000, "vw-blue"),), (Attached(attachment, 500000),))
    assert _ranges(config, State()) == (range(10000, 75536), range(100000, 200000))
    assert _ranges(config, state) == (range(9000, 75536), range(100000, 500001))
