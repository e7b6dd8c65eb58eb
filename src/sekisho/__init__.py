"""Sekisho: the LLM gateway whose numbers are true. Rooms and their order: CONTRIBUTING.md."""

__version__ = "0.1.0"
