"""`sekisho check-config` prints what is wrong, and its exit code says whether the file can be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.app.cli import main


@pytest.fixture(autouse=True)
def in_an_english_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")


def _check(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        main(["check-config", *words])
    assert isinstance(caught.value.code, int)
    return caught.value.code, capsys.readouterr().out


def test_a_good_file_is_counted(
    capsys: pytest.CaptureFixture[str],
    complete: str,
    environ: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "good.yaml").write_text(complete)

    code, out = _check(capsys, "good.yaml")

    assert code == 0
    assert out.endswith("OK: 2 providers, 2 endpoints, 2 keys\n")
    assert "error" not in out


def test_every_mistake_is_printed_in_the_order_of_the_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("providers: {a: {type: opnai}}\ntimezone: JST\n")

    code, out = _check(capsys, "bad.yaml")

    assert code == 2
    assert out == (
        "bad.yaml:1:23: error: providers.a.type: 'opnai' is not known here\n"
        "    -> did you mean 'openai'?\n"
        "bad.yaml:2:11: error: timezone: there is no time zone 'JST'\n"
        "    -> did you mean 'Asia/Tokyo'?\n"
    )


def test_japanese_by_option_and_by_environment(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sekisho.yaml").write_text("providers: {a: {type: openai, base_url: https://a.example.com}}\n")

    assert _check(capsys, "--language", "ja") == (0, "OK: プロバイダー 1、エンドポイント 0、キー 0\n")
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    assert _check(capsys) == (0, "OK: プロバイダー 1、エンドポイント 0、キー 0\n")
    assert _check(capsys, "--language", "en") == (0, "OK: 1 providers, 0 endpoints, 0 keys\n")


def test_a_missing_file_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = _check(capsys, "none.yaml")

    assert code == 2
    assert out.startswith("none.yaml: error: there is no such file\n")
