"""Configuration: sources, their order and origins; every mistake has a place and a remedy."""

from __future__ import annotations

import enum
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from runtime.config import Loaded, between, describe, load, one_of, option, read_secret
from runtime.errors import ExitCode, OperatorError


class Mode(enum.StrEnum):
    FAST = "fast"
    SAFE = "safe"


@dataclass(frozen=True, slots=True)
class Host:
    name: str
    address: IPv4Address | IPv6Address
    weight: float = 1.0
    spare: str | None = None


@dataclass(frozen=True, slots=True)
class Gateway:
    address: IPv4Address
    port: int = option(5222, check=between(1, 65535), help="TCP port")
    families: tuple[str, ...] = option(("vpnv4",), parse=one_of("vpnv4", "vpnv6"))
    imports: tuple[str, ...] = option((), key="import")
    password_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    low: int = 1
    high: int = 2

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


@dataclass(frozen=True, slots=True)
class Schema:
    host: Host
    gateway: tuple[Gateway, ...] = ()
    limits: Limits = Limits()
    extra: Limits | None = None
    mode: Mode = Mode.SAFE
    debug: bool = False


GOOD = """\
mode = "fast"
[host]
name = "hv1"
address = "2001:db8::1"
[[gateway]]
address = "192.0.2.1"
import = ["64512:1"]
password_file = "secret"
"""


def read(tmp_path: Path, text: str, environ: dict[str, str] | None = None, **overrides: object) -> Loaded[Schema]:
    path = tmp_path / "agent.toml"
    path.write_text(text, encoding="utf-8")
    return load(Schema, program="agent", path=path, environ=environ or {}, overrides=overrides)


def test_values(tmp_path: Path) -> None:
    value = read(tmp_path, GOOD).value
    gateway = Gateway(IPv4Address("192.0.2.1"), imports=("64512:1",), password_file=tmp_path / "secret")
    assert value == Schema(Host("hv1", IPv6Address("2001:db8::1")), (gateway,), mode=Mode.FAST)
    assert value.extra is None


def test_later_sources_win_and_arrays_grow(tmp_path: Path) -> None:
    drop_ins = tmp_path / "agent.toml.d"
    drop_ins.mkdir()
    (drop_ins / "20-b.toml").write_text('[host]\nname = "from-20"\n')
    (drop_ins / "10-a.toml").write_text('[host]\nname = "from-10"\nweight = 3\n[[gateway]]\naddress = "192.0.2.2"\n')
    (drop_ins / "30-ignored.conf").write_text("not TOML")
    environ = {"VRFWIRE_LIMITS_HIGH": "9", "VRFWIRE_DEBUG": "yes", "VRFWIRE_SOCKET": "/x", "PATH": "/bin"}
    loaded = read(tmp_path, GOOD, environ, **{"limits.low": 5, "mode": None})
    assert loaded.value.host == Host("from-20", IPv6Address("2001:db8::1"), 3.0)
    assert [str(gateway.address) for gateway in loaded.value.gateway] == ["192.0.2.1", "192.0.2.2"]
    assert (loaded.value.limits, loaded.value.debug, loaded.value.mode) == (Limits(5, 9), True, Mode.FAST)
    assert [path.name for path in loaded.files] == ["agent.toml", "10-a.toml", "20-b.toml"]
    assert loaded.origin("host.name") == f"{drop_ins}/20-b.toml:2"
    assert loaded.origin("gateway[1].address") == f"{drop_ins}/10-a.toml:5"
    assert loaded.origin("gateway[1].port") == "default"
    assert loaded.origin("gateway[1]") == f"{drop_ins}/10-a.toml:4"
    assert loaded.origin("limits.high") == "environment VRFWIRE_LIMITS_HIGH"
    assert loaded.origin("limits.low") == "command line"


def test_effective_has_every_value_as_json_has_it(tmp_path: Path) -> None:
    loaded = read(tmp_path, GOOD)
    effective = {setting.key: (setting.value, setting.is_default) for setting in loaded.effective()}
    assert effective["host.address"] == ("2001:db8::1", False)
    assert effective["host.spare"] == (None, True)
    assert effective["gateway[0].import"] == (["64512:1"], False)
    assert effective["mode"] == ("fast", False)
    assert effective["limits.low"] == (1, True)
    document = loaded.document()
    assert document["files"] == [str(tmp_path / "agent.toml")]
    assert {"key": "debug", "value": False, "origin": "default"} in document["items"]  # type: ignore[operator]


def test_environment_lists(tmp_path: Path) -> None:
    @dataclass(frozen=True, slots=True)
    class Listen:
        addresses: tuple[str, ...]
        ports: tuple[int, ...] = ()

    globals()["Listen"] = Listen  # annotations are resolved in the module

    @dataclass(frozen=True, slots=True)
    class Root:
        listen: Listen

    loaded = load(
        Root,
        program="agent",
        path=_file(tmp_path, ""),
        environ={"VRFWIRE_LISTEN_ADDRESSES": "a, b", "VRFWIRE_LISTEN_PORTS": "1,2"},
    )
    assert loaded.value.listen == Listen(("a", "b"), (1, 2))


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(text, encoding="utf-8")
    return path


HOST = '[host]\nname = "hv1"\naddress = "192.0.2.7"\n'


@pytest.mark.parametrize(
    ("text", "line", "why", "hint"),
    [
        (HOST + 'nmae = "x"\n', 4, "unknown key host.nmae", "did you mean name?"),
        (HOST + "[hots]\na = 1\n", 4, "unknown key hots", "did you mean host?"),
        (HOST + "[limits]\nzzzz = 1\n", 5, "unknown key limits.zzzz", "known here: low, high"),
        (
            HOST + '[[gateway]]\naddress = "192.0.2.1"\npasswort = "x"\n',
            6,
            "unknown key gateway[0].passwort",
            "password",
        ),
        ('[host]\nname = "hv1"\n', 1, "host.address is missing", "set address in [host]: an IP address in quotes"),
        ("debug = true\n", None, "host.name is missing", "set name in [host]: a text in quotes"),
        (HOST + "[[gateway]]\nport = 1\n", 4, "gateway[0].address is missing", "set address in [[gateway]]"),
        ('[host]\nname = 7\naddress = "::1"\n', 2, "host.name: must be a text in quotes", "it is 7 now"),
        (HOST + 'weight = "much"\n', 4, "host.weight: must be a number", 'it is "much" now'),
        (HOST + "[limits]\nlow = true\n", 5, "limits.low: must be a whole number", "it is True now"),
        (HOST + "[limits]\nlow = 1.5\n", 5, "limits.low: must be a whole number", "it is 1.5 now"),
        ('debug = "yes"\n' + HOST, 1, "debug: must be true or false", ""),
        ('mode = "wild"\n' + HOST, 1, 'mode: must be one of "fast", "safe"', ""),
        ('[host]\nname = "a"\naddress = "192.0.2.300"\n', 3, "host.address: must be an IP address in quotes", ""),
        (HOST + '[[gateway]]\naddress = "::1"\n', 5, "gateway[0].address: must be an IPv4 address in quotes", ""),
        (HOST + '[[gateway]]\naddress = "192.0.2.1"\nport = 0\n', 6, "gateway[0].port: must be from 1 to 65535", "0"),
        (HOST + '[[gateway]]\naddress = "192.0.2.1"\nfamilies = ["x"]\n', 6, "must be one of vpnv4, vpnv6", ""),
        (HOST + '[[gateway]]\naddress = "192.0.2.1"\nfamilies = "x"\n', 6, "must be a list", ""),
        (HOST + '[[gateway]]\naddress = "192.0.2.1"\nimport = [1]\n', 6, "must be a list, each a text in quotes", ""),
        (HOST + '[[gateway]]\naddress = "192.0.2.1"\npassword_file = ""\n', 6, "must be a path in quotes", ""),
        (HOST + '[gateway]\naddress = "192.0.2.1"\n', 4, "gateway must be a list of tables", "write [[gateway]]"),
        ("host = 1\n", 1, "host must be a table", "write [host]"),
        ('[host]\naddress = "::1"\n[host.name]\na = 1\n', 3, "host.name must be a text in quotes, not a table", ""),
        (HOST + "[limits]\nlow = 9\n", 4, "[limits]: low is above high", ""),
        (HOST + "[extra]\nlow = 9\n", 4, "[extra]: low is above high", ""),
        ("[host\nname = 1\n", 1, "not TOML:", ""),
        ("[host]\nname = hv1\n", 2, "not TOML: invalid value", "texts need quotes"),
        ('[host]\nname = "hv1\n', 2, "not TOML:", ""),
        ('[host]\nname = "a"\nname = "b"\n', 3, "not TOML: cannot overwrite a value", ""),
        ("a = [\n1,\n", 3, "not TOML:", ""),
    ],
)
def test_mistakes_name_their_place(tmp_path: Path, text: str, line: int | None, why: str, hint: str) -> None:
    with pytest.raises(OperatorError) as caught:
        read(tmp_path, text)
    path = tmp_path / "agent.toml"
    assert caught.value.what == (f"{path}:{line}" if line else str(path))
    assert why in caught.value.why
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("name", "why", "hint"),
    [
        ("VRFWIRE_HOST_NMAE", "unknown key", "VRFWIRE_HOST_NAME"),
        ("VRFWIRE_GATEWAY_ADDRESS", "[[gateway]] can't be set there", "file"),
    ],
)
def test_unknown_environment(tmp_path: Path, name: str, why: str, hint: str) -> None:
    with pytest.raises(OperatorError) as caught:
        read(tmp_path, GOOD, {name: "x"})
    assert (caught.value.what, caught.value.why) == (f"environment {name}", why)
    assert hint in caught.value.hint


def test_wrong_type_from_the_environment_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(OperatorError) as caught:
        read(tmp_path, GOOD, {"VRFWIRE_LIMITS_LOW": "much"})
    assert caught.value.what == "environment VRFWIRE_LIMITS_LOW"
    assert caught.value.why == "limits.low: must be a whole number"


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(OperatorError) as caught:
        load(Schema, program="agent", path=tmp_path / "absent.toml", environ={})
    assert caught.value.code is ExitCode.NOT_FOUND
    (tmp_path / "binary.toml").write_bytes(b"a = 1\nb = '\xff'\n")
    with pytest.raises(OperatorError) as caught:
        load(Schema, program="agent", path=tmp_path / "binary.toml", environ={})
    assert caught.value.what == f"{tmp_path}/binary.toml:2"
    with pytest.raises(OperatorError, match="directory"):
        load(Schema, program="agent", path=tmp_path, environ={})


def test_the_standard_file_may_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.config.DIRECTORY", tmp_path)
    environ = {"VRFWIRE_HOST_NAME": "hv1", "VRFWIRE_HOST_ADDRESS": "192.0.2.7"}
    loaded = load(Schema, program="agent", environ=environ)
    assert (loaded.value.host.name, loaded.files) == ("hv1", ())
    with pytest.raises(OperatorError, match=r"agent.toml \(no such file\): host.name is missing") as caught:
        load(Schema, program="agent", environ={})
    assert caught.value.hint.startswith("make that file")


def test_a_file_that_is_closed_to_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "agent.toml"
    path.touch()

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(OperatorError, match="Permission denied") as caught:
        load(Schema, program="agent", path=path, environ={})
    assert caught.value.hint.endswith(f"ls -ld {tmp_path} {path}")


def test_a_directory_that_is_closed_to_the_caller_counts_as_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/etc/vrfwire is the daemons'; who asks a MAP server by options alone needs nothing of it."""
    real = Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        if path.parent == tmp_path:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, **options)

    (tmp_path / "agent.toml").write_text("broken")
    monkeypatch.setattr("runtime.config.DIRECTORY", tmp_path)
    monkeypatch.setattr(Path, "stat", stat)
    environ = {"VRFWIRE_HOST_NAME": "hv1", "VRFWIRE_HOST_ADDRESS": "192.0.2.7"}
    assert load(Schema, program="agent", environ=environ).files == ()
    with pytest.raises(OperatorError, match=r"agent.toml \(it can't be reached: permission denied\): host.name"):
        load(Schema, program="agent", environ={})


def test_drop_ins_that_cannot_be_read_are_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def glob(path: Path, pattern: str) -> Iterator[Path]:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "glob", glob)
    with pytest.raises(OperatorError, match=r"agent.toml.d: Permission denied"):
        read(tmp_path, GOOD)


def test_an_override_must_be_in_the_schema(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        read(tmp_path, GOOD, None, **{"host.nmae": "x"})


def test_error_about_a_key(tmp_path: Path) -> None:
    loaded = read(tmp_path, GOOD)
    assert str(loaded.error("host.name", "is taken")) == f"{tmp_path}/agent.toml:3: host.name: is taken"
    assert str(loaded.error("debug", "is off")) == "configuration debug: debug: is off"


def test_a_key_in_place_of_its_path_is_not_shown(tmp_path: Path) -> None:
    key = "-----BEGIN PRIVATE KEY-----\nplanted\n-----END PRIVATE KEY-----\n"
    path = tmp_path / "agent.toml"
    path.write_text(HOST + f'[[gateway]]\naddress = "192.0.2.1"\npassword_file = """{key}"""\n')
    with pytest.raises(OperatorError, match="must be a path in quotes") as caught:
        load(Schema, program="agent", path=path, environ={})
    assert "planted" not in f"{caught.value} {caught.value.hint}"


def test_credentials_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    value = read(tmp_path, GOOD.replace('"secret"', '"credential:gateway"')).value
    assert value.gateway[0].password_file == Path("/run/credentials/x/gateway")


@dataclass(frozen=True, slots=True)
class Where:
    """A value of the file that is a dataclass for the program."""

    address: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Where:
        address, _, port = text.rpartition(":")
        return cls(address, int(port))

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Endpoints:
    one: Where = option(Where("here", 1), parse=Where.parse)
    perhaps: Where | None = option(None, parse=Where.parse)
    many: tuple[Where, ...] = option((), parse=Where.parse)


def test_a_value_that_is_parsed_is_no_table(tmp_path: Path) -> None:
    assert [name for name, _ in describe(Endpoints)] == ["one", "perhaps", "many"]
    path = tmp_path / "gateway.toml"
    path.write_text('perhaps = "a:2"\nmany = ["b:3"]\n')
    loaded = load(Endpoints, program="gateway", path=path, environ={})
    assert loaded.value == Endpoints(Where("here", 1), Where("a", 2), (Where("b", 3),))
    shown = {row["key"]: row["value"] for row in loaded.document()["items"]}  # type: ignore[attr-defined]
    assert shown == {"one": "here:1", "perhaps": "a:2", "many": ["b:3"]}


def test_describe_names_every_value() -> None:
    names = [name for name, _ in describe(Schema)]
    assert {"host.name", "gateway[].import", "limits.low", "extra.high", "debug"} <= set(names)


@pytest.mark.parametrize("default", [[], {}])
def test_mutable_defaults_are_refused(default: object) -> None:
    with pytest.raises(TypeError):
        option(default)


class TestSecrets:
    def test_the_line_end_is_no_part_of_it(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_bytes(b"pass word \r\n")
        path.chmod(0o640)
        assert read_secret(path) == "pass word "

    @pytest.mark.parametrize(
        ("data", "mode", "why"),
        [
            (b"x", 0o644, "lets others read or change it"),
            (b"x", 0o660, "lets others read or change it"),
            (b"\n", 0o600, "is empty"),
            (b"\xff\n", 0o600, "is not UTF-8 text"),
            (b"x" * 70000, 0o600, "is longer than"),
        ],
    )
    def test_refused(self, tmp_path: Path, data: bytes, mode: int, why: str) -> None:
        path = tmp_path / "secret"
        path.write_bytes(data)
        path.chmod(mode)
        with pytest.raises(OperatorError, match=why) as caught:
            read_secret(path)
        assert str(path) in caught.value.what

    def test_absent(self, tmp_path: Path) -> None:
        with pytest.raises(OperatorError, match="No such file"):
            read_secret(tmp_path / "secret")


@dataclass(frozen=True, slots=True)
class Locked:
    key: str = option("", check=one_of("open sesame"), secret=True)


def test_a_secret_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text('key = "open sesame"\n')
    loaded = load(Locked, program="x", path=path, environ={})
    assert loaded.value.key == "open sesame"
    assert [setting.value for setting in loaded.effective()] == ["(hidden)"]
    path.write_text('key = "hunter2"\n')
    with pytest.raises(OperatorError) as caught:
        load(Locked, program="x", path=path, environ={})
    assert "hunter2" not in str(caught.value) + caught.value.hint
