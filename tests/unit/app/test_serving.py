"""What a serving process shows of itself."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from sekisho.app import serving
from sekisho.entrypoints.http import metrics
from sekisho.ledger.tally import ByLabel, Tally


async def test_calls_go_on_while_metrics_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of hundreds of models and thousands of budgets that takes a quarter of a second."""
    tally, went_on, write = Tally(), threading.Event(), metrics.generate_latest
    tally.closed("m", "local", "chat").statuses[200] = 3

    def write_slowly(*of: Any) -> bytes:
        assert went_on.wait(30), "the loop stood still"
        return write(*of)

    monkeypatch.setattr(metrics, "generate_latest", write_slowly)
    ratios = {"sekisho_budget_ratio": ("", ByLabel("budget", {"user *, day, block": 0.5}))}
    running: Any = SimpleNamespace(tally=tally, gauges=lambda: ratios, ready=dict)
    shown, _ = serving._watched(running, None)  # pyright: ignore[reportPrivateUsage]
    asyncio.get_running_loop().call_soon(went_on.set)
    text = shown()
    text = (text if isinstance(text, bytes) else await text).decode()
    assert 'llm_requests_total{model="m",status="200"} 3.0' in text
    assert 'sekisho_budget_ratio{budget="user *, day, block"} 0.5' in text
