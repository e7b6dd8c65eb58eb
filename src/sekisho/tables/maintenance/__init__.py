"""Keeps the tables small and fast: merge files, drop days, delete what nothing refers to, shorten the log.

In: a data_dir and a `Policy`; from the serving process `Schedule.look` once a second.
Out: commits of the same rows in fewer files, of fewer days; `state.json`, which metrics and `tables info` read.
Every job may be killed at any moment: it writes new files, then one log entry, and deletes only what no entry names.
It runs in a process of its own, one at a time, beside a committer that goes on appending.
May import: the rest of tables, domain; pyarrow and deltalake, each where it is used.
Tests: tests/unit/tables, tests/component/tables, tests/endurance.
"""
