"""What cannot be parsed is explained where it is to be mended."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sekisho.app.settings import ConfigError, Language, Problem, Settings, load

Parse = Callable[..., Settings]
Problems = Callable[..., tuple[Problem, ...]]

SYNTAX = {
    "a tab": ("providers:\n\ta: b\n", 2, "spaces only"),
    "a key too deep": ("a: b\n  c: d\n", 2, "key cannot stand"),
    "a line without a colon": ("timezone: UTC\nproviders\nlanguage: ja\n", 2, "lacks a ':'"),
    "a forbidden first character": ("timezone: @x\n", 1, "cannot start"),
    "an open bracket": ("a: {b: c\nd: e\n", 2, "opened on line 1"),
    "an open quotation mark": ("timezone: UTC\ndata_dir: 'x\nlanguage: ja\n", 2, "not closed"),
    "a broken indentation": ("a:\n    b: c\n  d: e\n", 3, "indentation"),
    "an alias without anchor": ("a: *b\n", 1, "alias or anchor"),
    "an anchor given twice": ("a: &x 1\nb: &x 2\n", 2, "alias or anchor"),
    "a second document": ("a: b\n---\nc: d\n", 2, "second document"),
    "an unknown escape": ('a: "\\d"\n', 1, "escape"),
    "an escape beyond Unicode": ('a: "\\UFFFFFFFF"\n', 1, "escape"),
    "a control character": ("a: b\nc: \x07\n", 2, "U+0007"),
    "a nest": ("a: " + "[" * 60 + "]" * 60, 1, "too deeply"),
    "a loop": ("a: &a [*a]\n", 1, "contains itself"),
    "nothing": ("", 1, "empty"),
    "blanks and comments": ("\n# nothing\n", 1, "empty"),
    "an empty mapping": ("{}\n", 1, "empty"),
    "a list": ("- a\n", 1, "is a mapping"),
    "a text": ("hello\n", 1, "is a mapping"),
}


@pytest.mark.parametrize("case", SYNTAX)
def test_a_text_that_cannot_be_parsed_is_explained(case: str, problems: Problems) -> None:
    text, line, words = SYNTAX[case]

    assert line in [problem.line for problem in problems(text) if words in problem.message]


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("providers：\n  local: {type: openai}\n", 1, 10),
        ("timezone: UTC\nlanguage： ja\nlog_level: info\n", 2, 9),
        ("timezone： UTC\n", 1, 9),
        ("providers: ｛local: {type: openai}}\n", 1, 12),
    ],
)
def test_a_full_width_look_alike_is_pointed_at(text: str, line: int, column: int, problems: Problems) -> None:
    found = [problem for problem in problems(text) if problem.code == "full_width"]

    assert [(problem.line, problem.column) for problem in found] == [(line, column)]
    assert "half width" in found[0].hint


@pytest.mark.parametrize(
    ("text", "meant"), [("providers：\n  a: b\n", ":"), ("a:　x\nb c\n", " "), ("a: ［1］\nb c\n", "[")]
)
def test_what_to_write_instead_of_a_look_alike_is_shown(text: str, meant: str, problems: Problems) -> None:
    for language, hint in (("en", f"write '{meant}' in half width"), ("ja", f"半角の '{meant}' に直す")):
        found = [problem for problem in problems(text, language=language) if problem.code == "full_width"]
        assert found, text
        assert hint in found[0].hint


def test_japanese_punctuation_in_texts_and_comments_is_left_alone(read: Parse) -> None:
    settings = read(
        "# 設定：例\nproviders: {a: {type: openai, base_url: https://a.example.com}}\n"
        "teams: {研究：開発: {department: “第一”}}\n"
    )

    # in its normal form, as the database of keys holds it
    assert list(settings.teams) == ["研究:開発"]


def test_aliases_cannot_multiply_without_bound(problems: Problems) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]

    assert "repeat more than 20000 values" in " ".join(problem.message for problem in problems("\n".join(lines)))


def test_a_company_of_thousands_fits_into_one_file(read: Parse) -> None:
    lines = ["providers: {a: {type: openai, base_url: https://a.example.com}}", "budgets:"]
    lines += [f"  - {{scope: {{user: taro-{i}}}, usd: 5, period: day}}" for i in range(6000)]

    assert len(read("\n".join(lines)).budgets) == 6000


def test_a_long_chain_of_anchors_is_refused(problems: Problems) -> None:
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 3000)]

    assert "too deeply" in " ".join(problem.message for problem in problems("\n".join(lines)))


def test_an_empty_file_points_at_init(problems: Problems) -> None:
    assert "sekisho init" in problems("")[0].hint


def _load_problem(path: Path, language: Language = "en") -> Problem:
    with pytest.raises(ConfigError) as caught:
        load(path, environ={}, language=language)
    (problem,) = caught.value.problems
    return problem


def test_a_file_that_is_not_there_points_at_init(tmp_path: Path) -> None:
    problem = _load_problem(tmp_path / "none.yaml")

    assert (problem.line, problem.code) == (0, "no_file")
    assert "sekisho init --path" in problem.hint
    assert "：" not in problem.render("x")


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    assert _load_problem(tmp_path).code == "unreadable"


@pytest.mark.parametrize(
    ("encoding", "named"), [("cp932", "Shift_JIS"), ("euc_jp", "EUC-JP"), ("utf-16", "UTF-16"), ("latin-1", "Latin-1")]
)
def test_other_encodings_are_recognised(tmp_path: Path, encoding: str, named: str) -> None:
    path = tmp_path / "sekisho.yaml"
    text = "timezone: UTC\n# \xe9\n" if encoding == "latin-1" else "timezone: UTC\n# 設定ファイル\n"
    path.write_bytes(text.encode(encoding))

    problem = _load_problem(path)

    assert (problem.code, named in problem.message) == ("not_utf8", True)
    assert problem.line == (1 if encoding == "utf-16" else 2)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sekisho.yaml"
    with path.open("wb") as file:
        file.truncate(5 * 1024 * 1024)

    assert "> 4 MB" in _load_problem(path).message


def test_the_language_of_the_problems_is_that_of_the_environment(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ファイルがありません"):
        load(tmp_path / "none.yaml", environ={"LANG": "ja_JP.UTF-8"})
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "none.yaml", environ={"LANG": "ja_JP.UTF-8", "LC_ALL": "C"})


@pytest.mark.parametrize(
    "text",
    [
        "language: ja\nproviders: 3\n",
        "providers: 3\nlanguage: 'ja'\n",
        '{"providers": {"p": [{"language": "en"}]}, "language": "ja"}',
        "timezone: &zone UTC\nlanguage: ja\nproviders: [",
    ],
)
def test_where_the_terminal_names_no_language_a_file_is_told_in_its_own(text: str, tmp_path: Path) -> None:
    path = tmp_path / "sekisho.yaml"
    path.write_text(text, encoding="utf-8")
    for environ in ({}, {"LANG": "C.UTF-8"}, {"LC_ALL": "POSIX", "LANG": "en_US.UTF-8"}, {"LC_ALL": "", "LANG": "C"}):
        with pytest.raises(ConfigError) as caught:
            load(path, environ=environ)
        assert any(re.search("[ぁ-ん]", problem.message) for problem in caught.value.problems), environ
    with pytest.raises(ConfigError) as caught:
        load(path, environ={"LANG": "en_US.UTF-8"})
    assert all(problem.message.isascii() for problem in caught.value.problems)


@pytest.mark.parametrize(
    "text", ["tags: {language: ja}\nproviders: 3", "language: [ja]", "language: fr", "language", ""]
)
def test_a_language_that_is_no_setting_of_the_file_does_not_count(text: str, tmp_path: Path) -> None:
    path = tmp_path / "sekisho.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path, environ={})
    assert all(problem.message.isascii() for problem in caught.value.problems)
