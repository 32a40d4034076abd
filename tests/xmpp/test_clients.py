"""Clients of others against our server, end to end: log in, subscribe, publish, hear of it, retrieve, retract.

slixmpp is in tests/scenario (test_gateway_slixmpp), with certificates and without. aioxmpp has an environment of its
own, @xmpp/client runs in node; both are made by tools/setup-oracles.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.pki import Authority
from tests.scenario.raw_host import entry
from tests.xmpp.subjects import DOMAIN, PASSWORD, Subject
from xmpp import namespaces as ns

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NODE_MODULES = ROOT / "build" / "node" / "node_modules"
DEADLINE = 60.0
PREFIX = "10.8.8.8/32"


def settings(subject: Subject, authority: Authority, tls: bool) -> dict[str, Any]:
    """What the clients are told."""
    return {
        "address": subject.address,
        "port": subject.tls if tls else subject.port,
        "tls": tls,
        "domain": subject.domain,
        "service": subject.service,
        "ca": str(authority.certificate),
        "password": PASSWORD,
        "node": "red",
        "item": subject.item(PREFIX),
        "payload": entry(PREFIX, 100, "127.0.0.1"),
        "namespace": ns.ENTRY,
        "module": str(NODE_MODULES / "@xmpp" / "client" / "index.js"),
        "ltx": str(NODE_MODULES / "ltx" / "src" / "parse.js"),
    }


def run(command: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a client; its outcome."""
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE, env=os.environ | environ
    )


def said(command: list[str], **environ: str) -> dict[str, Any]:
    """What a client of ours reports."""
    done = run(command, **environ)
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


TLS = pytest.mark.parametrize("tls", [True, False], ids=["direct-tls", "starttls"])


@TLS
def test_aioxmpp(tls: bool, ours: Subject, authority: Authority) -> None:
    """Strict about addresses of answers, and pipelines stanzas behind <enable/> (XEP-0198)."""
    python = str(ROOT / ".venv-xmpp" / "bin" / "python")
    script = str(HERE / "aioxmpp_client.py")
    report = said([python, "-W", "ignore", script, json.dumps(settings(ours, authority, tls))])
    assert report == {
        "jid": f"host1@{DOMAIN}/aioxmpp",
        "sm": True,
        "published": ours.item(PREFIX),
        "event": ["item", PREFIX],
        "items": [PREFIX],
        "payload": [["local-preference", "next-hops", "nlri", "sequence-number"]],
        "retracted": ["retract", PREFIX],
        "pubsub": True,
        "ping": True,
        "refused": "ITEM_NOT_FOUND",
        "subscriptions": 0,
    }


@TLS
def test_xmpp_js(tls: bool, ours: Subject, authority: Authority) -> None:
    """@xmpp/client of node, which asks for a session to be resumed, too."""
    script = str(HERE / "node" / "client.mjs")
    report = said(
        ["node", script, json.dumps(settings(ours, authority, tls))], NODE_EXTRA_CA_CERTS=str(authority.certificate)
    )
    assert report == {
        "jid": f"host1@{DOMAIN}/xmppjs",
        "published": ours.item(PREFIX),
        "event": ["item", PREFIX],
        "items": [PREFIX],
        "payload": [True],
        "retracted": ["retract", PREFIX],
        "refused": "item-not-found",
        "ping": "result",
        "sm": True,
    }


@TLS
def test_go_sendxmpp_is_refused_in_order(tls: bool, ours: Subject, authority: Authority, tmp_path: Path) -> None:
    """It has passwords in clear and MD5 alone, which we don't offer: it is told before it sends one."""
    port = ours.tls if tls else ours.port
    command = ["go-sendxmpp", "-u", f"host1@{DOMAIN}", "-p", PASSWORD, "-j", f"{ours.address}:{port}", "--debug"]
    command += [*(["-t"] if tls else []), "--raw", DOMAIN]
    done = subprocess.run(
        command,
        input="<presence/>",
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env=os.environ | {"SSL_CERT_FILE": str(authority.certificate), "HOME": str(tmp_path)},
    )
    assert done.returncode == 1 and "PLAIN authentication is not an option: [SCRAM-SHA-256]" in done.stderr, done
