"""Tests of this folder share a gateway within a module; see `house`."""

from __future__ import annotations

from tests.component.http.house import door, gateway, house

__all__ = ["door", "gateway", "house"]
