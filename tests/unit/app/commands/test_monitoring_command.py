"""`sekisho monitoring` writes four files, and none over what somebody has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sekisho.app.cli import main
from sekisho.app.commands import monitoring_messages as messages
from sekisho.app.settings.messages import Say
from sekisho.monitoring.files import monitoring_files

NAMES = {"prometheus.yml", "prometheus-rules.yml", "grafana-operations.json", "grafana-costs.json"}
GATEWAY = "http://127.0.0.1:4000"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")


def _monitoring(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["monitoring", *words])
    assert isinstance(caught.value.code, int)
    out, err = capsys.readouterr()
    return caught.value.code, out, err


def _written(folder: str = "monitoring") -> dict[str, str]:
    return {file.name: file.read_text("utf-8") for file in Path(folder).iterdir()}


def test_the_files_are_written_and_the_next_steps_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = _monitoring(capsys)

    assert (code, err) == (0, "")
    assert _written() == monitoring_files("en", GATEWAY)
    assert _written().keys() == NAMES
    assert "prometheus --config.file=monitoring/prometheus.yml" in out
    assert "monitoring/grafana-operations.json, monitoring/grafana-costs.json" in out


def test_prometheus_may_read_them_as_a_user_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    old = os.umask(0o022)
    try:
        _monitoring(capsys)
    finally:
        os.umask(old)
    assert {oct(file.stat().st_mode & 0o777) for file in Path("monitoring").iterdir()} == {"0o644"}


def test_the_language_follows_the_terminal_and_the_option_goes_before_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")

    code, out, _ = _monitoring(capsys, "監視")
    assert code == 0
    assert "書きました" in out
    assert _written("監視") == monitoring_files("ja", GATEWAY)

    code, out, _ = _monitoring(capsys, "english", "--language", "en")
    assert "書きました" in out
    assert _written("english") == monitoring_files("en", GATEWAY)


def test_a_changed_file_is_kept_and_nothing_else_written(capsys: pytest.CaptureFixture[str]) -> None:
    Path("monitoring").mkdir()
    Path("monitoring/prometheus.yml").write_text("mine")

    code, out, err = _monitoring(capsys)

    assert (code, out) == (1, "")
    assert "monitoring/prometheus.yml: there already" in err
    assert "--force" in err
    assert _written() == {"prometheus.yml": "mine"}
    assert _monitoring(capsys, "--force")[0] == 0
    assert _written() == monitoring_files("en", GATEWAY)


def test_writing_the_same_again_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    _monitoring(capsys)
    before = {file.name: file.stat().st_ino for file in Path("monitoring").iterdir()}

    code, out, _ = _monitoring(capsys)

    assert code == 0
    assert "these already" in out
    assert {file.name: file.stat().st_ino for file in Path("monitoring").iterdir()} == before


def test_a_link_stays_a_link(capsys: pytest.CaptureFixture[str]) -> None:
    Path("monitoring").mkdir()
    Path("elsewhere.yml").write_text("old")
    Path("monitoring/prometheus.yml").symlink_to("../elsewhere.yml")

    assert _monitoring(capsys, "--force")[0] == 0
    assert Path("monitoring/prometheus.yml").is_symlink()
    assert Path("elsewhere.yml").read_text("utf-8") == monitoring_files("en", GATEWAY)["prometheus.yml"]


def test_another_gateway_is_scraped_where_it_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    _monitoring(capsys, "--gateway", "http://10.0.0.7:9464")
    assert "10.0.0.7:9464" in _written()["prometheus.yml"]

    code, _, err = _monitoring(capsys, "--force", "--gateway", "127.0.0.1:4000")
    assert code == 2
    assert "--gateway 127.0.0.1:4000 is no address" in err


@pytest.mark.parametrize(
    ("locale", "said"),
    [("en_US.UTF-8", "cannot be written: Not a directory"), ("ja_JP.UTF-8", "フォルダーではありません")],
)
def test_a_folder_that_cannot_be_made_is_named_with_the_reason(
    locale: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    Path("file").write_text("")
    for place in ("file", "file/below"):
        code, out, err = _monitoring(capsys, place)
        assert (code, out) == (2, "")
        assert said in err


def test_a_disk_that_is_full_leaves_no_half_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = _monitoring(capsys)
    assert code == 2
    assert "monitoring/prometheus.yml cannot be written: No space left on device" in err
    assert _written() == {}


def test_both_languages_name_the_same_things() -> None:
    said = [one for one in vars(messages).values() if isinstance(one, Say)]
    assert len(said) >= 6
    for one in said:
        names = {"files", "folder", "path", "error", "prometheus", "rules", "dashboards"}
        assert {n for n in names if f"{{{n}}}" in one.en} == {n for n in names if f"{{{n}}}" in one.ja}
        assert bool(one.en_hint) == bool(one.ja_hint)
