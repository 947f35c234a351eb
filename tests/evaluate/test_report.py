"""Reports in a browser: they load, draw, sort and fit; and the same numbers as Markdown."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hetgym.agents import make_policy
from hetgym.envs import load_scenario
from hetgym.evaluate import load_suite, run_suite
from hetgym.evaluate.comparison import Played
from hetgym.evaluate.evaluation import evaluate, play
from hetgym.evaluate.multi_objective import front_points
from hetgym.evaluate.report import About, write_report
from hetgym.evaluate.report.charts import front_charts, sweep_charts
from hetgym.evaluate.report.episodes import MOST_BARS, MOST_LANES, chosen_policies, cut, episode_chart, replay, window
from hetgym.evaluate.report.numbers import Scale, interval, number, quantity
from hetgym.evaluate.report.write import FAMILIES
from hetgym.evaluate.suite import Contest, Results, Row, Suite

MEBIBYTE = 2**20
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

SMALL_CACHE = {"pool": "layer", "prompt_tokens": 4, "output_tokens": 16}
SUITE = Suite(
    name="small",
    description="A little of everything </script> & so on.",
    episodes=6,
    contests=(
        Contest(scenario="random", set={"num_tasks": 10}, policies=("heft", "peft", "random")),
        Contest(
            scenario="v2-lite", set=SMALL_CACHE, policies=("lru", "lfu", "belady"), metric="hit_rate", oracle="belady"
        ),
        Contest(scenario="mec-gmorl", set={"horizon": 20}, policies=("weighted-greedy", "random")),
        Contest(name="over ccr", scenario="random", policies=("heft", "random"), sweep={"num_tasks": (5, 10)}),
        Contest(name="fronts", scenario="mec-gmorl", set={"horizon": 20}, policies=("weighted-greedy", "random"),
                front=True, weights=3),
    ),
    rows=(
        Row(paper="Someone", setting="a layer", scenario="v2-lite", set=SMALL_CACHE, policy="lfu", against="lru",
            figure=1.5, note="As published."),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def results() -> Results:
    return run_suite(SUITE)


@pytest.fixture(scope="module")
def report(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(results, tmp_path_factory.mktemp("report"), About.here("hetgym evaluate --suite <small>.yaml"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium is installed")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(browser: Any, report: Path) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1400, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.complaints, page.requests = [], []
    page.on("console", lambda message: page.complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: page.requests.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-drawn]", timeout=60_000)
    yield page
    context.close()


def test_the_page_needs_nothing_but_itself(page: Any, report: Path) -> None:
    assert page.complaints == []
    assert [url for url in page.requests if not url.startswith(("data:", "blob:"))] == [report.as_uri()]
    assert report.stat().st_size < 5 * MEBIBYTE
    assert "A little of everything </script> & so on." in page.inner_text("header")


def test_all_charts_are_drawn(page: Any) -> None:
    drawn = page.evaluate(
        """[...document.querySelectorAll(".chart")].map(chart => ({
            title: chart.ariaLabel, traces: chart.data.length, figures: chart.querySelectorAll("svg.main-svg").length,
            drawn: chart.querySelectorAll(".trace").length}))"""
    )
    titles = [chart["title"] for chart in drawn]
    # Three contests with scores, profiles, ratios and an episode each; a sweep; delay against energy, as nothing is
    # missed; published figures.
    assert len(titles) == 3 * 4 + 1 + 1 + 1
    assert all(chart["figures"] for chart in drawn)
    assert all(chart["traces"] == chart["drawn"] for chart in drawn if "episode" not in chart["title"])
    traces = dict(zip(titles, (chart["traces"] for chart in drawn), strict=True))
    assert traces["random: profiles"] == 3
    assert traces["over ccr: makespan over num_tasks"] == 2 * 2
    assert traces["fronts: delay against energy"] == 2 * 2
    assert traces["Ours beside published figures"] == 2
    assert traces["random: the episode of seed 0"] == 3 * 10


def test_bars_of_an_episode_carry_its_numbers(page: Any, results: Results) -> None:
    shown = page.evaluate(
        """document.querySelector('[aria-label="random: the episode of seed 0"]').data
            .map(({name, yaxis, y, base, x}) => ({name, yaxis, y, base, x}))"""
    )
    policies = chosen_policies(results.contests[0], results.contests[0].comparison, more=False)
    for place, policy in enumerate(policies):
        axis = "y" if place == 0 else f"y{place + 1}"
        own = [
            (trace["name"], lane, begin, pytest.approx(begin + length))
            for trace in shown
            if trace["yaxis"] == axis
            for lane, begin, length in zip(trace["y"], trace["base"], trace["x"], strict=True)
        ]
        table = episode_of(results.contests[0], policy)
        rows = table[["name", "device_name", "start", "finish"]].itertuples(index=False)
        assert sorted(own, key=lambda bar: bar[0]) == sorted(map(tuple, rows), key=lambda row: row[0])


def episode_of(played: Played, policy: str) -> pd.DataFrame:
    simulator = played.scenario.for_single_episodes().simulator(1)
    outcome = play(simulator, make_policy(policy), [0])
    recorded = played.table[(played.table["policy"] == policy) & (played.table["seed"] == 0)]
    assert outcome[played.metric].tolist() == recorded[played.metric].tolist()
    return simulator.episode(0)


def test_an_episode_that_is_kept_is_not_played_again(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = results.contests[1]
    summary = played.comparison
    first = episode_chart(played, summary, True, tmp_path)
    monkeypatch.setattr("hetgym.evaluate.report.episodes.play_out", lambda *_: pytest.fail("played"))
    assert episode_chart(played, summary, True, tmp_path) == first
    assert len(list(tmp_path.iterdir())) == 3


def test_a_click_on_a_header_sorts(page: Any, results: Results) -> None:
    def column(header: str) -> list[float]:
        return page.evaluate(
            """([title, header]) => {
                const table = [...document.querySelectorAll("table")].find(t => t.caption.textContent == title);
                const index = [...table.tHead.rows[0].cells].findIndex(th => th.textContent.startsWith(header));
                return [...table.tBodies[0].rows].map(row => Number(row.cells[index].dataset.key));
            }""",
            ["random: all policies", header],
        )

    summary = results.contests[0].comparison
    assert column("mean") == summary["mean"].tolist()
    header = page.locator("table", has_text="random: all policies").locator("thead th", has_text="mean makespan")
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert column("mean") == sorted(summary["mean"])
    assert column("ratio") == sorted(summary["ratio"])  # rows stay whole
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert column("mean") == sorted(summary["mean"], reverse=True)


def test_missing_numbers_come_last_and_words_are_sorted_as_words(page: Any) -> None:
    table = page.locator("table", has_text="random: all policies")
    header = table.locator("thead th", has_text=re.compile("^p$"))
    for _ in range(2):
        header.get_by_role("button").click()
        assert table.locator("tbody tr").last.locator("th").inner_text() == "heft"
    table.locator("thead th", has_text="policy").get_by_role("button").click()
    assert table.locator("tbody th").all_inner_texts() == ["heft", "peft", "random"]


def test_nothing_is_wider_than_a_phone(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    scrolls = page.evaluate("[...document.querySelectorAll('.scroll')].map(box => box.scrollWidth > box.clientWidth)")
    assert any(scrolls)
    page.set_viewport_size({"width": 1400, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 1400


def test_charts_follow_the_theme(page: Any) -> None:
    ink = """() => [getComputedStyle(document.body).color,
        getComputedStyle(document.querySelector(".chart .xtick text")).fill]"""
    light = page.evaluate(ink)
    assert light[0] == light[1]
    page.click("#theme")
    page.wait_for_function(f"({ink})()[1] == ({ink})()[0]")
    assert page.evaluate(ink) != light
    assert page.inner_text("#theme") == "Light"
    page.click("#theme")
    page.wait_for_function(f"({ink})()[1] == {light[1]!r}")
    assert page.complaints == []


def test_on_paper_all_is_light_open_and_whole(browser: Any, report: Path) -> None:
    context = browser.new_context(viewport={"width": 1400, "height": 900}, color_scheme="dark")
    page = context.new_page()
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-drawn]", timeout=60_000)
    before = page.evaluate("[...document.querySelectorAll('.chart')].map(chart => chart._fullLayout.width)")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 703, "height": 1000})  # what margins of 12 mm leave of A4
    style = "getComputedStyle(document.querySelector({!r})).{}"
    assert page.evaluate(style.format("body", "backgroundColor")) == "rgb(255, 255, 255)"
    assert page.evaluate(style.format(".chart .xtick text", "fill")) == page.evaluate(style.format("body", "color"))
    assert page.evaluate(style.format("body", "color")) == "rgb(27, 32, 39)"
    assert page.locator("details p").first.is_visible()
    assert not page.locator("#theme").is_visible()
    assert not page.locator("nav").is_visible()
    right = """[...document.querySelectorAll("table, .chart svg.main-svg")]
        .map(part => part.getBoundingClientRect().right)"""
    assert max(page.evaluate(right)) <= 703
    height = "Math.max(...[...document.querySelectorAll('figure')].map(part => part.getBoundingClientRect().height))"
    assert page.evaluate(height) < 1000
    page.set_viewport_size({"width": 1400, "height": 900})
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(style.format("body", "backgroundColor")) == "rgb(15, 18, 23)"
    assert not page.locator("details p").first.is_visible()
    after = page.evaluate("[...document.querySelectorAll('.chart')].map(chart => chart._fullLayout.width)")
    assert after == before
    assert page.pdf().startswith(b"%PDF")
    context.close()


def test_legends_are_above_the_plot_at_any_width(page: Any) -> None:
    overlap = """() => [...document.querySelectorAll(".chart .legend")].map(legend => {
        const plot = legend.closest(".chart").querySelector(".nsewdrag");
        return legend.getBoundingClientRect().bottom - plot.getBoundingClientRect().top;
    })"""
    for width in (1400, 900, 1400):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(700)
        assert max(page.evaluate(overlap)) < 4, width


def test_a_dark_system_gets_a_dark_page(browser: Any, report: Path) -> None:
    context = browser.new_context(color_scheme="dark", java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 18, 23)"
    context.close()


def test_markdown_has_the_same_numbers(report: Path, results: Results) -> None:
    text = report.with_name("report.md").read_text(encoding="utf-8")
    assert text.startswith(
        "# small\n\nA little of everything </script> & so on.\n\n```\nhetgym evaluate --suite <small>"
    )
    summary = results.contests[0].comparison.set_index("policy")
    row = summary.loc["peft"]
    assert f"| {number(row['ratio'])} ({interval(row['low'], row['high'])}) |" in text
    assert f"{number(row['iqm'])} ({interval(row['iqm_low'], row['iqm_high'])})" in text
    assert "belady †" in text
    comparison = results.comparisons.iloc[0]
    assert f"**{number(comparison['ratio'])}×**" in text  # noqa: RUF001
    assert "1. As published." in text
    headers = [line for line in text.splitlines() if line.startswith("|--")]
    assert len(headers) == len(re.findall(r"^\*\*.*\*\*$", text, re.MULTILINE)) == 7


def test_policies_of_ones_own_that_have_no_name_are_left_out(tmp_path: Path) -> None:
    table = evaluate("heft-paper", "heft,cpop", 3)
    table["policy"] = table["policy"].replace("cpop", "mine")
    played = Played("mine", load_scenario("heft-paper"), table, "makespan", "heft")
    suite = Suite(name="mine", contests=(Contest(scenario="heft-paper"),))
    page = write_report(
        Results(suite, 0, (played,), (), (), pd.DataFrame()), tmp_path, About.here("python mine.py", 0, 3)
    )
    assert "mine could not be played again: unknown policy" in page.read_text(encoding="utf-8")


def seconds_long(count: int, lanes: list[str], first: int = 0) -> pd.DataFrame:
    """Returns bars of a second, one after the other, in lanes by turns."""
    names = [lanes[place % len(lanes)] for place in range(count)]
    begin = pd.Series(range(first, first + count), dtype=float)
    lane = pd.Categorical(names, categories=lanes)
    return pd.DataFrame({"lane": lane, "begin": begin, "end": begin + 1.0, "label": "", "group": ""})


def test_episodes_with_few_bars_are_drawn_whole() -> None:
    assert window([seconds_long(MOST_BARS, ["a", "b"])]) is None
    assert window([]) is None


def test_long_episodes_are_drawn_from_the_middle_of_the_shortest() -> None:
    lanes = ["a", "b", "c"]
    short, long = seconds_long(4 * MOST_BARS, lanes, first=100), seconds_long(8 * MOST_BARS, lanes)
    middle = 100.0 + 2 * MOST_BARS
    assert window([short, long]) == (middle, middle + MOST_BARS)
    for bars in (short, long):
        shown = cut(bars, middle, middle + MOST_BARS)
        assert shown["begin"].tolist() == [middle + place for place in range(MOST_BARS)]
        assert shown["lane"].cat.categories.tolist() == lanes
    running = cut(long, middle + 0.5, middle + 1.5)
    assert running["begin"].tolist() == [middle, middle + 1]


def test_of_many_lanes_those_in_the_window_are_drawn() -> None:
    requests = [f"request {place}" for place in range(10 * MOST_LANES)]
    bars = seconds_long(len(requests), requests)
    stretch = window([bars])
    assert stretch is not None
    shown = cut(bars, *stretch)
    first = 5 * MOST_LANES
    assert shown["lane"].cat.categories.tolist() == shown["lane"].tolist() == requests[first : first + MOST_LANES]


def test_the_timeline_of_a_cache_is_past_the_prefill() -> None:
    scenario = load_scenario("v2-lite", prompt_tokens=16, output_tokens=60)
    bars = replay(scenario, "lru", 0)
    simulator = scenario.for_single_episodes().simulator(1)
    play(simulator, make_policy("lru"), [0])
    timeline = simulator.episode(0)
    prefilled = timeline.loc[timeline["what"] == "prefill", "end"].max()
    assert bars["begin"].iloc[MOST_BARS] < prefilled
    table = evaluate(scenario, "lru,lfu", 1)
    played = Played("v2-lite", scenario, table, "hit_rate", "lru")
    chart = episode_chart(played, played.comparison, True)
    assert "The middle of a long episode: from " in chart.note
    assert min(chart.layout["xaxis"]["range"]) > prefilled
    assert (
        min(begin + length for trace in chart.data for begin, length in zip(trace["base"], trace["x"], strict=True))
        > prefilled
    )


def test_panels_of_a_sweep_have_the_same_axes(results: Results) -> None:
    played = results.sweeps[0]
    table = pd.concat([played.table.assign(ccr=ccr, makespan=played.table["makespan"] * ccr) for ccr in (1, 3)])
    order = ["num_tasks", "ccr", *played.table.columns.drop("num_tasks")]
    two = Played("two", played.scenario, table[order], "makespan", "heft")
    summary = two.sweep_summary
    first, second = sweep_charts(two, summary, more=False)
    assert first.layout["yaxis"] == second.layout["yaxis"]
    assert first.layout["xaxis"] == second.layout["xaxis"]
    low, high = (10**end for end in first.layout["yaxis"]["range"])
    assert low < summary["mean_low"].min() < summary["mean_high"].max() < high
    assert "All panels have the same axes." in first.note


def test_objectives_in_which_nobody_differs_are_not_drawn(results: Results) -> None:
    played = results.fronts[0]
    points = front_points(played.table)
    points["return_misses"] = -np.arange(len(points), dtype=float)
    assert len(front_charts(played, points)) == 3
    points["return_misses"] = -1.0
    (chart,) = front_charts(played, points)
    assert chart.title == "fronts: delay against energy"
    assert "All points have the same misses." in chart.note


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00123456, "s", "1.235 ms"),
        (4321.0, "s", "4321 s"),
        (0.0, "s", "0 s"),
        (5.4e9, "B", "5.400 GB"),
        (0.96, "", "0.9600"),
        (123456.0, "1/s", "123,456 1/s"),
        (float("nan"), "J", "– J"),  # noqa: RUF001
        (2e-7, "", "2e-07"),
    ],
)
def test_quantities_have_four_digits_and_prefixes(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_numbers_of_a_column_share_a_unit() -> None:
    scale = Scale.of([2e-3, 4e-5, float("nan")], "s")
    assert (scale.named("delay"), scale.text(4e-5)) == ("delay (ms)", "0.04000")


def test_every_family_of_the_quick_suite_has_a_name() -> None:
    assert {load_scenario(one.scenario).family for one in load_suite("quick").contests} == set(FAMILIES)
