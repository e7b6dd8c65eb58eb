"""A whole gateway whose tables are in a bucket, while nobody answers at the S3 endpoint for long.

    .venv/bin/python -m tests.endurance.bucket_gone --seconds 60

Prints its figures as JSON. Ends with 1 where an answer failed meanwhile, or a row was lost or doubled.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import polars
from tests.crash.house import Gateway, Mock
from tests.crash.traffic import KINDS, Traffic
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, Door, S3Server

from sekisho.tables.status import read_status

#: how long before and after
AROUND_S = 3.0
_CALM = {name: kind for name, kind in KINDS.items() if not kind.leaves}
SECTION = """tables:
  commit: {{every_s: 0.3}}
  url: s3://{bucket}/tables
  s3:
    endpoint: http://127.0.0.1:{port}
    allow_http: true
    region: us-east-1
    access_key_id: "${{env:S3_ID}}"
    secret_access_key: "${{env:S3_SECRET}}"
"""


async def trial(folder: Path, seconds: float, seed: int) -> dict[str, Any]:
    """Load before, while and after the endpoint is away, then an orderly stop; what was found."""
    server, mock = S3Server(), Mock(folder)
    door = Door(server)
    gateway = Gateway(folder, mock, environ={"S3_ID": ACCESS_KEY, "S3_SECRET": SECRET_KEY})
    bucket = server.bucket()
    section = SECTION.format(bucket=bucket, port=door.port)
    gateway.config.write_text(gateway.config.read_text().replace("tables: {commit: {every_s: 0.3}}\n", section))
    traffic = Traffic(gateway.url, random.Random(seed), kinds=_CALM)
    try:
        await gateway.start()
        await traffic.start()
        await asyncio.sleep(AROUND_S)
        door.close()
        from_call = len(traffic.notes)
        await asyncio.sleep(seconds)
        to_call = len(traffic.notes)
        status = read_status(gateway.data_dir / "spool")
        failed_commits = 0 if status is None else status.errors
        door.open()
        await asyncio.sleep(AROUND_S)
        await traffic.stop()
        meanwhile = Counter(note.status for note in traffic.notes[from_call:to_call])
        await gateway.stop()
        acknowledged = [note.request_id for note in traffic.notes if note.acknowledged_s is not None]
        storage = door.storage(bucket)
        rows = {name: _ids(storage, name) for name in ("usage", "inference_log")}
        return _figures(seconds, acknowledged, rows, meanwhile, failed_commits, gateway)
    finally:
        await traffic.abandon()
        gateway.kill_everything()
        mock.close()
        door.close()
        server.close()


def _ids(storage: Any, table: str) -> Counter[str]:
    options = {name: value for name, value in (storage.options() or {}).items() if name.startswith("aws_")}
    frame = polars.read_delta(storage.table(table), storage_options=options, columns=["request_id"])
    return Counter(frame["request_id"].to_list())


def _figures(
    seconds: float,
    acknowledged: list[str | None],
    rows: dict[str, Counter[str]],
    meanwhile: Counter[int | None],
    failed_commits: int,
    gateway: Gateway,
) -> dict[str, Any]:
    lost = [one for one in acknowledged if one not in rows["usage"]]
    doubled = [one for ids in rows.values() for one, count in ids.items() if count > 1]
    expected = {200, 400, 502, 503, 429}
    broken = [f"lost: {one}" for one in lost[:20]] + [f"doubled: {one}" for one in doubled[:20]]
    broken += [f"answered {status} meanwhile, {n} times" for status, n in meanwhile.items() if status not in expected]
    broken += gateway.mistakes()[:5]
    if seconds >= 5 and not failed_commits:
        broken.append("no commit failed: the endpoint was not away")
    return {
        "seconds without": round(seconds, 1),
        "answers meanwhile, by status": {str(status): n for status, n in sorted(meanwhile.items(), key=str)},
        "commits that failed": failed_commits,
        "acknowledged": len(acknowledged),
        "acknowledged and lost": len(lost),
        "doubled": len(doubled),
        "rows in usage": rows["usage"].total(),
        "rows in inference_log": rows["inference_log"].total(),
        "broken": broken,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(trial(Path(folder), options.seconds, options.seed))
    print(json.dumps(found, indent=2))
    return 1 if found["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
