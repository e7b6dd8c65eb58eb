"""Every example runs: what a reader types on a page is typed here, in order, in a temporary folder."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from sekisho.app.settings import ConfigError, parse
from tests.docs.pages import DOCS, PAGES, REFERENCE, ROOT, Block, blocks, name_of
from tests.docs.workspace import Demo, Worker, matches, workspace

README = ROOT / "README.md"
HOW_TO = [page for page in sorted((DOCS / "how-to").glob("*.md")) if not page.name.endswith(".ja.md")]
#: where the Japanese page has names of its own, it is run as well
OWN_JAPANESE = [DOCS / "how-to" / "give-every-department-a-budget.ja.md"]
EXECUTED = [README, DOCS / "start.md", *HOW_TO, *OWN_JAPANESE]
#: pages of the reference are generated, in either language: test_reference compares them
JAPANESE = [page for page in PAGES if page.name.endswith(".ja.md") and page.parent != REFERENCE]
PAGES_AT_ONCE = 4
READING = "test_every_block_of_a_page_does_what_it_says"
#: blocks in these languages have to be executed, checked or written; others are for the eye
LIVE = frozenset({"sh", "python", "sql", "yaml", "html"})
MARKS = re.compile(r"make|run|start|config|complete|output|banner|file=[\w.]+")
SAYS_EN, SAYS_JA = "are run by `make test`", "`make test` で実行されています"


@pytest.fixture(scope="module")
def readings(
    request: pytest.FixtureRequest, demo: Demo, worker: Worker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Path, Future[list[str]]]]:
    """All pages that were asked for, a few at a time: they sleep and wait more than they work."""
    chosen = {item.callspec.params["page"] for item in request.session.items if item.name.startswith(READING)}
    with ThreadPoolExecutor(PAGES_AT_ONCE) as pool:
        yield {page: pool.submit(_read, page, tmp_path_factory.mktemp("page"), demo, worker) for page in chosen}


def _read(page: Path, folder: Path, demo: Demo, worker: Worker) -> list[str]:
    """What the `run` blocks of a page printed, in order."""
    printed: list[str] = []
    with workspace(folder, demo, worker) as place:
        for number, block in enumerate(found := blocks(page)):
            place.execute(block)
            if "run" in block.marks:
                printed.append(place.output)
            if "run" in block.marks and not _output_follows(found, number):
                # an answer that is an error has exit code 0 for curl
                assert '"error":{' not in place.output, f"{block.place}\n{place.output}"
    return printed


@pytest.mark.parametrize("page", EXECUTED, ids=name_of)
def test_every_block_of_a_page_does_what_it_says(page: Path, readings: dict[Path, Future[list[str]]]) -> None:
    printed = readings[page].result()
    if page == README:
        answer, table, *_ = printed
        assert answer.startswith("HTTP/1.1 200 OK\n")
        assert "x-sekisho-cost-usd: 0." in answer
        assert [line.split()[0] for line in table.splitlines()[:1]] == ["event_time"]
        assert len(table.splitlines()) == 6


def test_the_banner_in_the_readme_is_the_one_that_is_printed(demo: Demo) -> None:
    shown = next(block.text for block in blocks(README) if "banner" in block.marks)
    expected = shown.replace(":4000", f":{demo.port}").replace("/home/you/sekisho/", "…")
    assert matches(f"{expected}\n…", demo.banner), demo.banner


def test_the_banner_shows_lines_that_can_be_pasted(demo: Demo) -> None:
    pasted = [
        line.strip() for line in demo.banner.splitlines() if (line.startswith("  ") and "'" in line) or " sql " in line
    ]
    assert len(pasted) == 2
    for line in pasted:
        done = subprocess.run(["bash", "-c", line], cwd=demo.folder, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stderr
        assert '"error":{' not in done.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_has_the_targets_that_pages_name() -> None:
    named = {word for page in PAGES for block in blocks(page) if "make" in block.marks for word in block.text.split()}
    for target in named - {"make"}:
        recipe = subprocess.run(
            ["make", "--no-print-directory", "-n", target, "PORT=4711"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert recipe.returncode == 0, recipe.stderr
        if target == "demo":
            # what the pages that begin with `make demo` are run against
            assert recipe.stdout.splitlines()[-1].endswith("/sekisho demo --port 4711")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_config_block_is_a_configuration_that_can_be_used(page: Path, tmp_path: Path) -> None:
    for name in ("server.crt", "server.key"):
        (tmp_path / name).write_text("a file that is there")
    for block in blocks(page):
        if "config" not in block.marks:
            continue
        environ = {name: f"{name.lower()}-0123456789abcdef" for name in re.findall(r"\$\{env:(\w+)\}", block.text)}
        try:
            parse(block.text, block.place, environ, tmp_path, language="en")
        except ConfigError as error:
            pytest.fail(str(error))


@pytest.mark.parametrize("page", [*EXECUTED, *JAPANESE], ids=name_of)
def test_no_live_block_is_left_unmarked(page: Path) -> None:
    for block in blocks(page):
        assert all(MARKS.fullmatch(mark) for mark in block.marks), f"{block.place}: unknown mark"
        assert block.marks or block.language not in LIVE, f"{block.place}: say what is to be done with this block"


@pytest.mark.parametrize("page", [page for page in [*EXECUTED, *JAPANESE] if page.parent != ROOT], ids=name_of)
def test_a_page_that_is_run_says_so(page: Path) -> None:
    says = SAYS_JA if page in JAPANESE else SAYS_EN
    assert says in page.read_text("utf-8")


@pytest.mark.parametrize("page", [page for page in JAPANESE if page not in OWN_JAPANESE], ids=name_of)
def test_a_japanese_page_has_the_blocks_of_the_english_one(page: Path) -> None:
    english = page.with_name(page.name.replace(".ja.md", ".md"))
    assert [_bare(block) for block in blocks(page)] == [_bare(block) for block in blocks(english)]


def _bare(block: Block) -> tuple[str, tuple[str, ...], str]:
    return block.language, block.marks, block.text


def _output_follows(found: list[Block], number: int) -> bool:
    return number + 1 < len(found) and "output" in found[number + 1].marks
