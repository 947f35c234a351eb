"""The trace of the tiny model that comes with the package."""

from __future__ import annotations

from pathlib import Path

from .files import load_trace
from .trace import RoutingTrace


def tiny_trace() -> RoutingTrace:
    """Returns the routing of a tiny language model that was really trained: 100 requests of 64 + 64 bytes.

    The model reads bytes: 6 layers of 32 experts, of which a token uses 4. It was trained on a CPU on texts of five
    kinds from Python's standard library, and recorded while it went on with pieces of texts that it had not seen;
    request i begins with a text of kind i modulo 5 (code, documentation, bytecode, tables, records). With scores, and
    with what the routers one and two layers ahead predict. Scores are rounded to multiples of 1/256.

    `tiny.json` beside the file says how it was made, from which texts, with which versions, and what the model
    learned. The command in it makes the trace again where versions and processor are the same; another Python has
    other texts.
    """
    return load_trace(Path(__file__).with_name("tiny.parquet"))
