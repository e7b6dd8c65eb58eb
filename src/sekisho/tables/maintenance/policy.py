"""What is kept and for how long, and when maintenance runs. Must stay data without heavy imports: the serving process
reads it from the configuration and hands it to a child process."""

from __future__ import annotations

import msgspec

#: days of rows by table: bodies are for debugging and the audits of a month, usage for a year and its comparison
RETENTION_DAYS = {"inference_log": 30, "usage": 400}
VACUUM_DAYS = 7


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """`retention_days` by table: a row is kept for at least so many whole days after its own, UTC. `vacuum_days`: how
    long at most a file that the table no longer needs stays for those who still read it."""

    retention_days: dict[str, int] = msgspec.field(default_factory=RETENTION_DAYS.copy)
    vacuum_days: int = VACUUM_DAYS


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """When and how: `hour` of the night job in `timezone`, at least `every_s` seconds between two jobs."""

    enabled: bool = True
    hour: int = 3
    timezone: str = "UTC"
    every_s: float = 300.0
    policy: Policy = Policy()


def encode(policy: Policy) -> str:
    """For the command line of the child."""
    return msgspec.json.encode(policy).decode()


def decode(text: str) -> Policy:
    """Raises msgspec.MsgspecError."""
    return msgspec.json.decode(text, type=Policy)
