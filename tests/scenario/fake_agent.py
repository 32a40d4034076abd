"""The agent as a program, on a kernel that is played: `vrfwire-agent` where tests may not make devices."""

from __future__ import annotations

from agent import main as agent_main
from agent.config import AgentConfig
from agent.store import Store
from datapath.fake import FakeKernel
from runtime.config import Loaded


async def _run(loaded: Loaded[AgentConfig], store: Store) -> None:
    kernel = FakeKernel()
    try:
        await agent_main.Daemon(loaded, store, kernel.drivers(), kernel.monitor).run()
    finally:
        kernel.monitor.close()


agent_main._run = _run
main = agent_main.main
