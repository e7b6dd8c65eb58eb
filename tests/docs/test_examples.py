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
from tests.docs.pages import DOCS, PAGES, REFERENCE, ROOT, Block, blocks, links, name_of, prose
from tests.docs.workspace import Demo, Demos, Worker, matches, workspace
from tests.support.certificates import write_certificate

README = ROOT / "README.md"
HOW_TO = [page for page in sorted((DOCS / "how-to").glob("*.md")) if not page.name.endswith(".ja.md")]
README_JA = ROOT / "README.ja.md"
#: pages of the reference are generated, in either language: test_reference compares them
JAPANESE = [page for page in PAGES if page.name.endswith(".ja.md") and page.parent != REFERENCE]
#: what a Japanese page shows in words of its own is run as well, in a Japanese terminal
_IN_ITS_WORDS = """
administer
ask-again-without-paying-twice
back-up-and-upgrade
compare-with-the-bill
give-every-department-a-budget
keep-the-tables-on-object-storage
keys
reconcile
run-several-workers
stream-to-a-web-page
test-with-the-mock-provider
use-the-openai-sdk
watch-and-stop-spending
"""
OWN_JAPANESE = [README_JA, DOCS / "start.ja.md", *(DOCS / "how-to" / f"{name}.ja.md" for name in _IN_ITS_WORDS.split())]
EXECUTED = [README, DOCS / "start.md", *HOW_TO, *OWN_JAPANESE]
PAGES_AT_ONCE = 4
READING = "test_every_block_of_a_page_does_what_it_says"
#: blocks in these languages have to be executed, checked or written; others are for the eye
LIVE = frozenset({"sh", "python", "sql", "yaml", "html"})
MARKS = re.compile(r"make|run|start|config|complete|output|banner|file=[\w.]+")
SAYS_EN, SAYS_JA = "are run by `make test`", "`make test` で実行されています"


@pytest.fixture(scope="module")
def readings(
    request: pytest.FixtureRequest, demos: Demos, worker: Worker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Path, Future[list[str]]]]:
    """All pages that were asked for, a few at a time: they sleep and wait more than they work."""
    chosen = {item.callspec.params["page"] for item in request.session.items if item.name.startswith(READING)}
    with ThreadPoolExecutor(PAGES_AT_ONCE) as pool:
        yield {page: pool.submit(_read, page, tmp_path_factory.mktemp("page"), demos, worker) for page in chosen}


def _read(page: Path, folder: Path, demos: Demos, worker: Worker) -> list[str]:
    """What the `run` blocks of a page printed, in order."""
    printed: list[str] = []
    with workspace(folder, _language(page), demos, worker) as place:
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
    if page in (README, README_JA):
        answer, table, *_ = printed
        assert answer.startswith("HTTP/1.1 200 OK\n")
        assert "x-sekisho-cost-usd: 0." in answer
        assert [line.split()[0] for line in table.splitlines()[:1]] == ["event_time"]
        assert len(table.splitlines()) == 6


@pytest.mark.parametrize("page", [README, README_JA], ids=name_of)
def test_the_banner_in_the_readme_is_the_one_that_is_printed(page: Path, demos: Demos) -> None:
    shown = next(block.text for block in blocks(page) if "banner" in block.marks)
    demo = demos.speaking(_language(page))
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
    write_certificate(tmp_path)
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
    assert [_bare(block) for block in blocks(page)] == [_bare(block) for block in blocks(_english(page))]


@pytest.mark.parametrize("page", OWN_JAPANESE, ids=name_of)
def test_a_japanese_page_with_words_of_its_own_does_the_same_steps(page: Path) -> None:
    assert [_bare(block)[:2] for block in blocks(page)] == [_bare(block)[:2] for block in blocks(_english(page))]


@pytest.mark.parametrize("page", JAPANESE, ids=name_of)
def test_a_japanese_page_has_the_sections_of_the_english_one_and_both_lead_to_each_other(page: Path) -> None:
    english = _english(page)
    assert [_level(line) for line in _headings(page)] == [_level(line) for line in _headings(english)]
    assert links(page)[0] == english.name
    assert links(english)[0] == page.name


@pytest.mark.parametrize("page", JAPANESE, ids=name_of)
def test_a_japanese_page_leads_to_japanese_pages_where_there_are_any(page: Path) -> None:
    for target in links(page)[1:]:
        path = target.partition("#")[0]
        if path.endswith(".md") and "://" not in path and not path.endswith(".ja.md"):
            japanese = page.parent / path.replace(".md", ".ja.md")
            assert not japanese.exists(), f"{name_of(page)} links to {target}"


def _english(page: Path) -> Path:
    return page.with_name(page.name.replace(".ja.md", ".md"))


def _language(page: Path) -> str:
    return "ja" if page in JAPANESE else "en"


def _headings(page: Path) -> list[str]:
    return [line for line in prose(page) if line.startswith("#")]


def _level(heading: str) -> int:
    return len(heading) - len(heading.lstrip("#"))


def _bare(block: Block) -> tuple[str, tuple[str, ...], str]:
    return block.language, block.marks, block.text


def _output_follows(found: list[Block], number: int) -> bool:
    return number + 1 < len(found) and "output" in found[number + 1].marks
