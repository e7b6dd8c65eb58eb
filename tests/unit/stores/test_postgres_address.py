"""Addresses of PostgreSQL: read as libpq will read them, or refused without telling them."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

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


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What libpq hears of the last connection, its own reading of the address included."""
    heard: dict[str, object] = {}

    def listen(url: str, **more: object) -> None:
        heard.clear()
        heard.update(conninfo_to_dict(url) | more)

    monkeypatch.setattr(psycopg, "connect", listen)
    return heard


def test_a_host_that_vanishes_in_the_middle_of_a_question_is_noticed_in_seconds(told: dict[str, object]) -> None:
    connect("postgresql://u@h/db", 2000)
    assert told["tcp_user_timeout"] == 3000
    assert (told["keepalives_idle"], told["keepalives_interval"], told["keepalives_count"]) == (1, 1, 2)
    assert told["connect_timeout"] == 2
    assert told["options"] == "-c statement_timeout=2000"


def test_what_the_address_says_itself_goes_before_our_bounds(told: dict[str, object]) -> None:
    connect(
        "postgresql://u@h/db?connect_timeout=9&keepalives_idle=60&tcp_user_timeout=0"
        "&options=-c%20statement_timeout%3D9s%20-csearch_path%3Da",
        2000,
    )
    assert (told["connect_timeout"], told["keepalives_idle"], told["tcp_user_timeout"]) == ("9", "60", "0")
    assert told["keepalives_interval"] == 1
    assert told["options"] == "-c statement_timeout=2000 -c statement_timeout=9s -csearch_path=a"
