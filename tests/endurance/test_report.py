"""The page of `make endurance`: written by the program from what was found, the last run of every part kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.endurance import parts, report, run
from tests.endurance.report import Found


def found(part: str, **changes: object) -> Found:
    fields: dict[str, object] = {
        "amount": 100,
        "seed": 7,
        "took_s": 60,
        "commit": "0123456789",
        "date": "2026-11-26",
        "machine": "Linux",
        "figures": {"acknowledged": 12_345, "kills": {"gateway": 3}},
        "broken": [],
        **changes,
    }
    return Found(part=part, **fields)  # type: ignore[arg-type]


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "FIGURES", tmp_path / "figures.json")
    monkeypatch.setattr(report, "PAGE", tmp_path / "endurance.md")
    return tmp_path / "endurance.md"


def test_a_part_is_written_with_seed_commit_and_figures_and_the_others_stay(page: Path) -> None:
    report.write(found("cuts"))
    report.write(found("kills"))
    report.write(found("cuts", seed=8))
    text = page.read_text("utf-8")
    assert text.index("## kill -9") < text.index("## Power cuts")
    assert "commit `0123456789`, seed 8, 60 s" in text
    assert text.count("seed 7") == 1
    assert "| acknowledged | 12,345 |" in text
    assert "| kills | gateway 3 |" in text
    assert "Not kept" not in text


def test_a_broken_promise_stands_on_the_page(page: Path) -> None:
    report.write(found("kills", broken=["1 acknowledged calls lost: req_1"]))
    assert "**Not kept:** 1 acknowledged calls lost: req_1" in page.read_text("utf-8")


def test_the_page_in_the_repository_is_what_the_figures_say() -> None:
    assert report.PAGE.read_text("utf-8") == report.page(report.known())


def test_every_part_has_its_title() -> None:
    assert set(parts.PARTS) == set(report.TITLES)


def test_a_part_that_ends_early_is_written_down_and_tells_by_its_status(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def trouble(*_: object) -> tuple[dict[str, object], list[str]]:
        raise RuntimeError("no port is free")

    monkeypatch.setitem(parts.PARTS, "kills", parts.Part("kills", 100, "kill -9", trouble))
    assert run.main(["--only", "kills", "--kills", "3", "--seed", "5"]) == 1
    assert "no port is free" in page.read_text("utf-8")
    assert "seed 5" in capsys.readouterr().out


def test_a_part_that_is_not_there_is_told_and_not_written(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = parts.Part("bucket", 1, "seconds", parts.PARTS["kills"].run, there=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(parts.PARTS, "bucket", missing)
        assert run.main(["--only", "bucket"]) == 0
    assert "bucket: not in this version" in capsys.readouterr().err
    assert not page.exists()


def test_an_unknown_part_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run.main(["--only", "kils"])
    assert ended.value.code == 2
    assert "none of kills, cuts" in capsys.readouterr().err


def test_figures_of_other_programs_are_read_as_json_or_as_lines() -> None:
    read = parts._read  # pyright: ignore[reportPrivateUsage]
    assert read('{"commits": 3, "broken": ["the log grows"]}') == ({"commits": 3}, ["the log grows"])
    assert read("3 calls\nDIFFERS: one row\n") == ({"line 1": "3 calls"}, ["DIFFERS: one row"])
