"""What is shipped beside the programs: examples of configuration, and the pins of the private environment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from layout import CONFIGURATIONS as KINDS
from programs import CONFIGURATIONS, Configuration
from release import ROOT
from runtime.config import Loaded, load

EXAMPLES = ROOT / "packaging/examples"


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda configuration: configuration.name)
def test_examples_are_valid(configuration: Configuration, tmp_path: Path) -> None:
    text = (EXAMPLES / configuration.name).read_text()
    # Files that they name are looked for when the daemon starts; a hash of a password is read at once.
    for line in re.findall(r'^password_hash_file = "(.+)"', text, re.MULTILINE):
        (tmp_path / line).write_text("$scrypt$ln=14,r=8,p=1$" + "A" * 22 + "$" + "A" * 43 + "\n")
    path = tmp_path / configuration.name
    path.write_text(text)
    loaded: Loaded[object] = load(configuration.schema, program=configuration.name.removesuffix(".toml"), path=path)
    assert loaded.value is not None
    assert f"copy it to /etc/vrfwire/{configuration.name}" in text.replace("\n# ", " ")
    assert f"vrfwire-{configuration.name}(5)" in text


def test_who_copies_an_example_can_revoke() -> None:
    for kind in ("agent", "gateway", "map"):
        assert re.search(r'^crl = "crl\.pem"', (EXAMPLES / f"{kind}.toml").read_text(), re.MULTILINE), kind


def test_every_file_that_is_read_has_an_example() -> None:
    names = {f"{kind}.toml" for kinds in KINDS.values() for kind in kinds}
    assert names == {configuration.name for configuration in CONFIGURATIONS}
    assert names == {path.name for path in EXAMPLES.iterdir()}


def pins(name: str) -> dict[str, set[str]]:
    """Package and version in a lock file, with the hashes."""
    found: dict[str, set[str]] = {}
    for block in re.findall(r"^\S+==(?:.*\\\n)+.*\n", (ROOT / name).read_text(), re.MULTILINE):
        found[block.split()[0]] = set(re.findall(r"sha256:[0-9a-f]{64}", block))
    return found


def test_what_runs_is_what_was_tested() -> None:
    """The private environment has the versions that the tests run with, hash by hash."""
    runtime, tested = pins("requirements-runtime.lock"), pins("requirements.lock")
    assert len(runtime) >= 10
    assert all(hashes for hashes in runtime.values())
    assert {name: tested.get(name) for name in runtime} == runtime
    wanted = re.findall(r"^([a-z0-9-]+==\S+)", (ROOT / "requirements.in").read_text(), re.MULTILINE)
    assert set(wanted) <= set(runtime)
