"""A tiny mixture-of-experts language model over bytes, in torch.

Importing this module imports torch; the package around it does not.
"""

from __future__ import annotations

import hashlib
import math
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import HetgymError
from .capture import RoutingRecorder
from .tiny_text import Texts, standard_library_texts
from .trace import RoutingTrace

NUM_BYTES = 256
_BALANCE = 0.01
"""Weight of the load-balancing loss, alpha of the Switch transformer (arXiv:2101.03961, section 2.2)."""
_LEARNING_RATE = 3e-3
_WARM_UP = 0.05
"""Share of the steps in which the learning rate rises."""
_BATCH = 32
"""Texts in one step of training."""
_MEASURED = 24
"""Pieces of each kind of text on which a model is measured."""
_SCORE_UNIT = 2**-8

Cache = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, (B, heads, T, hidden / heads) each."""


@dataclass(frozen=True)
class TinySettings:
    """The size of the model.

    Attributes:
        num_layers: L.
        num_experts: E, in each layer.
        top_k: k, experts that a token uses in each layer.
        hidden: Width of the hidden states.
        expert_hidden: Width within an expert.
        num_heads: Heads of attention.
        context: Most bytes that it reads.
    """

    num_layers: int = 6
    num_experts: int = 32
    top_k: int = 4
    hidden: int = 96
    expert_hidden: int = 64
    num_heads: int = 4
    context: int = 128


class TinyRouter(nn.Module):
    """Chooses the k experts with the largest logits; their softmax are the weights (arXiv:2401.04088, section 2.1)."""

    def __init__(self, settings: TinySettings) -> None:
        """Draws the weights."""
        super().__init__()
        self.num_experts = settings.num_experts
        self.top_k = settings.top_k
        self.weight = nn.Parameter(torch.randn(settings.num_experts, settings.hidden) * settings.hidden**-0.5)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns logits (N, E), weights (N, k) and ids (N, k) of the experts of hidden states (N, H)."""
        logits = hidden @ self.weight.T
        chosen, ids = logits.topk(self.top_k, dim=-1)
        return logits, chosen.softmax(dim=-1), ids


class TinyExperts(nn.Module):
    """A layer of experts: feed-forward networks with one hidden layer."""

    def __init__(self, settings: TinySettings) -> None:
        """Draws the weights."""
        super().__init__()
        size = (settings.num_experts, settings.hidden, settings.expert_hidden)
        self.router = TinyRouter(settings)
        self.inner = nn.Parameter(torch.randn(size) * settings.hidden**-0.5)
        self.outer = nn.Parameter(torch.randn(size).transpose(1, 2) * settings.expert_hidden**-0.5)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the output for hidden states (N, H), (N, H), and the load-balancing loss.

        The loss is E sum_e f_e P_e, with f_e the share of choices that are expert e and P_e its mean probability
        (arXiv:2101.03961, eq. 4 - 6).
        """
        logits, weights, ids = self.router(hidden)
        count = ids.flatten().bincount(minlength=self.router.num_experts)
        order = ids.flatten().argsort(stable=True)
        token = order // self.router.top_k
        parts = torch.split(hidden[token], count.tolist())
        networks = zip(parts, self.inner.unbind(), self.outer.unbind(), strict=True)
        outputs = [functional.relu(part @ inner) @ outer for part, inner, outer in networks]
        weighted = torch.cat(outputs) * weights.flatten()[order].unsqueeze(1)
        share = count / ids.numel()
        balance = self.router.num_experts * (share * logits.softmax(dim=-1).mean(dim=0)).sum()
        return torch.zeros_like(hidden).index_add(0, token, weighted), balance


class TinyLayer(nn.Module):
    """Attention, then experts."""

    def __init__(self, settings: TinySettings) -> None:
        """Draws the weights."""
        super().__init__()
        self.num_heads = settings.num_heads
        self.norm_attention = nn.LayerNorm(settings.hidden)
        self.norm_experts = nn.LayerNorm(settings.hidden)
        self.read = nn.Linear(settings.hidden, 3 * settings.hidden, bias=False)
        self.write = nn.Linear(settings.hidden, settings.hidden, bias=False)
        self.experts = TinyExperts(settings)

    def forward(
        self, hidden: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Returns hidden states (B, T, H), the load-balancing loss, and the keys and values so far."""
        batch, time, width = hidden.shape
        read = self.read(self.norm_attention(hidden)).view(batch, time, 3, self.num_heads, -1)
        query, key, value = read.permute(2, 0, 3, 1, 4)
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=past is None)
        hidden = hidden + self.write(seen.transpose(1, 2).reshape(batch, time, width))
        output, balance = self.experts(self.norm_experts(hidden).view(-1, width))
        return hidden + output.view(batch, time, width), balance, (key, value)


class TinyModel(nn.Module):
    """A transformer over bytes whose layers all have experts."""

    def __init__(self, settings: TinySettings) -> None:
        """Draws the weights."""
        super().__init__()
        self.settings = settings
        self.embedding = nn.Embedding(NUM_BYTES, settings.hidden)
        self.position = nn.Parameter(torch.randn(settings.context, settings.hidden) * 0.1)
        self.layers = nn.ModuleList(TinyLayer(settings) for _ in range(settings.num_layers))
        self.norm = nn.LayerNorm(settings.hidden)
        self.head = nn.Linear(settings.hidden, NUM_BYTES)

    def forward(self, input_ids: Tensor, cache: Cache | None = None) -> tuple[Tensor, Tensor, Cache]:
        """Reads on.

        Args:
            input_ids: int64 (B, T), bytes; with a cache T is 1.
            cache: What a call before returned, if this one goes on.

        Returns:
            Logits of what comes next (B, T, 256), the mean load-balancing loss of the layers, and the cache.
        """
        first = 0 if cache is None else cache[0][0].shape[2]
        hidden = self.embedding(input_ids) + self.position[first : first + input_ids.shape[1]]
        balances, keys_and_values = [], []
        for number, layer in enumerate(self.layers):
            hidden, balance, kept = layer(hidden, None if cache is None else cache[number])
            balances.append(balance)
            keys_and_values.append(kept)
        return self.head(self.norm(hidden)), torch.stack(balances).mean(), keys_and_values


@dataclass(frozen=True)
class Training:
    """A trained model and what it learned, in bits per byte of the texts held out.

    Attributes:
        model: It.
        before: Of the model as initialised.
        after: Of the trained model.
        unigram: Of a code that knows only how often each byte is.
        after_of: `after` of each kind of text.
    """

    model: TinyModel
    before: float
    after: float
    unigram: float
    after_of: dict[str, float]


def train_tiny(
    texts: dict[str, Texts],
    steps: int,
    seed: int = 0,
    settings: TinySettings | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> Training:
    """Trains the model on texts of several kinds, all equally often.

    Adam with decoupled weight decay (arXiv:1711.05101), a learning rate that rises and then falls as a cosine, and the
    load-balancing loss of the Switch transformer. On one thread a seed gives the same weights again, with the same
    versions of Python, torch and processor.

    Args:
        texts: What to read, by kind.
        steps: Of training.
        seed: Of the weights and of what is read when.
        settings: The size of the model.
        progress: Called with the steps made and the latest loss, in bits per byte.
    """
    settings = settings or TinySettings()
    with _one_thread(), torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = TinyModel(settings)
        before = _mean(_bits_per_byte(model, texts).values())
        _train(model, texts, steps, seed, progress)
        after = _bits_per_byte(model, texts)
    return Training(model.eval(), before, _mean(after.values()), _unigram(texts, settings.context + 1), after)


@contextmanager
def _one_thread() -> Iterator[None]:
    """More threads add up in another order, and do not speed up what is so small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _train(
    model: TinyModel, texts: dict[str, Texts], steps: int, seed: int, progress: Callable[[int, float], None] | None
) -> None:
    rng = np.random.default_rng(seed)
    corpora = [torch.frombuffer(bytearray(text.training), dtype=torch.uint8) for text in texts.values()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / (_WARM_UP * steps), 0.05 + 0.95 * (1 + math.cos(math.pi * step / steps)) / 2),
    )
    length = model.settings.context + 1
    for step in range(steps):
        chosen = [corpora[i] for i in rng.integers(len(corpora), size=_BATCH)]
        first = [int(rng.integers(len(corpus) - length)) for corpus in chosen]
        batch = torch.stack([corpus[i : i + length] for corpus, i in zip(chosen, first, strict=True)]).long()
        logits, balance, _ = model(batch[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        (loss + _BALANCE * balance).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if progress:
            progress(step + 1, loss.item() / math.log(2))


def record_tiny(
    model: TinyModel,
    texts: dict[str, Texts],
    *,
    requests: int = 100,
    prompt_bytes: int = 64,
    new_bytes: int = 65,
    distances: int = 2,
    temperature: float = 0.8,
    seed: int = 0,
    name: str = "tiny",
) -> RoutingTrace:
    """Records the routing of the model while it goes on with pieces of the texts held out.

    Args:
        model: It.
        texts: By kind; request i begins with a piece of kind i modulo their number.
        requests: How many.
        prompt_bytes: Of each prompt.
        new_bytes: That each request adds; the first comes out of the prefill, so there is one step of decoding less.
        distances: How many layers ahead predictions are recorded.
        temperature: Of sampling. So small a model soon strays at 1, and repeats itself at 0.
        seed: Of sampling.
        name: What the trace calls the model.

    Raises:
        HetgymError: If prompts and what is added exceed what the model can read.
    """
    most = model.settings.context + 1 - prompt_bytes
    if not 1 <= new_bytes <= most:
        raise HetgymError(
            f"new_bytes: must be 1 ... {most} after a prompt of {prompt_bytes} bytes (given: {new_bytes})"
        )
    each = -(-requests // len(texts))
    pieces = [_held_out(text, each, prompt_bytes) for text in texts.values()]
    prompts = torch.stack(pieces, dim=1).flatten(0, 1)[:requests]
    generator = torch.Generator().manual_seed(seed)
    with _one_thread(), torch.no_grad(), RoutingRecorder(model, distances) as recorder:
        logits, _, cache = model(prompts)
        for _ in range(new_bytes - 1):
            likely = (logits[:, -1] / temperature).softmax(dim=-1)
            logits, _, cache = model(likely.multinomial(1, generator=generator), cache)
    return recorder.trace(name)


def _describe(text: Texts) -> dict[str, Any]:
    held_out = b"".join(text.held_out)
    digest = hashlib.sha256(text.training + held_out).hexdigest()
    return {"training_bytes": len(text.training), "held_out_bytes": len(held_out), "sha256": digest}


def _bits_per_byte(model: TinyModel, texts: dict[str, Texts]) -> dict[str, float]:
    """Returns the bits per byte of the texts held out, by kind."""
    bits = {}
    for kind, text in texts.items():
        pieces = _held_out(text, _MEASURED, model.settings.context + 1)
        with torch.no_grad():
            logits, _, _ = model(pieces[:, :-1])
        bits[kind] = functional.cross_entropy(logits.flatten(0, 1), pieces[:, 1:].flatten()).item() / math.log(2)
    return bits


def _unigram(texts: dict[str, Texts], length: int) -> float:
    """Returns the bits per byte of a code that knows only how often each byte is, over all kinds."""
    count = [np.bincount(np.frombuffer(text.training, dtype=np.uint8), minlength=NUM_BYTES) for text in texts.values()]
    bits = -np.log2(np.mean([(seen + 1) / (seen + 1).sum() for seen in count], axis=0))
    pieces = [_held_out(text, _MEASURED, length)[:, 1:] for text in texts.values()]
    return _mean([bits[piece.numpy()].mean() for piece in pieces])


def _held_out(text: Texts, count: int, length: int) -> Tensor:
    """Returns pieces of the texts held out, at even distances: int64 (count, length)."""
    whole = torch.frombuffer(bytearray(b"".join(text.held_out)), dtype=torch.uint8)
    starts = np.linspace(0, len(whole) - length, count).astype(int)
    return torch.stack([whole[start : start + length] for start in starts]).long()


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def make_tiny_trace(
    steps: int, seed: int = 0, requests: int = 100, progress: Callable[[int, float], None] | None = None
) -> tuple[RoutingTrace, dict[str, Any]]:
    """Trains the model on the texts of this Python's standard library and records it.

    Args:
        steps: Of training.
        seed: Of training and of sampling.
        requests: That are recorded.
        progress: As in `train_tiny`.

    Returns:
        The trace, with scores rounded to `_SCORE_UNIT` so that its file is small, and a card that says how it was made.

    Raises:
        HetgymError: If an argument is out of range, or the standard library came without its sources.
    """
    for name, value in (("steps", steps), ("requests", requests)):
        if value < 1:
            raise HetgymError(f"{name}: must be positive (given: {value})")
    if seed < 0:
        raise HetgymError(f"seed: must not be negative (given: {seed})")
    settings = TinySettings()
    texts = standard_library_texts()
    training = train_tiny(texts, steps, seed, settings, progress)
    trace = record_tiny(training.model, texts, requests=requests, seed=seed)
    assert trace.scores is not None
    trace = replace(trace, scores=(trace.scores / _SCORE_UNIT).round() * np.float32(_SCORE_UNIT))
    card = {
        "command": f"hetgym trace train-tiny --steps {steps} --seed {seed} --requests {requests}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "model": asdict(settings),
        "training_bytes": steps * _BATCH * settings.context,
        "texts": {kind: _describe(text) for kind, text in texts.items()},
        "bits_per_byte": {
            "before": training.before,
            "after": training.after,
            "unigram": training.unigram,
            "after_of": training.after_of,
        },
    }
    return trace, card
