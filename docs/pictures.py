"""Draws the pictures of the documentation.

Those of scenarios.md, for each scenario what a good policy does; of each environment an episode, by its own render();
and README's picture of a front.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from PIL import Image

from hetgym.agents import make_policy
from hetgym.envs import TaskGraphScenario, load_scenario
from hetgym.envs.core.single import SingleEnv
from hetgym.envs.task_graph.render import gantt
from hetgym.evaluate import evaluate_front, front_points, play
from hetgym.evaluate.figures import front_figure

FOLDER = Path(__file__).parent / "images" / "scenarios"
COLOURS = 256
"""Of a picture's palette: enough for smooth letters and thin lines, and small files."""


def kernel(name: str) -> str:
    """Returns what a task does, forward or backward."""
    return name.split(maxsplit=1)[0].removesuffix("-back")


def kernel_family(name: str) -> str:
    """Returns what a task of a SoC's job does, whichever of five copies it is."""
    return name.rstrip("_12345")


def microbatch(name: str) -> str:
    """Returns the microbatch of a pass, or that gradients are summed."""
    word, _, number, *_ = name.split()
    return "gradients" if word == "R" else f"microbatch {number}"


class Picture(NamedTuple):
    """How a scenario is drawn.

    Attributes:
        policy: Who schedules.
        group: Gives tasks of one colour one word; by default jobs have their own.
        episode: Of seed 0.
    """

    policy: str
    group: Callable[[str], str] | None = None
    episode: int = 0


PICTURES = {
    "soc-job": Picture("best-of-32:lookahead", kernel_family),
    "cholesky-2c2g": Picture("peft", kernel),
    "lu-2c2g": Picture("peft", kernel),
    "qr-2c2g": Picture("peft", kernel),
    "cholesky-4c4g": Picture("peft", kernel),
    "pipeline-gpipe": Picture("heft", microbatch),
    "pipeline-1f1b": Picture("heft", microbatch),
    "pipeline-interleaved": Picture("heft", microbatch),
    "pipeline-unlike": Picture("best-of-32:lookahead", microbatch),
    "hetero-nic": Picture("heft", microbatch),
    "moe-layer-forward": Picture("heft", kernel),
    "moe-layer-train": Picture("heft", kernel),
    "npu-prefill": Picture("best-of-32:lookahead", kernel),
    "spark-tpch-like": Picture("best-of-32:lookahead", episode=6),
}

STREAMS = {"soc-stream-high": 40, "canonical-stream": 20, "spark-stream": 12}
"""How many jobs are drawn of each, as online EFT runs them."""

OFFLOADING: dict[str, tuple[str, dict[str, Any]]] = {
    "mec-batch": ("exhaustive", {}),
    "mec-gmorl": ("weighted-greedy", {}),
    "mec-dense": ("weighted-greedy", {}),
    "mec-partial": ("weighted-greedy", {}),
    "mec-droo": ("frame-search", {}),
    "mec-lydroo": ("frame-search", {}),
    "split-mobile": ("weighted-greedy", {"mean_interarrival": 0.01}),
    "uav-relay": ("weighted-greedy", {}),
    "llm-edge": ("weighted-greedy", {}),
}
"""Who decides in scenarios of offloading, and settings with which there is more to see."""

ENVIRONMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "TaskGraphPlan-v0": ("peft", {"num_tasks": 20}),
    "TaskGraphDispatch-v0": ("rank-online-wait", {"num_tasks": 20}),
    "ExpertCache-v0": ("lfru", {"cache_fraction": 0.75}),
    "Offload-v0": ("weighted-greedy", {"horizon": 40.0}),
    "OffloadContinuous-v0": ("partial-split", {}),
    "MOOffload-v0": ("greedy-delay", {"horizon": 40.0}),
}
"""Who plays the episode that is drawn of each environment, and settings with which there is more to see."""

FRONT = (
    "weighted-greedy", "weighted-selfish", "greedy-delay", "greedy-energy", "least-work", "jsq", "lyapunov",
    "threshold", "all-edge",
)  # fmt: skip
"""Whose points are drawn."""


def draw(name: str, picture: Picture) -> None:
    """Writes the picture of a scenario."""
    scenario = load_scenario(name)
    assert isinstance(scenario, TaskGraphScenario)
    instance = scenario.instance(0, picture.episode)
    schedule = make_policy(picture.policy).schedule(instance)
    groups = [f"job {job}" for job in instance.graph.job]
    if picture.group:
        groups = [picture.group(task) for task in instance.graph.task_names]
    makespan = EngFormatter(unit="s")(float(f"{schedule.makespan:.4g}"))
    figure = gantt(instance, schedule, f"{name} by {picture.policy}: makespan {makespan}", groups)
    save(figure, name)


def draw_stream(name: str, num_jobs: int) -> None:
    """Writes the picture of a stream's first jobs."""
    simulator = load_scenario(name, num_jobs=num_jobs).simulator(1)
    play(simulator, make_policy("eft"), [0])
    figure = simulator.figure(0)
    figure.axes[0].set_title(f"{name} by eft: {num_jobs} jobs")
    save(figure, name)


def draw_offloading(name: str, policy: str, settings: dict[str, Any]) -> None:
    """Writes the picture of an episode of offloading, the first of seed 0."""
    scenario = load_scenario(name, **settings)
    simulator = scenario.simulator(1)
    play(simulator, make_policy(policy, scenario.family), [0])
    figure = simulator.figure(0)
    title = figure.axes[0].get_title(loc="left")
    figure.axes[0].set_title(f"{name} by {policy}: {title}", loc="left", fontsize="medium")
    save(figure, name)


def draw_environment(name: str, policy: str, settings: dict[str, Any]) -> None:
    """Writes the picture of an environment: the first episode of seed 0, as render() draws it."""
    env = gymnasium.make(f"hetgym/{name}", render_mode="rgb_array", disable_env_checker=True, **settings).unwrapped
    assert isinstance(env, SingleEnv)
    play(env.simulator, make_policy(policy, env.scenario.family), [0])
    write(Image.fromarray(env.render()), f"../environments/{name}")


def draw_front() -> None:
    """Writes README's picture of the fronts of offloading's policies."""
    scenario = load_scenario("mec-gmorl")
    table = evaluate_front(scenario, FRONT, objectives=["delay", "energy"])
    save(front_figure(front_points(table), scenario), "../offload-front")


def save(figure: Figure, name: str) -> None:
    """Writes a figure."""
    drawn = BytesIO()
    figure.savefig(drawn, dpi=130)
    write(Image.open(drawn), name)


def write(picture: Image.Image, name: str) -> None:
    """Writes a picture with few colours."""
    picture.convert("RGB").quantize(COLOURS).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    for name, picture in PICTURES.items():
        draw(name, picture)
    for name, num_jobs in STREAMS.items():
        draw_stream(name, num_jobs)
    for name, (policy, settings) in OFFLOADING.items():
        draw_offloading(name, policy, settings)
    for name, (policy, settings) in ENVIRONMENTS.items():
        draw_environment(name, policy, settings)
    draw_front()
