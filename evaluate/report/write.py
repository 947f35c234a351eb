"""Puts a report together, and writes it."""

from __future__ import annotations

import base64
import gzip
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ...errors import write_text
from ..comparison import Played, aggregate, family_scores
from ..multi_objective import front_points
from ..suite import Results
from ..summary import more_is_better
from .about import About
from .charts import comparisons_chart, front_charts, profile_chart, ratio_chart, scores_chart, sweep_charts
from .episodes import episode_chart
from .guide import GUIDE
from .parts import Chart, Section, Table
from .tables import comparisons_table, contest_table, front_table, glance_table, scores_table, sweep_table

FAMILIES = {"task-graph": "Task graphs", "offloading": "Offloading", "expert-cache": "Expert caching"}


def write_report(results: Results, folder: Path, about: About, episodes: Path | None = None) -> Path:
    """Writes ``report.html`` and ``report.md``; each replaces another atomically.

    The page needs nothing but itself: it can be opened from disk, sent and archived. Its numbers are also in the
    Markdown file, for a paper or an issue. The first episodes of contests are played again, to be drawn.

    Args:
        results: What came of a suite.
        folder: Where the files are written.
        about: What was run.
        episodes: Where the bars of episodes that are drawn are kept, and found again; by default nowhere.

    Returns:
        The path of the page.

    Raises:
        HetgymError: If a file cannot be written.
    """
    sections = sections_of(results, episodes)
    content = {
        "suite": results.suite,
        "about": about,
        "facts": _facts(results, about),
        "sections": sections,
        "guide": GUIDE,
    }
    templates = Environment(
        loader=PackageLoader(__package__, "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=lambda name: bool(name and name.endswith(".html")),
    )
    templates.filters["chart"] = _chart
    templates.filters["cell"] = _markdown_cell
    page = templates.get_template("report.html").render(**content, plotly=_plotly())
    write_text(folder / "report.md", templates.get_template("report.md").render(**content), "report")
    write_text(folder / "report.html", page, "report")
    return folder / "report.html"


def sections_of(results: Results, episodes: Path | None = None) -> list[Section]:
    """Returns what a report says, in order.

    Args:
        results: What came of a suite.
        episodes: As in `write_report`.
    """
    compared = [(one, one.comparison, more_is_better(one.metric, one.scenario)) for one in results.contests]
    sections = [Section("Summary", parts=(glance_table(compared),))] if compared else []
    sections += _family_sections(results.contests)
    for played, summary, more in compared:
        parts = (
            ratio_chart(played, summary, more),
            contest_table(played, summary, more),
            episode_chart(played, summary, more, episodes),
        )
        sections.append(Section(played.name, _intro(played), parts))
    sections += [_sweep_section(played) for played in results.sweeps]
    sections += [_front_section(played) for played in results.fronts]
    if len(results.comparisons):
        figures = comparisons_chart(results.comparisons), comparisons_table(results.comparisons)
        text = "How many times better a policy's mean is than another's."
        sections.append(Section("Published figures", text, figures))
    return sections


def _family_sections(contests: tuple[Played, ...]) -> list[Section]:
    """Returns scores and profiles by family: over all its contests if policies played in all, else of each."""
    sections = []
    for family in dict.fromkeys(played.scenario.family for played in contests):
        own = [played for played in contests if played.scenario.family == family]
        together = len(family_scores(own).policies) > 1
        parts: list[Table | Chart] = []
        for group in [own] if together else [[played] for played in own]:
            scored = family_scores(group)
            if not scored.policies:
                continue
            names, summary = ", ".join(scored.scenarios), aggregate(scored)
            parts += [scores_chart(f"{names}: scores", summary), profile_chart(f"{names}: profiles", scored)]
            if len(group) > 1:
                parts.append(scores_table(f"{names}: scores", summary))
        sections.append(Section(FAMILIES.get(family, family), parts=tuple(parts)))
    return sections


def _intro(played: Played) -> str:
    count, seed = played.table["episode"].nunique(), played.table["seed"].min()
    oracle = f", oracle {played.oracle}" if played.oracle else ""
    return (
        f"{played.scenario.description} Scenario {played.scenario.name}; {count} episodes from seed {seed}, the same "
        f"for all; reference {played.reference}{oracle}."
    )


def _sweep_section(played: Played) -> Section:
    summary = played.sweep_summary
    charts = sweep_charts(played, summary, more_is_better(played.metric, played.scenario))
    return Section(played.name, _intro(played), (*charts, sweep_table(played, summary)))


def _front_section(played: Played) -> Section:
    charts = front_charts(played, front_points(played.table))
    return Section(played.name, _intro(played), (*charts, front_table(played, played.front_summary)))


def _facts(results: Results, about: About) -> dict[str, str]:
    """Returns what was run, by name."""
    played = (*results.contests, *results.sweeps, *results.fronts)
    count = sum(len(one.table) for one in played)
    asked = f" ({about.episodes} of each policy, as asked for)" if about.episodes else ""
    return {
        "Episodes": f"{count:,} played{asked}, from seed {about.seed}",
        "Date": about.date,
        "Machine": f"{about.processor}; {about.cores} cores; {about.system}",
        "Versions": ", ".join(f"{name} {number}" for name, number in about.versions.items()),
        "Code": about.code,
    }


def _plotly() -> str:
    """Returns plotly.js, packed: as it is, 4.8 MB, it would leave no room for data in a page of 5 MiB."""
    return _packed((files("plotly") / "package_data" / "plotly.min.js").read_bytes())


def _chart(chart: Chart) -> str:
    """Returns what plotly.js draws, packed: numbers and hover texts of a large suite take a fifth of the space."""
    drawn = {"data": chart.data, "layout": chart.layout}
    return _packed(json.dumps(drawn, allow_nan=False, separators=(",", ":"), default=_plain).encode())


def _packed(content: bytes) -> str:
    """Returns something gzipped and in base64.

    The page unpacks it with `DecompressionStream`, which browsers have had since 2023, also for pages from disk.
    """
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()


def _plain(value: Any) -> Any:
    return value.item()


def _markdown_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
