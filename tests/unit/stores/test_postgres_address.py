"""Addresses of PostgreSQL: read as libpq will read them, or refused without telling them."""

from __future__ import annotations

import psycopg
import pytest

from sekisho.stores.postgres_address import check_address, connect


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgresql:///db?host=/run/a@b",
        "postgresql://u@/db?host=/run/postgresql",
        "postgresql://u:p%40ss%2Fw%25@db.example.com:5432/db?sslmode=require",
        "postgres://u:p?w#d@h1:5432,h2:5433/db?target_session_attrs=read-write",
        "postgresql://u@[::1]:5432/db",
        "postgresql://u@h/db?options=-csearch_path%3Dsekisho",
    ],
)
def test_what_libpq_reads_is_taken(url: str) -> None:
    check_address(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:PRI@VATE@h/db",
        "postgresql://u:PRI/VATE@h/db",
        "postgresql://u:PRI/@VATE@h/db",
        "postgresql://u:PRI:VATE@h/db",
        "postgresql://u:PRI%VATE@h/db",
        "postgresql://u@h:port/db",
        "postgresql://u@h:99999/db",
    ],
)
def test_what_libpq_would_take_apart_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^not an address of PostgreSQL$"):
        check_address(url)


@pytest.mark.parametrize("url", ["postgresql://u:PRI%VATE@h/db", "postgresql://u@h/db?PRIVATE=1"])
def test_an_address_that_cannot_be_read_is_not_told(url: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="cannot be read") as told:
        connect(url, 100)
    assert "PRI" not in str(told.value)
    assert "VATE" not in str(told.value)
