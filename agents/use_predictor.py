"""A network that predicts which experts will be used soon, and the cache policy that evicts by what it says.

`hetgym.agents.heuristics.caching.use_filter` describes the network, and is what decides: a call into torch takes longer
than the load that it saves. Here it is in torch, for training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..envs import Simulator
from ..errors import HetgymError
from .card import CARD, POLICY, Card, load_card
from .checkpoint import load_tensors
from .heuristics.caching.evictors import LEARNED
from .heuristics.caching.policy import CachePolicy
from .heuristics.caching.use_filter import OBSERVED, FilterWeights

Floats = NDArray[np.float32]

ALGORITHM: Literal["use-predictor"] = "use-predictor"


class UseNetwork(nn.Module):
    """The recurrent network over steps and layers; its parameters are `FilterWeights` but for a constant in scores."""

    parent: Tensor
    child: Tensor

    def __init__(self, parent: Tensor, child: Tensor, width: int, hidden: int, usual: float) -> None:
        """Makes the network.

        Args:
            parent: int64 (L, E): see `FilterWeights`.
            child: int64 (L, E).
            width: H, numbers of a state.
            hidden: M, hidden units of the score.
            usual: Share of tokens that use an expert, on average.
        """
        super().__init__()
        self.num_layers, self.num_experts, self.width = *parent.shape, width
        inputs = len(OBSERVED) + 3 * width
        self.register_buffer("parent", parent)
        self.register_buffer("child", child)
        cell = torch.randn(inputs, 2 * width) * 0.3 / inputs**0.5
        # States are of the uses that were seen.
        cell[: OBSERVED.index("excess") + 1, width:] += torch.rand(width)
        self.cell = nn.Parameter(cell)
        # Some numbers forget at once, others hardly ever.
        forgetting = torch.cat([torch.linspace(-0.45, 0.3, width), torch.zeros(width)])
        self.cell_bias = nn.Parameter(forgetting.repeat(self.num_layers, 1))
        self.hidden = nn.Parameter(torch.randn(len(OBSERVED) + width, hidden) / (len(OBSERVED) + width) ** 0.5)
        self.hidden_bias = nn.Parameter(torch.zeros(self.num_layers, hidden))
        self.output = nn.Parameter(torch.randn(hidden) / hidden**0.5)
        self.constant = nn.Parameter(torch.tensor(usual).logit())

    def forward(self, observed: Tensor) -> Tensor:
        """Returns the logits of being used soon after each step, (B, S, L, E).

        Args:
            observed: (B, S, L, E, observed), of whole prompts from their first steps on.
        """
        both = torch.cat([observed, self._states(observed)], dim=-1)
        units = torch.relu(both @ self.hidden + self.hidden_bias[:, None])
        logits: Tensor = units @ self.output + self.constant
        return logits

    def _states(self, observed: Tensor) -> Tensor:
        """Returns the states after each step, (B, S, L, E, H).

        Layer l at step s depends on layer l - 1 at s, and on layers l and l + 1 at s - 1. So those with
        l + 2 s = d are found at once, for d = 0, 1, ...: all even layers, or all odd ones. The others are read.
        """
        batch, steps, layers, experts, _ = observed.shape
        groups = [torch.arange(parity, layers, 2) for parity in range(2)]
        sources = [self._sources(group) for group in groups]
        bias = [self.cell_bias[group].repeat_interleave(experts, dim=0) for group in groups]
        # A last row of zeros stands for a layer that is not there.
        state = [observed.new_zeros(batch, len(group) * experts + 1, self.width) for group in groups]
        found: list[list[Tensor]] = [[], []]
        for diagonal in range(layers + 2 * steps - 2):
            parity = diagonal % 2
            group, own, others = groups[parity], state[parity], state[1 - parity]
            step = (diagonal - group) // 2
            now = observed[:, step.clamp(0, steps - 1), group].reshape(batch, -1, len(OBSERVED))
            parents, children = (others[:, source] for source in sources[parity])
            new = self._next(now, own[:, :-1], parents, children, bias[parity])
            has_begun = (step >= 0).repeat_interleave(experts)[:, None]
            state[parity] = torch.cat([torch.where(has_begun, new, own[:, :-1]), own[:, -1:]], dim=1)
            found[parity].append(state[parity][:, :-1].reshape(batch, len(group), experts, self.width))
        grids = [torch.stack(each, dim=1) if each else None for each in found]
        each_layer = []
        for layer in range(layers):
            grid, position = grids[layer % 2], layer // 2
            assert grid is not None
            each_layer.append(grid[:, position : position + steps, position])
        return torch.stack(each_layer, dim=2)

    def _next(self, observed: Tensor, own: Tensor, parents: Tensor, children: Tensor, bias: Tensor) -> Tensor:
        q = torch.cat([observed, own, parents, children], dim=-1) @ self.cell + bias
        gate = (q[..., : self.width] + 0.5).clamp(0, 1)
        return own + gate * (q[..., self.width :].clamp(-1, 1) - own)

    def _sources(self, group: Tensor) -> tuple[Tensor, Tensor]:
        """Returns where the parents and the children of some layers' experts are among the other layers' rows."""
        experts = self.num_experts
        nothing = (self.num_layers - len(group)) * experts
        layer = group[:, None]
        parents = torch.where(layer > 0, self.parent[group] + (layer - 1) // 2 * experts, nothing)
        children = torch.where(layer + 1 < self.num_layers, self.child[group] + (layer + 1) // 2 * experts, nothing)
        return parents.reshape(-1), children.reshape(-1)

    def compiled(self) -> FilterWeights:
        """Returns what the compiled network reads."""
        tensors = self.state_dict()

        def array(name: str, dtype: Any) -> NDArray[Any]:
            return np.array(tensors[name].cpu().numpy(), dtype, order="C")

        numbers = {name: array(name, np.float32) for name in FilterWeights._fields if name not in ("parent", "child")}
        return FilterWeights(**numbers, parent=array("parent", np.int32), child=array("child", np.int32))


def find_relatives(share: Tensor) -> tuple[Tensor, Tensor]:
    """Returns for each expert those of the layers before and after that tokens use together with it most often.

    That is the largest n(e, f) / sqrt(n(e) n(f)), the first of equals, of tokens n that use one or both.

    Args:
        share: (B, S, L, E), of the tokens of each step, that which uses each expert.

    Returns:
        Parents and children, int64 (L, E); 0 where there is no layer.
    """
    layers, experts = share.shape[2:]
    tokens = share.reshape(-1, layers, experts)
    alone = tokens.square().sum(dim=0).clamp(min=1e-6).sqrt()
    parent, child = torch.zeros(2, layers, experts, dtype=torch.int64)
    for layer in range(1, layers):
        together = tokens[:, layer - 1].T @ tokens[:, layer] / (alone[layer - 1][:, None] * alone[layer])
        parent[layer] = together.argmax(dim=0)
        child[layer - 1] = together.argmax(dim=1)
    return parent, child


class UsePredictor(CachePolicy):
    """Evicts the expert that a trained network holds least likely to be used soon; it may load past the pool.

    Where an episode plays one layer, the others tell the network nothing: their experts' states stay 0.
    """

    def __init__(self, name: str, weights: FilterWeights, prefetch: str = "none", miss: str = "load") -> None:
        """Takes a network.

        Args:
            name: What the policy is called.
            weights: The network.
            prefetch: As for `CachePolicy`.
            miss: As for `CachePolicy`.
        """
        super().__init__(name, prefetch=prefetch, miss=miss)
        self._codes[0] = LEARNED
        self._weights: FilterWeights = weights

    def reset(self, simulator: Simulator) -> None:
        """Forgets earlier episodes.

        Raises:
            HetgymError: If the simulator is of another family, or the network is for another model.
        """
        items = getattr(simulator, "items", None)
        shape = self._weights.parent.shape
        if items is not None and (items.num_layers, items.num_experts) != shape:
            raise HetgymError(
                f"policy {self.name!r}: was trained on {shape[0]} layers of {shape[1]} experts; the scenario has "
                f"{items.num_layers} of {items.num_experts}"
            )
        super().reset(simulator)


def load_use_predictor(name: str, folder: Path, prefetch: str = "none", miss: str = "load") -> UsePredictor:
    """Returns the policy of a trained network.

    Args:
        name: What the policy is called.
        folder: The checkpoint.
        prefetch: As for `CachePolicy`.
        miss: As for `CachePolicy`.

    Raises:
        HetgymError: If it is not the checkpoint of such a network.
    """
    card = load_card(folder)
    if card.algorithm != ALGORITHM:
        raise HetgymError(f"{folder / CARD}: algorithm: must be {ALGORITHM} (given: {card.algorithm})")
    return UsePredictor(name, _network(folder, card).compiled(), prefetch, miss)


def _network(folder: Path, card: Card) -> UseNetwork:
    tensors, path = load_tensors(folder / POLICY), folder / POLICY
    relatives = [tensors.get(name, torch.zeros(0)) for name in ("parent", "child")]
    if card.features.get("observed") != list(OBSERVED) or any(relative.ndim != 2 for relative in relatives):
        raise HetgymError(
            f"{path}: not the network of this version of hetgym; train anew, or use the version that trained it "
            f"({card.versions.get('hetgym')})"
        )
    network = UseNetwork(relatives[0], relatives[1], card.network.hidden, card.network.outputs, 0.5)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise HetgymError(f"{path}: does not fit the network of its card: {' '.join(str(error).split())}") from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise HetgymError(f"{path}: holds numbers that are not finite")
    if not all(bool(((relative >= 0) & (relative < network.num_experts)).all()) for relative in relatives):
        raise HetgymError(f"{path}: parent and child: must name experts, 0 to {network.num_experts - 1}")
    return network
