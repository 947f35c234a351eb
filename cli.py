"""The ``hetgym`` command."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from .agents import describe_policies, make_policy
from .cli_front import run_front
from .cli_launch import LaunchOptions
from .cli_output import print_contest, print_sweep, progress, write_csv
from .cli_suite import play_suite, report_on, results_of
from .cli_trace import TraceCommand
from .cli_train import TrainCommand
from .cli_tune import TuneCommand
from .envs import Scenario, list_envs, list_scenarios, load_scenario
from .envs.core.changes import parse_changes
from .errors import HetgymError
from .evaluate import (
    evaluate,
    find_worst_case,
    list_suites,
    load_suite,
    parse_sweep,
    play,
    summarise_sweep,
    sweep,
)
from .evaluate.adversarial import check_scenario_path
from .evaluate.comparison import Played, compare
from .evaluate.evaluation import make_policies
from .evaluate.figures import check_figure_path, check_panels, save_figure, sweep_figure
from .evaluate.suite import Results
from .evaluate.summary import check_metrics, find_reference
from .evaluate.sweep import cells
from .hardware_models import list_platforms, load_platform
from .train.settings import EvolutionSettings, UsePredictionSettings

What = Literal["scenarios", "suites", "policies", "platforms", "environments"]

EPISODES = 100
"""Of an evaluation that does not say how many."""


@dataclass(frozen=True)
class ListCommand:
    """Lists what there is by name."""

    what: tyro.conf.Positional[What | None] = None
    """One kind of things; all by default."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class EvaluateCommand(LaunchOptions):
    """Plays policies on the same episodes and compares them."""

    scenario: str = "random"
    """A scenario's name, or a path to a YAML scenario or a WfFormat workflow."""
    policies: str | None = None
    """Names of policies, comma-separated; also best-of-K:NAME, ppo:PATH and module:callable; `pretrained` for the
    checkpoint that comes with hetgym, `baselines` for those of the scenario, the default."""
    set: tuple[str, ...] = ()
    """Settings of the scenario to change, as NAME=VALUE."""
    sweep: tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]] = ()
    """Instead of one setting, plays a grid: NAME=START:STOP:STEP (STOP included) or NAME=A,B,C, several times for
    several settings."""
    episodes: int | None = None
    """How many, by default 100, or with --suite as many as that says; episode i has the seed SEED + i. With
    --adversarial, searches that run side by side, each from one."""
    seed: int = 0
    """Of the first episode."""
    reward: str | None = None
    """One of the family's rewards; its first by default."""
    metric: str | None = None
    """What is compared; by default what the scenario's family is about, such as the makespan. With --sweep several,
    comma-separated, the first of which is printed; with --front the objectives, all by default."""
    reference: str | None = None
    """The policy to compare with; by default the family's usual one if it is played, such as heft, else the first."""
    report: Path | None = None
    """Folder of a report: report.html, a page that works from disk, and report.md. A suite writes one anyway."""
    csv: Path | None = None
    """Write one row for each policy and episode here (of each cell of --sweep, of each point of --front), or for each
    iteration of --adversarial."""
    json: bool = False
    """Print the comparison as JSON."""
    adversarial: tuple[str, str] | None = None
    """Instead of comparing policies, search for an instance on which the first of these two loses most to the second,
    in --metric: small changes to --episodes graphs of the scenario, --iterations times."""
    iterations: int = 1000
    """Changes that --adversarial makes to each graph."""
    output: Path | None = None
    """Write what --adversarial finds here, as a scenario (.yaml) and, beside it, its graph (.json). With --suite, the
    folder of its results, by default runs/NAME: what is finished there is not played again."""
    gantt: Path | None = None
    """Write a picture of one episode here (.png, .svg, .pdf), or of both policies on what --adversarial finds."""
    gantt_policy: str | None = None
    """The policy of that picture; the first by default."""
    gantt_episode: int = 0
    """The episode of that picture."""
    suite: str | None = None
    """Instead of one scenario, plays a suite: quick, standard, full or another name, or a path to a YAML file. It takes
    --episodes, --seed, --output, --csv (one row for each of its comparisons in pairs), --json and --launcher."""
    plot: Path | None = None
    """Write a picture of --sweep here (.png, .svg, .pdf): lines over the first setting, a panel for each metric and
    each value of the others; or of --front, a panel for each pair of objectives."""
    front: bool = False
    """Compare fronts in the objectives of --metric. Policies that are conditioned on the weights of objectives play
    once for each weight vector, all others once."""
    weights: int | None = None
    """Equally spaced weight vectors of --front: by default 11 for two objectives and 21 for three, which can also have
    3, 6, 10, 15, 28, ..."""
    reference_point: str | None = None
    """Of the hypervolume in --front: returns (minus the costs), one for each objective, comma-separated; by default a
    tenth of the spread below the worst that was played."""
    family: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Policies that --front compares as one, as NAME=A,B,C; several times for several families."""

    @property
    def num_episodes(self) -> int:
        """Episodes of an evaluation without a suite."""
        return EPISODES if self.episodes is None else self.episodes


Command = (
    Annotated[ListCommand, tyro.conf.subcommand("list")]
    | Annotated[TrainCommand, tyro.conf.subcommand("train")]
    | Annotated[TuneCommand, tyro.conf.subcommand("tune")]
    | Annotated[UsePredictionSettings, tyro.conf.subcommand("train-cache")]
    | Annotated[EvolutionSettings, tyro.conf.subcommand("train-rule")]
    | Annotated[EvaluateCommand, tyro.conf.subcommand("evaluate")]
    | Annotated[TraceCommand, tyro.conf.subcommand("trace")]
)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command; bad input ends it with one line and exit status 2."""
    # `python -m hetgym` looks for policies named module:callable in the working folder; so does the script.
    sys.path.append(str(Path.cwd()))
    command = tyro.cli(
        Command,
        prog="hetgym",
        description="Environments and agents for scheduling on heterogeneous hardware.",
        args=arguments,
    )
    try:
        if isinstance(command, ListCommand):
            _list(command)
        elif isinstance(command, UsePredictionSettings):
            _train_cache(command)
        elif isinstance(command, EvolutionSettings):
            _train_rule(command)
        elif isinstance(command, TrainCommand | TuneCommand | TraceCommand):
            command.run()
        else:
            _evaluate(command)
    except HetgymError as error:
        print(f"hetgym: error: {error}", file=sys.stderr)
        sys.exit(2)


def _list(command: ListCommand) -> None:
    things: dict[str, Callable[[], dict[str, str]]] = {
        "scenarios": lambda: {name: load_scenario(name).description for name in list_scenarios()},
        "suites": lambda: {name: load_suite(name).description for name in list_suites()},
        "policies": describe_policies,
        "platforms": lambda: {name: load_platform(name).description for name in list_platforms()},
        "environments": lambda: dict.fromkeys(list_envs(), ""),
    }
    chosen = {what: things[what]() for what in ([command.what] if command.what else things)}
    if command.json:
        print(json.dumps(chosen, indent=1))
        return
    for what, named in chosen.items():
        table = Table(title=what, title_justify="left", show_header=False, box=None)
        for name, description in named.items():
            table.add_row(name, description)
        Console().print(table)


def _train_cache(settings: UsePredictionSettings) -> None:
    from .train.use_prediction import train_use_predictor

    with progress("training", settings.updates) as (bar, task):

        def show(updates: int, results: dict[str, float]) -> None:
            latest = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in results.items())
            bar.update(task, completed=updates, latest=latest)

        run = train_use_predictor(settings, show)
    print(f"checkpoints: {run / 'best'}, {run / 'last'}")
    changes = f" --set {shlex.join(settings.set)}" if settings.set else ""
    policies = f"lru,lfru,use-predictor:{run}"
    print(f"evaluate it: hetgym evaluate --scenario {settings.scenario}{changes} --policies {policies}")


def _train_rule(settings: EvolutionSettings) -> None:
    from .train.evolution import train_rule

    with progress("training", settings.generations) as (bar, task):

        def show(generations: int, results: dict[str, float]) -> None:
            latest = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in results.items())
            bar.update(task, completed=generations, latest=latest)

        run = train_rule(settings, show)
    print(f"checkpoints: {run / 'best'}, {run / 'last'}")
    changes = f" --set {shlex.join(settings.set)}" if settings.set else ""
    policies = f"{settings.reference},lwkr,weighted-rule:{run}"
    print(f"evaluate it: hetgym evaluate --scenario {settings.scenario}{changes} --policies {policies}")


def _evaluate(command: EvaluateCommand) -> None:
    if command.suite:
        _suite(command, command.suite)
        return
    command.refuse_launcher("--suite")
    scenario = load_scenario(command.scenario).override(**parse_changes(command.set))
    for option, needed, why in (
        ("output", ("adversarial", "suite"), "which find what is written"),
        ("plot", ("sweep", "front"), "which are what is drawn"),
        *((option, ("front",), "which has several objectives") for option in ("weights", "reference_point", "family")),
    ):
        if getattr(command, option) and not any(getattr(command, other) for other in needed):
            raise HetgymError(f"{option}: is for {' and '.join(f'--{other}' for other in needed)}, {why}")
    if command.front:
        _front(command, scenario)
    elif command.sweep:
        _sweep(command, scenario)
    elif command.adversarial:
        _search(command, scenario, *command.adversarial)
    else:
        _compare(command, scenario)


SUITE_TAKES = ("suite", "episodes", "seed", "csv", "json", "output", "launcher", "address", "workers")
"""Options that go with --suite."""

FRONT_TAKES = (
    *("front", "weights", "reference_point", "family", "scenario", "policies", "set", "episodes", "seed", "metric"),
    *("reference", "csv", "json", "plot", "report"),
)
"""Options that go with --front."""


def _refuse_others(command: EvaluateCommand, taken: tuple[str, ...], why: str) -> None:
    for option in fields(command):
        if option.name not in taken and getattr(command, option.name) != option.default:
            raise HetgymError(f"{option.name}: is not for {why}")


def _suite(command: EvaluateCommand, name: str) -> None:
    _refuse_others(command, SUITE_TAKES, "--suite, whose contests say what is played")
    play_suite(
        name,
        episodes=command.episodes,
        seed=command.seed,
        folder=command.output,
        csv=command.csv,
        as_json=command.json,
        launcher=command.make_launcher(),
    )


def _policies(command: EvaluateCommand, scenario: Scenario) -> list[str]:
    return [name.strip() for name in command.policies.split(",")] if command.policies else list(scenario.baselines)


def _compare(command: EvaluateCommand, scenario: Scenario) -> None:
    policies = make_policies(_policies(command, scenario), scenario)
    with progress("evaluating", len(policies) * command.num_episodes) as (bar, task):
        table = evaluate(
            scenario,
            policies,
            episodes=command.num_episodes,
            seed=command.seed,
            reward=command.reward,
            progress=lambda ended: bar.advance(task, ended),
        )
    metric = command.metric or scenario.metric
    reference = find_reference([policy.name for policy in policies], command.reference, scenario)
    summary = compare(table, metric, reference, scenario=scenario)
    if command.csv:
        write_csv(table, command.csv)
    if command.gantt:
        _draw(command, scenario, command.gantt_policy or str(table["policy"][0]))
    if command.json:
        content = {
            "scenario": command.scenario,
            "set": parse_changes(command.set),
            "episodes": command.num_episodes,
            "seed": command.seed,
            "metric": metric,
            "summary": json.loads(summary.to_json(orient="records", double_precision=15)),
        }
        print(json.dumps(content, indent=1))
    else:
        title = f"{command.scenario}: {metric}, {command.num_episodes} episodes from seed {command.seed}"
        print_contest(summary, title, reference)
    played = Played(command.scenario, scenario, table, metric, reference)
    _report(command, results_of(command.scenario, command.seed, contests=(played,)))


def _report(command: EvaluateCommand, results: Results) -> None:
    if command.report:
        path = report_on(results, command.report)
        print(f"report: {path}", file=sys.stderr if command.json else sys.stdout)


def _sweep(command: EvaluateCommand, scenario: Scenario) -> None:
    for option in ("adversarial", "gantt"):
        if getattr(command, option):
            raise HetgymError(f"{option}: is not for --sweep, which plays many settings")
    settings = _settings(command)
    policies = make_policies(_policies(command, scenario), scenario)
    metrics = [name.strip() for name in command.metric.split(",")] if command.metric else [scenario.metric]
    grid = cells(scenario, settings)
    # What could only be refused after hours is tried out first.
    check_metrics(evaluate(scenario.override(**grid[0]), policies[:1], episodes=1, seed=command.seed), metrics)
    reference = find_reference([policy.name for policy in policies], command.reference, scenario)
    if command.plot:
        check_figure_path(command.plot)
        check_panels(len(metrics) * len(grid) // len(next(iter(settings.values()))))
    with progress("evaluating", len(grid) * len(policies) * command.num_episodes) as (bar, task):
        table = sweep(
            scenario,
            policies,
            settings,
            episodes=command.num_episodes,
            seed=command.seed,
            reward=command.reward,
            progress=lambda ended: bar.advance(task, ended),
        )
    if command.csv:
        write_csv(table, command.csv)
    summary = summarise_sweep(table, metrics, command.reference, scenario=scenario)
    if command.plot:
        save_figure(sweep_figure(summary, scenario=scenario), command.plot)
    if command.json:
        content = {
            "scenario": command.scenario,
            "set": parse_changes(command.set),
            "sweep": settings,
            "episodes": command.num_episodes,
            "seed": command.seed,
            "metrics": metrics,
            "summary": json.loads(summary.to_json(orient="records", double_precision=15)),
        }
        print(json.dumps(content, indent=1))
    else:
        title = (
            f"{command.scenario}: {metrics[0]}, {command.num_episodes} episodes from seed {command.seed} in each cell"
        )
        print_sweep(summary[summary["metric"] == metrics[0]], title)
    played = Played(command.scenario, scenario, table, metrics[0], reference)
    _report(command, results_of(command.scenario, command.seed, sweeps=(played,)))


def _front(command: EvaluateCommand, scenario: Scenario) -> None:
    _refuse_others(command, FRONT_TAKES, "--front, which compares policies for several objectives")
    run_front(
        scenario,
        command.scenario,
        parse_changes(command.set),
        _policies(command, scenario) if command.policies or not command.family else [],
        command.family,
        objectives=command.metric,
        weights=command.weights,
        reference_point=command.reference_point,
        reference=command.reference,
        episodes=command.num_episodes,
        seed=command.seed,
        csv=command.csv,
        plot=command.plot,
        report=command.report,
        as_json=command.json,
    )


def _settings(command: EvaluateCommand) -> dict[str, list[Any]]:
    """Returns the values of each setting that is swept."""
    settings: dict[str, list[Any]] = {}
    for word in (word for words in command.sweep for word in words):
        name, values = parse_sweep(word)
        if name in settings or name in parse_changes(command.set):
            raise HetgymError(f"sweep: {name} is given twice")
        settings[name] = values
    return settings


def _search(command: EvaluateCommand, scenario: Scenario, policy: str, rival: str) -> None:
    if command.policies:
        raise HetgymError("policies: --adversarial names the two that play; leave it out")
    if command.output:
        check_scenario_path(command.output)
    with progress("searching", command.iterations) as (bar, task):
        found = find_worst_case(
            scenario,
            policy,
            rival,
            iterations=command.iterations,
            episodes=command.num_episodes,
            seed=command.seed,
            metric=command.metric,
            progress=lambda ended, ratio: bar.update(task, completed=ended, latest=f"ratio {ratio:.4f}"),
        )
    if command.output:
        found.save(command.output)
    if command.csv:
        write_csv(found.history, command.csv)
    if command.gantt:
        save_figure(found.figure(), command.gantt)
    if command.json:
        content = {
            "scenario": command.scenario,
            "set": parse_changes(command.set),
            "adversarial": found.policies,
            "metric": found.metric,
            "iterations": command.iterations,
            "episodes": command.num_episodes,
            "seed": command.seed,
            "ratio": found.ratio,
            "found_seed": found.seed,
        }
        print(json.dumps(content, indent=1))
        return
    graph = found.instance.graph
    print(f"{command.scenario}: {found.finding}, with {graph.num_tasks} tasks and {graph.num_edges} edges")
    if command.output:
        again = ["--scenario", str(command.output), "--policies", f"{policy},{rival}", "--seed", str(found.seed)]
        print(f"play it again: hetgym evaluate {shlex.join(again)} --episodes 1")


def _draw(command: EvaluateCommand, scenario: Scenario, policy: str) -> None:
    if not 0 <= command.gantt_episode < command.num_episodes:
        raise HetgymError(f"gantt_episode: must be below {command.num_episodes} (given: {command.gantt_episode})")
    simulator = scenario.for_single_episodes().simulator(1, command.reward)
    play(simulator, make_policy(policy, scenario.family), [command.seed + command.gantt_episode])
    assert command.gantt is not None
    save_figure(simulator.figure(0), command.gantt)
