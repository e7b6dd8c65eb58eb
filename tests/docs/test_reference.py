"""The reference pages say everything there is, and nothing else: settings, errors, metrics, columns, commands."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
from typer.testing import CliRunner

from sekisho.app.cli import COMMANDS, build
from sekisho.app.settings import ServerSettings, Settings, parse
from sekisho.app.settings.document import Field
from sekisho.app.settings.form import Form
from sekisho.domain.endpoint import Timeouts
from sekisho.mock.script import KEYS as SCRIPT_KEYS
from sekisho.providers.catalog import CATALOG
from sekisho.tables.arrow import pa
from sekisho.tables.meanings import MEANINGS, TABLE_MEANINGS
from sekisho.tables.schema import ATTEMPT, BODIES, INFERENCE_LOG, USAGE
from sekisho.tables.storage import Cadence
from sekisho.tables.views import VIEWS
from sekisho.wire.messages import MESSAGES
from tests.docs.pages import DOCS, PAGES, REFERENCE, ROOT, blocks, headings, name_of, names_in_code, rows
from tests.docs.workspace import Demo
from tests.support.certificates import write_certificate

SOURCE = ROOT / "src" / "sekisho"
CONFIGURATION, ERRORS, METRICS = REFERENCE / "configuration.md", REFERENCE / "errors.md", REFERENCE / "metrics.md"
TABLES, PROVIDERS = REFERENCE / "tables.md", REFERENCE / "providers.md"
COMMANDS_PAGE, COMMANDS_PAGE_JA = REFERENCE / "commands.md", REFERENCE / "commands.ja.md"
NOT_SENT = "Written, and not sent by this version"


# -- settings


def test_every_setting_that_is_read_has_a_row_and_no_other_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()
    given: set[str] = set()
    asked = Form.field

    def noted(self: Form, key: str) -> Field | None:
        field = asked(self, key)
        path = _setting(f"{self.place.path}.{key}".lstrip("."))
        read.add(path)
        if field is not None:
            given.add(path)
        return field

    monkeypatch.setattr(Form, "field", noted)
    _complete(tmp_path)
    documented = [names_in_code(row[0])[0] for row in rows(CONFIGURATION)]
    assert sorted(documented) == sorted(read)
    # what the example leaves out would hide the settings below it
    absent = {path for path in read - given if ".scope." not in path and not path.endswith(".mask")}
    assert absent == set()


@pytest.mark.parametrize(
    ("prefix", "values"),
    [
        ("server.", ServerSettings()),
        ("defaults.timeouts.", Timeouts()),
        ("endpoints.NAME.timeouts.", Timeouts()),
        ("tables.commit.", Cadence()),
        ("", None),
    ],
)
def test_defaults_are_those_of_the_code(prefix: str, values: Any, tmp_path: Path) -> None:
    if values is None:
        values = parse('providers: {a: {type: openai, base_url: "https://a.example/v1"}}', base_dir=tmp_path)
    documented = {names_in_code(row[0])[0]: row[2] for row in rows(CONFIGURATION)}
    checked = 0
    for field in values.__struct_fields__:
        said = documented.get(prefix + field)
        value = getattr(values, field)
        if said is None or not isinstance(value, str | int | float) or isinstance(value, bool):
            continue
        assert said.strip("`") == (f"{value:g}" if isinstance(value, float) else str(value)), prefix + field
        checked += 1
    assert checked >= 3


def _complete(folder: Path) -> Settings:
    """The example of the page that has every setting at once."""
    text = next(block.text for block in blocks(CONFIGURATION) if "complete" in block.marks)
    write_certificate(folder)
    environ = {name: f"{name.lower()}-0123456789abcdef" for name in re.findall(r"\$\{env:(\w+)\}", text)}
    return parse(text, environ=environ, base_dir=folder, language="en")


def _setting(path: str) -> str:
    """`endpoints.chat.targets[0].model` as `endpoints.NAME.targets[].model`."""
    path = re.sub(r"\[\d+\]", "[]", path)
    path = re.sub(r"(\.service_tiers)\.[^.]+", r"\1.TIER", path)
    return re.sub(r'^(providers|endpoints|teams|prices)(\.[^.\[]+|\["[^"]*"\])', r"\1.NAME", path)


def test_every_environment_variable_has_a_row() -> None:
    text = (REFERENCE / "environment.md").read_text("utf-8")
    for file in ("environment.py", "language.py"):
        for name in re.findall(r'"([A-Z][A-Z_]+)"', (SOURCE / "app" / "settings" / file).read_text("utf-8")):
            assert f"`{name}`" in text, name


# -- errors


def test_every_error_code_has_a_row() -> None:
    documented = {names_in_code(row[0])[0] for row in rows(ERRORS)}
    other_names = set(names_in_code(ERRORS.read_text("utf-8").rpartition("## Other names of messages")[2]))
    assert documented | other_names >= MESSAGES.keys()
    assert documented <= MESSAGES.keys()


def test_statuses_and_types_of_errors_are_those_of_the_code() -> None:
    documented = {names_in_code(row[0])[0]: row for row in rows(ERRORS)}
    sent = list(_refusals())
    assert len(sent) > 20
    for place, status, code, kind in sent:
        _, statuses, said, *_ = documented[code]
        assert str(status) in statuses.split(", "), place
        assert kind == said, place


def test_codes_that_are_said_not_to_be_sent_are_not_sent() -> None:
    # limits and budgets are complete parts that no call meets yet: what they would say is not sent
    idle_parts = set() if _is_imported("sekisho.ledger.refusals") else {"refusals.py"}
    constants = {
        node.value
        for file in SOURCE.rglob("*.py")
        if file.name not in {"messages.py", *idle_parts}
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    idle = {names_in_code(row[0])[0] for row in rows(ERRORS, under=NOT_SENT)}
    assert idle.isdisjoint(constants)
    assert constants >= {names_in_code(row[0])[0] for row in rows(ERRORS)} - idle


def _is_imported(module: str) -> bool:
    return any(f"from {module} import" in file.read_text("utf-8") for file in SOURCE.rglob("*.py"))


def _refusals() -> Iterator[tuple[str, int, str, str]]:
    """Place, status, code and type of every `Refusal(...)` whose status and code stand there as constants."""
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refusal"):
                continue
            status, code = (arg.value if isinstance(arg, ast.Constant) else None for arg in node.args[:2])
            kinds = [
                word.value.value
                for word in node.keywords
                if word.arg == "type" and isinstance(word.value, ast.Constant)
            ]
            if isinstance(status, int) and isinstance(code, str):
                yield (
                    f"{name_of(file)}:{node.lineno}",
                    status,
                    code,
                    str(kinds[0]) if kinds else "invalid_request_error",
                )


# -- metrics


def test_every_metric_that_is_served_has_a_row_and_no_other_has(demo: Demo) -> None:
    served = dict(re.findall(r"^# TYPE (\S+) (\w+)$", demo.metrics(), re.MULTILINE))
    documented = {names_in_code(row[0])[0]: row[1] for row in rows(METRICS)}
    assert documented == served


def test_labels_of_metrics_are_those_that_are_served(demo: Demo) -> None:
    shared = ["gen_ai_provider_name", "gen_ai_request_model", "gen_ai_operation_name"]
    labels = {names_in_code(row[0])[0]: set(names_in_code(row[2])) for row in rows(METRICS)}
    for name, _, text in re.findall(r"^(\w+?)(_bucket|_count|_sum)?\{(.*)\} ", demo.metrics(), re.MULTILINE):
        served = set(re.findall(r'(\w+)="', text)) - {"le"}
        assert served == labels[name] | (set(shared) if name.startswith("gen_ai_") else set()), name


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_names_a_metric_that_is_not_served(page: Path, demo: Demo) -> None:
    served = set(re.findall(r"^# TYPE (\S+) ", demo.metrics(), re.MULTILINE))
    for name in re.findall(
        r"\b(?:llm|sekisho|gen_ai)_[a-z_]*(?:_total|_seconds|_bytes|_bucket)\b", page.read_text("utf-8")
    ):
        assert name.removesuffix("_bucket") in served, name


# -- tables


def test_every_column_has_a_row_in_the_order_of_the_table() -> None:
    assert _documented("Columns of both") == [(field.name, _sql_type(field.type)) for field in USAGE]
    own = [field for field in INFERENCE_LOG if field.name in BODIES]
    assert _documented("Columns of inference_log alone") == [(field.name, _sql_type(field.type)) for field in own]
    assert _documented("Fields of an attempt") == [(field.name, _sql_type(field.type)) for field in ATTEMPT]


def test_meanings_are_the_comments_that_the_tables_carry() -> None:
    """The page has links, a comment has none; every word else is the same."""
    sections = "Columns of both", "Columns of inference_log alone"
    documented = {names_in_code(row[0])[0]: _plain(row[2]) for name in sections for row in rows(TABLES, under=name)}
    assert documented == MEANINGS
    introduction = _plain(TABLES.read_text("utf-8"))
    for table, meaning in TABLE_MEANINGS.items():
        assert f"{table} has {meaning[0].lower()}{meaning[1:]}" in introduction


def _plain(text: str) -> str:
    """Without links and code."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("`", "")


def test_every_view_has_a_row() -> None:
    documented = {names_in_code(row[0])[0]: names_in_code(row[1])[0] for row in rows(TABLES, under="Views")}
    assert documented == {name: view.table for name, view in VIEWS.items()}


def _documented(section: str) -> list[tuple[str, str]]:
    return [(names_in_code(row[0])[0], row[1]) for row in rows(TABLES, under=section)]


def _sql_type(kind: Any) -> str:
    """As DuckDB writes it."""
    if pa.types.is_list(kind):
        inner = kind.value_type
        return "STRUCT[]" if pa.types.is_struct(inner) else f"{_sql_type(inner)}[]"
    if pa.types.is_map(kind):
        return f"MAP({_sql_type(kind.key_type)}, {_sql_type(kind.item_type)})"
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP WITH TIME ZONE" if kind.tz else "TIMESTAMP"
    plain = {"date32[day]": "DATE", "string": "VARCHAR", "int32": "INTEGER", "int64": "BIGINT", "double": "DOUBLE"}
    return {**plain, "bool": "BOOLEAN"}[str(kind)]


# -- commands


@pytest.mark.parametrize(("page", "locale"), [(COMMANDS_PAGE, "en_US.UTF-8"), (COMMANDS_PAGE_JA, "ja_JP.UTF-8")])
def test_every_command_has_its_help_text(page: Path, locale: str, docs_update: bool) -> None:
    helps = dict(_helps(locale))
    if docs_update:
        _rewrite(page, helps)
    shown = {block.heading: block.text for block in blocks(page) if block.heading in helps}
    assert shown == helps
    assert [heading for heading in headings(page) if heading.startswith("sekisho")] == list(helps)


def _helps(locale: str) -> Iterator[tuple[str, str]]:
    """Every command and what `--help` prints, 80 columns wide."""
    whole = build([])
    yield "sekisho", _help([], locale)
    for name in COMMANDS:
        yield f"sekisho {name}", _help([name], locale)
        group = typer.main.get_command(whole)
        assert isinstance(group, click.Group) or hasattr(group, "commands")
        for inner in getattr(getattr(group, "commands")[name], "commands", {}):  # noqa: B009
            yield f"sekisho {name} {inner}", _help([name, inner], locale)


def _help(words: list[str], locale: str) -> str:
    environ = {"COLUMNS": "80", "LC_ALL": locale}
    done = CliRunner().invoke(build(words), [*words, "--help"], prog_name="sekisho", env=environ)
    assert done.exit_code == 0, done.output
    return "\n".join(line.rstrip() for line in done.output.strip().splitlines())


def _rewrite(page: Path, helps: dict[str, str]) -> None:
    introduction = page.read_text("utf-8").partition("\n## sekisho\n")[0].rstrip()
    sections = [f"## {name}\n\n```text\n{text}\n```" for name, text in helps.items()]
    page.write_text("\n\n".join([introduction, *sections]) + "\n", "utf-8")


# -- providers, mock


def test_every_provider_type_has_its_section() -> None:
    text = PROVIDERS.read_text("utf-8")
    for row in CATALOG.values():
        assert row.label in headings(PROVIDERS)
        section = text.partition(f"\n## {row.label}\n")[2].partition("\n## ")[0]
        assert f"`type: {row.name}`" in section
        assert f"`{row.base_url}`" in section
        assert row.docs_url in section


@pytest.mark.parametrize("name", ["README.md", "README.ja.md"])
def test_the_readme_names_every_provider(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert [row.label for row in CATALOG.values() if row.label not in text] == []


@pytest.mark.parametrize(("language", "section"), [("", "Scripts"), (".ja", "スクリプト")])
def test_every_key_of_a_script_has_a_row(language: str, section: str) -> None:
    page = DOCS / "how-to" / f"test-with-the-mock-provider{language}.md"
    documented = [name for row in rows(page, under=section) for name in names_in_code(row[0])]
    assert sorted(documented) == sorted(SCRIPT_KEYS)
