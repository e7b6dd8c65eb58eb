"""What DuckDB, Polars and pandas read of a table without any of our code; run as a script with the table's folder.

Prints one JSON line: rows, the sum of cost_usd, and the first and last id, from each.
"""

import json
import sys

import duckdb
import polars
from deltalake import DeltaTable

folder = sys.argv[1]
table = DeltaTable(folder)
frame = polars.read_delta(folder)
pandas = table.to_pandas(columns=["request_id", "cost_usd"])
files = table.file_uris()
source = f"read_parquet({files!r}, hive_partitioning=true)"
duck = duckdb.sql(f"SELECT count(*), sum(cost_usd), min(request_id), max(request_id) FROM {source}").fetchall()[0]
found = {
    "duckdb": [duck[0], str(duck[1]), duck[2], duck[3]],
    "polars": [frame.height, str(frame["cost_usd"].sum()), frame["request_id"].min(), frame["request_id"].max()],
    "pandas": [
        len(pandas),
        str(pandas["cost_usd"].sum()),
        pandas["request_id"].min(),
        pandas["request_id"].max(),
    ],
}
assert "sekisho" not in sys.modules
print(json.dumps({"protocol": list(table.protocol())[:2], **found}))
