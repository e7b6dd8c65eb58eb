"""Inference tables: every finished call as one row, from the serving process to SQL.

In: InferenceRow, through `spool.SpoolWriter`: `begin` before a call is dispatched, `append` at its end.
Out: the Delta tables `usage` and `inference_log` in a folder or a bucket, and DuckDB over them and the spool's tail.
The committer is a process of its own, so that no call ever waits for Arrow, Parquet or the disk.
May import: formats, stores, domain; pyarrow, deltalake, duckdb, obstore, each where it is used. Only here: Delta.
Tests: tests/unit/tables, tests/component/tables, tests/crash.
"""
