"""Pages that are made when the site is built, for environments, policies and packages (a MkDocs hook)."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium
import yaml
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from hetgym.agents import describe_policies, list_policies, make_policy
from hetgym.agents.registry import policy_makers
from hetgym.envs import Scenario, list_envs, list_scenarios, load_scenario
from hetgym.errors import HetgymError

DOCS = Path(__file__).parent

FAMILIES = ("task-graph", "expert-cache", "offloading")

PACKAGES = (
    "hardware_models",
    "workloads",
    "workloads.routing",
    "envs",
    "agents",
    "agents.networks",
    "evaluate",
    "train",
)
"""Whose public names the reference lists: those of ``__all__``."""

MODULES = (
    "errors",
    "hardware_models.costs",
    "hardware_models.radio",
    "workloads.generators",
    "workloads.structured",
    "envs.core.scenario",
    "envs.core.simulator",
    "envs.core.single",
    "envs.core.vector",
    "envs.core.sb3",
    "envs.task_graph.scenario",
    "envs.task_graph.instance",
    "envs.task_graph.schedule",
    "envs.task_graph.checker",
    "envs.task_graph.features",
    "envs.task_graph.reward",
    "envs.expert_cache.scenario",
    "envs.expert_cache.instance",
    "envs.expert_cache.checker",
    "envs.expert_cache.features",
    "envs.offloading.scenario",
    "envs.offloading.settings",
    "envs.offloading.workload",
    "envs.offloading.instance",
    "envs.offloading.checker",
    "envs.offloading.features",
    "agents.policy",
    "agents.ppo",
    "agents.sac",
    "agents.dqn",
    "agents.imitation",
    "agents.checkpoint",
    "agents.oracles.cp_sat",
    "agents.oracles.offloading_static",
    "train.settings",
    "evaluate.figures",
)
"""Modules that users meet besides."""


def mathml(latex: str, display: str = "inline") -> str:
    """Returns a formula as MathML, which browsers draw by themselves.

    Args:
        latex: The formula.
        display: ``inline`` or ``block``.
    """
    # Markdown would take a line that begins with <math> for a block.
    return f'<span class="formula-{display}">{convert(latex, display=display)}</span>'


def with_formulas(text: str) -> str:
    """Returns a text with what stands between dollars as MathML."""
    return re.sub(r"\$(.+?)\$", lambda found: mathml(found[1]), text)


def with_links(text: str) -> str:
    """Returns a text with links to DOIs and to arXiv."""
    text = re.sub(r"doi:(10\.\d{4,}/[^\s,;]*[^\s,;:.)])", r"[doi:\1](https://doi.org/\1)", text)
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def single_backticks(text: str) -> str:
    """Returns a docstring's text with ``code`` as Markdown has it, fences left as they are."""
    return re.sub(r"(?<!`)``(?!`)", "`", text)


def slug(name: str) -> str:
    """Returns a name as a file's name."""
    return re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-")


# Environments


def scenarios_of(env_id: str) -> list[Scenario]:
    """Returns the scenarios that an environment can be made with, as it plays them."""
    family = env_class(env_id)().scenario.family
    scenarios = []
    for scenario in map(load_scenario, list_scenarios()):
        if scenario.family == family:
            with contextlib.suppress(HetgymError):  # such as a stream that is to be planned
                scenarios.append(env_class(env_id)(scenario).scenario)
    return scenarios


def scenario_tables(env_id: str) -> str:
    """Returns what an environment's scenarios are, and whom each compares with by default."""
    rows, compared = ["| name | what | source |", "|---|---|---|"], defaultdict(list)
    for scenario in scenarios_of(env_id):
        rows.append(f"| `{scenario.name}` | {scenario.description} | {with_links(scenario.source)} |")
        compared[", ".join(f"`{policy}`" for policy in scenario.baselines)].append(f"`{scenario.name}`")
    rows += ["", "The policies that `hetgym evaluate` plays where none are named:", ""]
    rows += ["| scenarios | policies |", "|---|---|"]
    rows += [f"| {', '.join(names)} | {policies} |" for policies, names in compared.items()]
    return "\n".join(rows)


def env_class(env_id: str) -> Any:
    """Returns the class of the single environment."""
    module, _, name = str(gymnasium.spec(env_id).entry_point).partition(":")
    return getattr(import_module(module), name)


def env_name(env_id: str) -> str:
    """Returns the id without its namespace."""
    return env_id.partition("/")[2]


def environment_page(env_id: str) -> str:
    """Returns the page of an environment: its docstring, a picture, and its scenarios."""
    title, _, rest = (inspect.getdoc(env_class(env_id)) or "").partition("\n\n")
    name = env_name(env_id)
    parts = [
        f"# {env_id}",
        with_code_links(" ".join(title.split())),
        f"![An episode of {env_id}](../images/environments/{name}.png)",
        with_code_links(with_links(rest)),
        "## Scenarios",
        scenario_tables(env_id),
    ]
    return "\n\n".join(parts)


def with_code_links(text: str) -> str:
    """Returns a docstring with links to the pages of the classes that it names, and double backticks made single."""
    text = text.replace("``docs/dispatch.md``", "[The rules of Dispatch](../dispatch.md)")
    text = text.replace("``docs/expert-cache.md``", "[Expert caching: the rules](../expert-cache.md)")
    text = text.replace("``docs/offloading.md``", "[Offloading: the rules](../offloading.md)")
    text = text.replace("``docs/offloading-frames.md``", "[Offloading in frames: the rules](../offloading-frames.md)")
    for env_id in list_envs():
        name = env_name(env_id)
        text = text.replace(f"`{env_class(env_id).__name__}`", f"[{name}]({name}.md)")
    return single_backticks(text)


def environment_index() -> str:
    """Returns the page that lists the environments."""
    rows = [f"| [{env_id}]({env_name(env_id)}.md) | {first_line(env_class(env_id))} |" for env_id in list_envs()]
    return (
        "# Environments\n\n| id | what |\n|---|---|\n"
        + "\n".join(with_code_links(row) for row in rows)
        + "\n\nScenarios of real systems have pictures of their own: [Scenarios](../scenarios.md).\n"
    )


def first_line(documented: Any) -> str:
    """Returns the first line of a docstring, without the word with which those of functions begin."""
    line = (inspect.getdoc(documented) or "").partition("\n")[0].removeprefix("Returns ")
    return line[:1].upper() + line[1:]


# Policies


def policy_table() -> dict[str, dict[str, Any]]:
    """Returns what policies.yaml says: for each family its title, its symbols, and its policies by name."""
    table: dict[str, dict[str, Any]] = yaml.safe_load((DOCS / "policies.yaml").read_text(encoding="utf-8"))
    return table


def names_of(group: str) -> list[str]:
    """Returns the names of the registry that a group of the table is about."""
    if group == "all":
        return [name for name in list_policies(solvers=True) if all(name in list_policies(each) for each in FAMILIES)]
    if group == "patterns":
        return [name for name in describe_policies() if name not in list_policies(solvers=True)]
    return [name for name in list_policies(group, solvers=True) if name not in names_of("all")]


def policy_page(group: str, name: str, entry: dict[str, str], symbols: str) -> str:
    """Returns the page of a policy: what it does, its formula, its source, and what it reads."""
    parts = [f"# {name}", with_formulas(entry["rule"])]
    parts += [mathml(entry["formula"], "block"), with_formulas(symbols)]
    parts += [f"**Source**: {with_links(entry['source'])}."]
    if group != "patterns":
        parts += [f"**Reads**: {what_it_reads(group, name)}."]
        parts += [f"**Play it**: `--policies {name}`, in Python `hetgym.agents.make_policy({name!r})`."]
        parts += ["## As implemented", details(policy_makers(family_of(group))[name])]
    return "\n\n".join(parts)


def family_of(group: str) -> str | None:
    """Returns the family of a group of policies, None for those of all."""
    return group if group in FAMILIES else None


def what_it_reads(group: str, name: str) -> str:
    """Returns whether a policy knows the future."""
    policy = make_policy(name, family_of(group))
    if policy.clairvoyant:
        return "the future: it is an oracle, and never the best of a table"
    return "what is known when it decides"


def details(maker: Any) -> str:
    """Returns the docstring of what makes a policy, without its arguments and errors."""
    text = re.split(r"\n\n(?:Args|Raises|Attributes):", inspect.getdoc(maker) or "")[0]
    return with_links(single_backticks(text.removeprefix("Returns ")))


def policy_index(table: dict[str, dict[str, Any]]) -> str:
    """Returns the page that lists the policies."""
    parts = ["# Policies", "A policy has a name wherever policies are named: `--policies heft,peft`, `--imitate heft`."]
    for group, content in table.items():
        parts += [f"## {content['title']}", "| name | rule |\n|---|---|"]
        parts[-1] += "".join(
            f"\n| [`{name}`]({group}/{slug(name)}.md) | {with_formulas(entry['rule'])} |"
            for name, entry in content["policies"].items()
        )
    return "\n\n".join(parts)


# The reference


def reference_page(module: str) -> str:
    """Returns the page of a package or module, which mkdocstrings fills from its sources."""
    return f"# hetgym.{module}\n\n::: hetgym.{module}\n"


# The hook


def generated() -> dict[str, dict[str, str]]:
    """Returns the generated pages by the section of the site and by path."""
    table = policy_table()
    environments = {"environments/index.md": environment_index()}
    environments |= {f"environments/{env_name(env_id)}.md": environment_page(env_id) for env_id in list_envs()}
    policies = {"policies/index.md": policy_index(table)}
    policies |= {
        f"policies/{group}/{slug(name)}.md": policy_page(group, name, entry, content["symbols"])
        for group, content in table.items()
        for name, entry in content["policies"].items()
    }
    reference = {f"reference/{module}.md": reference_page(module) for module in (*PACKAGES, *MODULES)}
    return {"Environments": environments, "Policies": policies, "Reference": reference}


def navigation(paths: list[str]) -> list[Any]:
    """Returns the entries of a section: the pages as they come, those of one folder together."""
    titles = {group: content["title"] for group, content in policy_table().items()}
    entries: list[Any] = []
    groups: dict[str, list[Any]] = {}
    for path in paths:
        _, *folder, _ = path.split("/")
        if not folder:
            entries.append(path)
        else:
            groups.setdefault(folder[0], []).append(path)
    return entries + [{titles[group]: pages} for group, pages in groups.items()]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages, and puts them where the navigation names their sections."""
    sections = generated()
    for pages in sections.values():
        for path, content in pages.items():
            files.append(File.generated(config, path, content=content))
    config.nav = [
        {title: navigation(list(sections[title])) if title in sections else entry}
        for item in config.nav or []
        for title, entry in item.items()
    ]
    return files
