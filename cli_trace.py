"""The ``hetgym trace`` commands: each is a dataclass of its arguments, with a method that runs it."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from .cli_output import progress, write_csv
from .errors import write_text

if TYPE_CHECKING:
    import pandas as pd


class TraceSubcommand(Protocol):
    """What a command below ``hetgym trace`` has."""

    def run(self) -> None:
        """Does it.

        Raises:
            HetgymError: If the input is not valid.
        """
        ...


@dataclass(frozen=True)
class StatsCommand:
    """Says how local the routing in a trace is, layer by layer: what caches and predictions can hope for."""

    file: tyro.conf.Positional[Path]
    """A trace (.parquet, .npz)."""
    segment: int = 16
    """Tokens that SRP looks at together, and that SCH looks ahead."""
    cache_ratio: float = 2.0
    """Experts that the cache of SCH holds, over those that a token uses."""
    json: bool = False
    """Print JSON."""
    plot: Path | None = None
    """Write a picture here (.png, .svg, .pdf)."""
    csv: Path | None = None
    """Write one row for each layer here."""

    def run(self) -> None:
        """Prints and writes the statistics."""
        from .workloads.routing import load_trace, summarise_trace, trace_statistics

        trace = load_trace(self.file)
        layers = trace_statistics(trace, self.segment, self.cache_ratio)
        summary = summarise_trace(trace, layers, self.segment, self.cache_ratio)
        if self.csv:
            write_csv(layers, self.csv, index=True)
        if self.plot:
            from .evaluate.figures import save_figure
            from .workloads.routing.figures import trace_figure

            save_figure(trace_figure(layers, trace.model, summary["srp_floor"]), self.plot)
        if self.json:
            rows = json.loads(layers.reset_index().to_json(orient="records", double_precision=15))
            print(json.dumps({"file": str(self.file), "summary": summary, "layers": rows}, indent=1))
        else:
            Console().print(self._table(layers, summary))

    def _table(self, layers: pd.DataFrame, summary: dict[str, Any]) -> Table:
        table = Table(
            title=f"{summary['model']}: {summary['requests']} requests, {summary['prefill_tokens']} + "
            f"{summary['decode_tokens']} tokens, {summary['layers']} layers of {summary['experts']} experts, "
            f"{summary['top_k']} a token",
            box=box.SIMPLE_HEAD,
            show_footer=True,
            caption=f"independent uniform routing: SRP {summary['srp_floor']:.3f}, overlap "
            f"{summary['overlap_floor']:.3f}; SRP of all layers as one group: {_number(summary['srp_pooled'])}; "
            f"segments of {summary['segment']} tokens, cache of {summary['cache_experts']} experts",
        )
        table.add_column("layer", footer="mean", justify="right", min_width=5)
        shown = [name for name in _HEADINGS if name in layers]
        for name in shown:
            heading = _HEADINGS[name]
            width = max(5, *map(len, heading.split()))
            table.add_column(heading, footer=_number(summary[name]), justify="right", min_width=width)
        for layer, row in layers[shown].iterrows():
            table.add_row(str(layer), *(_number(value) for value in row))
        return table


_HEADINGS = {
    "srp": "SRP",
    "sch": "SCH",
    "overlap": "overlap",
    "entropy": "entropy",
    "entropy_per_prompt": "in prompt",
    "recall_at_k": "recall @k",
    "recall_at_2k": "recall @2k",
    "predicted_recall_1": "ahead +1",
}
"""What is printed, in 80 columns; JSON and CSV also have what is predicted for layers farther ahead."""


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.3f}"


@dataclass(frozen=True)
class GenerateCommand:
    """Draws a trace with the locality of a published model."""

    model: str
    """Which model."""
    output: Path
    """The file to write (.parquet, .npz)."""
    requests: int = 8
    """How many."""
    prompt_tokens: int = 64
    """Of each request."""
    output_tokens: int = 128
    """That are decoded for each request."""
    seed: int = 0
    """Of all chance."""

    def run(self) -> None:
        """Writes the trace."""
        from .workloads.routing import check_trace_path, generate_trace, save_trace

        check_trace_path(self.output)
        trace = generate_trace(
            self.model,
            requests=self.requests,
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
            seed=self.seed,
        )
        save_trace(trace, self.output)
        print_written(self.output, trace.num_tokens, trace.num_layers)


@dataclass(frozen=True)
class CaptureCommand:
    """Records the routing of a mixture-of-experts model, which reads prompts and goes on with them."""

    model: str
    """A folder with a causal language model of transformers, or a name on the Hugging Face hub."""
    prompts: Path
    """A text file: each line that is not empty is a prompt."""
    output: Path
    """The file to write (.parquet, .npz)."""
    max_new_tokens: int = 64
    """Each request adds at most so many. The first comes out of the prefill: there is one step of decoding less."""
    batch_size: int = 1
    """Requests that run side by side."""
    temperature: float = 0.0
    """Of sampling; 0 takes the likeliest token."""
    seed: int = 0
    """Of sampling."""
    distances: int = 0
    """Record also what the routers of the next so many layers choose, given what this layer's router is given."""
    device: str = "cpu"
    """Where torch runs the model (cpu, cuda, ...)."""

    def run(self) -> None:
        """Writes the trace."""
        from .workloads.routing import check_trace_path, save_trace
        from .workloads.routing.capture import capture_trace, load_language_model, quiet_transformers, read_prompts

        check_trace_path(self.output)
        lines = read_prompts(self.prompts)
        quiet_transformers()
        model, tokenizer = load_language_model(self.model, self.device)
        prompts = [tokenizer(line)["input_ids"] for line in lines]
        with progress("recording", len(prompts)) as (bar, task):
            trace = capture_trace(
                model,
                prompts,
                self.max_new_tokens,
                name=Path(self.model).name if Path(self.model).is_dir() else self.model,
                batch_size=self.batch_size,
                temperature=self.temperature,
                seed=self.seed,
                distances=self.distances,
                progress=lambda ended: bar.update(task, completed=ended),
            )
        save_trace(trace, self.output)
        print_written(self.output, trace.num_tokens, trace.num_layers)


@dataclass(frozen=True)
class TrainTinyCommand:
    """Trains a tiny mixture-of-experts model on texts of Python's standard library, and records its routing."""

    output: Path
    """The file to write (.parquet, .npz); beside it, a .json says how it was made."""
    steps: int = 1200
    """Of training: about seven minutes on one core."""
    seed: int = 0
    """Of training and of sampling."""
    requests: int = 100
    """That are recorded."""

    def run(self) -> None:
        """Writes the trace and its card."""
        from .workloads.routing import check_trace_path, save_trace
        from .workloads.routing.tiny_model import make_tiny_trace

        check_trace_path(self.output)
        with progress("training", self.steps) as (bar, task):
            trace, card = make_tiny_trace(
                self.steps,
                self.seed,
                self.requests,
                lambda step, loss: bar.update(task, completed=step, latest=f"{loss:.3f} bits per byte"),
            )
        save_trace(trace, self.output)
        write_text(self.output.with_suffix(".json"), json.dumps(card, indent=1) + "\n", "card")
        bits = card["bits_per_byte"]
        print(
            f"bits per byte of texts held out: {bits['before']:.3f} before training, {bits['after']:.3f} after it; "
            f"{bits['unigram']:.3f} by the frequencies of bytes alone"
        )
        print_written(self.output, trace.num_tokens, trace.num_layers)


def print_written(path: Path, tokens: int, layers: int) -> None:
    """Says what a command wrote, and what to do with it."""
    print(f"{path}: {tokens} tokens, {layers} layers")
    print(f"look at it: hetgym trace stats {shlex.quote(str(path))}")


Subcommand = (
    Annotated[StatsCommand, tyro.conf.subcommand("stats")]
    | Annotated[GenerateCommand, tyro.conf.subcommand("generate")]
    | Annotated[CaptureCommand, tyro.conf.subcommand("capture")]
    | Annotated[TrainTinyCommand, tyro.conf.subcommand("train-tiny")]
)
"""Another command is one more dataclass with a `run`, named here."""


@dataclass(frozen=True)
class TraceCommand:
    """Routing traces of mixture-of-experts models: draws and records them, and says how local they are."""

    command: tyro.conf.OmitSubcommandPrefixes[tyro.conf.OmitArgPrefixes[Subcommand]]

    def run(self) -> None:
        """Runs the command below."""
        command: TraceSubcommand = self.command
        command.run()
