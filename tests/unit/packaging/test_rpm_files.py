"""What rpm is told of the files of packages."""

from __future__ import annotations

import gzip

import pytest

from layout import PACKAGES, RPM, Entry, Flag, fixed
from rpm_files import SYSTEM_FOLDERS, bundled, changelog, file_list, packed, presets

CHANGES = """vrfwire (0.2.0+test1) unstable; urgency=medium

  * Agent: 100% of
    what was planned.
  * Gateway: another one.

 -- A B <a@b.example>  Tue, 01 Dec 2026 10:00:00 +0000

vrfwire (0.1.0) unstable; urgency=medium

  * First release.

 -- vrfwire maintainers <maintainers@vrfwire.example>  Mon, 23 Nov 2026 00:00:00 +0000
"""


def test_a_list_has_modes_owners_and_marks() -> None:
    entries = [
        Entry("p", "usr/bin/x", b"", 0o755),
        Entry("p", "etc/p", None, 0o750, group="g"),
        Entry("p", "etc/p/x.conf", b"", flag=Flag.CONFIG),
        Entry("p", "usr/share/man/man1/x.1", b"", flag=Flag.DOC),
    ]
    assert file_list(entries).splitlines() == [
        '%attr(0750, root, g) %dir "/etc/p"',
        '%attr(0644, root, root) %config(noreplace) "/etc/p/x.conf"',
        '%attr(0755, root, root) "/usr/bin/x"',
        '%attr(0644, root, root) %doc "/usr/share/man/man1/x.1"',
    ]


def test_folders_that_nobody_else_has_are_the_packages_own() -> None:
    entries = [Entry("p", "usr/share/fish/vendor_completions.d/x.fish", b""), Entry("p", "etc/p/d/x", b"")]
    listed = file_list(entries, {"etc/p"})
    assert '%dir "/usr/share/fish"' in listed
    assert '%dir "/usr/share/fish/vendor_completions.d"' in listed
    assert '%dir "/etc/p/d"' in listed
    assert '%dir "/etc/p"' not in listed
    assert all(f'%dir "/{folder}"' not in listed for folder in SYSTEM_FOLDERS)


def test_units_of_the_layout_have_presets() -> None:
    entries = fixed(RPM, ())
    made = {entry.path: entry.content for entry in presets(entries)}
    assert made == {
        f"usr/lib/systemd/system-preset/80-{package}.preset": f"enable {package}.service\n".encode()
        for package in PACKAGES[1:]
    }


def test_units_are_where_rpms_distributions_have_them() -> None:
    assert "usr/lib/systemd/system/vrfwire-agent.service" in {entry.path for entry in fixed(RPM, ())}


def test_manual_pages_are_compressed_the_same_each_time() -> None:
    page = Entry("p", "usr/share/man/man1/x.1", b"")
    final, content = packed(page, b"text")
    assert final.path == "usr/share/man/man1/x.1.gz"
    assert gzip.decompress(content) == b"text"
    assert content == packed(page, b"text")[1]
    program = Entry("p", "usr/bin/x", b"text")
    assert packed(program, b"text") == (program, b"text")


def test_the_changelog_is_rpms() -> None:
    assert changelog(CHANGES) == (
        "* Tue Dec 01 2026 A B <a@b.example> - 0.2.0+test1-1\n"
        "- Agent: 100%% of what was planned.\n"
        "- Gateway: another one.\n\n"
        "* Mon Nov 23 2026 vrfwire maintainers <maintainers@vrfwire.example> - 0.1.0-1\n"
        "- First release.\n"
    )


def test_what_is_bundled_is_told() -> None:
    lock = "click==8.5.1 \\\n    --hash=sha256:0\npsycopg-binary==3.3.9 ; python_version < '4' \\\n    # via x==1\n"
    assert bundled(lock) == (
        "Provides:       bundled(python3dist(click)) = 8.5.1\n"
        "Provides:       bundled(python3dist(psycopg-binary)) = 3.3.9"
    )


@pytest.mark.parametrize("text", ["", "no changelog"])
def test_a_changelog_without_entries_gives_none(text: str) -> None:
    assert changelog(text) == "\n"
