"""The documentation: its code runs, its policies are those of the registry, and the site builds without a warning."""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import gymnasium
import pytest
import yaml
from markdown_it import MarkdownIt

from hetgym.cli import main
from hetgym.envs import list_envs, load_scenario
from hetgym.evaluate import load_suite
from hetgym.hardware_models import load_platform
from hetgym.workloads import random_task_graph, write_wfformat

ROOT = Path(__file__).parents[1]
RESULTS = "docs/results/report.md"
PAGES = (
    "README.md",
    *sorted({str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")} - {RESULTS}),
)

SHORTER = (
    (r"hetgym train (?!.*--steps)", "hetgym train --steps 1 "),
    (r"--steps [1-9]\d*", "--steps 64 --num-envs 8 --rollout 8 --held-out 4"),
    (r"\bsteps=[1-9][\d_]*", "steps=64, num_envs=8, rollout=8, held_out=4"),
    (r"\blearn\(\d[\d_]*\)", "learn(1)"),
    (r"(--episodes |\bepisodes=)\d+", r"\g<1>2"),
    (r"--suite (?!.*--episodes)", "--episodes 1 --suite "),
    (r"hetgym evaluate (?!.*--episodes)", "hetgym evaluate --episodes 2 "),
    (r"--adversarial (?!.*--iterations)", "--iterations 5 --adversarial "),
    (r"\brepair-\d+:", "repair-5:"),
    (r"\bbest-of-\d+:", "best-of-2:"),
    (r"0\.1:0\.9:0\.1", "0.1:0.9:0.8"),
    (r"\btime_limit=\d+", "time_limit=1"),
)
"""What is made small where code of the documentation runs: patterns, and what takes their place."""

NOT_RUN = 4
"""Blocks that say that they are not run, and why; each more needs a good reason."""

REASON = re.compile(r"<!-- not run: (.+) -->")
TITLE = re.compile(r'title="(.+)"')


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    title: str
    content: str
    line: int
    reason: str


def blocks(markdown: str) -> Iterator[Block]:
    """Yields the fenced blocks of a page; a comment right before one may say why it is not run."""
    reason = ""
    for token in MarkdownIt("commonmark").parse(markdown):
        if token.type == "html_block":
            said = REASON.search(token.content)
            reason = said[1] if said else ""
        elif token.type == "fence":
            assert token.map is not None
            title = TITLE.search(token.info)
            yield Block(token.info.split(" ")[0], title[1] if title else "", token.content, token.map[0] + 1, reason)
            reason = ""
        elif token.level == 0:
            reason = ""


def shortened(text: str) -> str:
    """Returns code with less to do."""
    for pattern, replacement in SHORTER:
        text = re.sub(pattern, replacement, text)
    return text


def commands(text: str) -> list[list[str]]:
    """Returns the words of each command of a shell block."""
    lines = shortened(text.replace("\\\n", " ")).splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def run_python(block: Block, page: str, names: dict[str, Any]) -> None:
    """Runs a block, or writes it to the file that its title names; blocks of a page share their names."""
    if block.title:
        Path(block.title).write_text(block.content, encoding="utf-8")
    code = "\n" * block.line + shortened(block.content)
    exec(compile(code, page, "exec"), names)


def run_bash(block: Block, page: str) -> None:
    """Runs commands, all of which are ``hetgym``'s."""
    for words in commands(block.content):
        assert words[0] == "hetgym", f"{page}, line {block.line}: {words[0]} is not run here: say why above the block"
        main(words[1:])


def load_yaml(block: Block) -> None:
    """Writes a scenario, a platform or a suite to a file and loads it as people do."""
    content = yaml.safe_load(block.content)
    path = block.title or f"{content['name']}.yaml"
    Path(path).write_text(block.content, encoding="utf-8")
    load = load_platform if "devices" in content else load_suite if "contests" in content else load_scenario
    load(path)


def run_block(block: Block, page: str, names: dict[str, Any]) -> None:
    """Runs a block by its language."""
    match block.language:
        case "python":
            run_python(block, page, names)
        case "bash":
            run_bash(block, page)
        case "yaml":
            load_yaml(block)
        case _:
            pytest.fail(f"{page}, line {block.line}: python, bash and yaml are run; say why above another block")


def lay_files() -> None:
    """Writes what README takes for given: a reader's workflow, platform, trace, requests and rates."""
    write_wfformat(replace(random_task_graph(num_tasks=8, num_devices=1, seed=0), kinds=("cpu",)), Path("montage.json"))
    platform = ROOT / "hardware_models" / "presets" / "four-workers.yaml"
    Path("my-platform.yaml").write_text(platform.read_text(encoding="utf-8"), encoding="utf-8")
    drawn = "trace generate --model olmoe-1b-7b --requests 2 --prompt-tokens 4 --output-tokens 4 --output mine.parquet"
    main(shlex.split(drawn))
    Path("requests.csv").write_text(
        "arrival,bits\n" + "".join(f"{i},{1e6 * (i + 1)}\n" for i in range(4)), encoding="utf-8"
    )
    Path("wifi.csv").write_text("bandwidth\n" + "20.0\n" * 30, encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder from which modules are imported, and forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


def run_page(page: str, markdown: str) -> int:
    """Runs the blocks of a page in order; returns how many."""
    names: dict[str, Any] = {"__name__": "documentation"}
    run = [block for block in blocks(markdown) if not block.reason]
    for block in run:
        run_block(block, page, names)
    return len(run)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", PAGES)
def test_code_of_a_page_runs(page: str) -> None:
    if page == "README.md":
        lay_files()
    run_page(page, (ROOT / page).read_text(encoding="utf-8"))


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("env_id", list_envs())
def test_code_of_an_environments_docstring_runs(env_id: str) -> None:
    module, _, name = str(gymnasium.spec(env_id).entry_point).partition(":")
    docstring = inspect.getdoc(getattr(importlib.import_module(module), name))
    assert docstring
    assert run_page(env_id, docstring) == 1


def test_few_blocks_are_not_run() -> None:
    """The list of them is what is shown where there are more or fewer."""
    texts = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
    left = [f"{page}:{block.line}: {block.reason}" for page in texts for block in blocks(texts[page]) if block.reason]
    assert len(left) == NOT_RUN, "\n".join(left)
    assert sum(text.count("<!-- not run") for text in texts.values()) == len(left)  # each belongs to a block


def test_nothing_is_made_short_in_vain() -> None:
    """Each pattern is still found in some page."""
    code = [
        block.content.replace("\\\n", " ")
        for page in PAGES
        for block in blocks((ROOT / page).read_text(encoding="utf-8"))
    ]
    for pattern, _ in SHORTER:
        assert any(re.search(pattern, text) for text in code), pattern


def glance(page: str) -> list[str]:
    """Returns the lines of a page's table of contests."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("| contest |"))
    return list(itertools.takewhile(lambda line: line.startswith("|"), lines[begin:]))


def test_leaderboard_is_what_its_report_says() -> None:
    report = glance(RESULTS)
    assert glance("docs/leaderboard.md") == report
    head = glance("README.md")
    assert len(head) > 2
    assert head == [line for line in report if line in head]


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    """The hook that makes pages."""
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    spec = importlib.util.spec_from_file_location("documentation_pages", ROOT / "docs" / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_of_policies_is_that_of_the_registry(pages: ModuleType) -> None:
    table = pages.policy_table()
    assert set(table) == {*pages.FAMILIES, "all", "patterns"}
    for group, content in table.items():
        assert sorted(content["policies"]) == sorted(pages.names_of(group)), group
        for name, entry in content["policies"].items():
            assert set(entry) == {"formula", "rule", "source"}, name
            assert all(entry.values()), name


def test_formulas_are_read_whole(pages: ModuleType) -> None:
    """A LaTeX command that is not known would stand in the MathML as it is."""
    for content in pages.policy_table().values():
        for name, entry in content["policies"].items():
            texts = [f"${entry['formula']}$", entry["rule"], content["symbols"]]
            assert "\\" not in "".join(map(pages.with_formulas, texts)), name


def test_sources_are_those_of_the_code() -> None:
    """No DOI or arXiv number stands in the table alone: each is in a docstring of what it is about, too."""
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "agents").rglob("*.py"))
    table = (ROOT / "docs" / "policies.yaml").read_text(encoding="utf-8")
    quoted = re.findall(r"(?:doi:10\.|arXiv:)[^\s,;]*[^\s,;:.)]", table)
    assert len(quoted) > 50
    assert [number for number in quoted if number not in code] == []


def test_every_environment_has_a_picture() -> None:
    for env_id in list_envs():
        name = env_id.partition("/")[2]
        picture = ROOT / "docs" / "images" / "environments" / f"{name}.png"
        assert 5_000 < picture.stat().st_size < 100_000, f"{name}: python docs/pictures.py draws it"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    if not (ROOT / ".venv" / "src" / "hetgym").exists():
        pytest.skip("the reference is read through .venv/src/hetgym, a link that make lays")
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        config = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(folder))
        build(config)
    return folder


def test_site_builds_strictly_and_has_all_pages(site: Path, pages: ModuleType) -> None:
    for section in pages.generated().values():
        for path in section:
            assert (site / path).with_suffix(".html").is_file(), path
    assert "upward rank" in (site / "policies" / "task-graph" / "heft.html").read_text(encoding="utf-8")
    assert 'id="hetgym.evaluate.evaluate"' in (site / "reference" / "evaluate.html").read_text(encoding="utf-8")


def test_site_asks_nobody_else(site: Path) -> None:
    """Pages load nothing from elsewhere: no script, style, font, picture or frame."""
    loaded = re.compile(
        r'<(?:script|img|iframe|source)[^>]*\bsrc="?(?:https?:)?//|<link[^>]*rel="?stylesheet[^>]*href="?(?:https?:)?//'
    )
    preconnected = re.compile(r'rel="?(?:preconnect|dns-prefetch|preload)')
    htmls = list(site.rglob("*.html"))
    assert len(htmls) > 150
    for path in htmls:
        text = path.read_text(encoding="utf-8")
        assert not loaded.search(text), path
        assert not preconnected.search(text), path
    for path in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import )[\"']?(?:https?:)?//", path.read_text(encoding="utf-8")), path
