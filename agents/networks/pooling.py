"""How candidates hear of more than themselves: of their nodes, of their rivals, and of the jobs around them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .batch import ABSENT, CandidateBatch, Graphs
from .segments import segment_log_softmax, segment_mean, segment_sum


class NodeJoin(nn.Module):
    """Joins the nodes that a candidate speaks of: candidates are the edges between tasks and devices.

    A candidate reads its nodes. Then each node may hear the mean of the candidates that speak of it, so that a device
    knows what waits for it and a task where it may go, and the candidate reads that as well.
    """

    def __init__(self, nodes_per_candidate: int, hidden: int, hears: bool) -> None:
        """Makes the layers.

        Args:
            nodes_per_candidate: m; the positions, such as task and device, have layers of their own.
            hidden: Width.
            hears: Whether nodes hear candidates.
        """
        super().__init__()
        self.nodes = nn.ModuleList(nn.Linear(hidden, hidden, bias=False) for _ in range(nodes_per_candidate))
        heard = nodes_per_candidate if hears else 0
        self.heard = nn.ModuleList(nn.Linear(hidden, hidden, bias=False) for _ in range(heard))

    def forward(self, candidates: Tensor, nodes: Tensor, row: Tensor, spoken_of: Tensor) -> Tensor:
        """Returns candidates that have read their nodes, float32 (C, hidden).

        Args:
            candidates: float32 (C, hidden).
            nodes: float32 (rows, hidden), embeddings.
            row: int64 (N,), each node's row.
            spoken_of: int64 (C, m), nodes that each candidate speaks of, or `ABSENT`.
        """
        # One more row, of zeros, stands for no node.
        rows = nn.functional.pad(row, (0, 1), value=len(nodes))[spoken_of].unbind(dim=1)
        for linear, spoken in zip(self.nodes, rows, strict=True):
            candidates = candidates + _or_zero(linear(nodes)).index_select(0, spoken)
        said = torch.relu(candidates) if self.heard else candidates
        for linear, spoken in zip(self.heard, rows, strict=False):
            heard = segment_mean(said, spoken, len(nodes) + 1)[:-1]
            candidates = candidates + _or_zero(linear(heard)).index_select(0, spoken)
        return candidates


class Hierarchy(nn.Module):
    """Embeds jobs by their tasks, and situations by their jobs, as in Decima (Mao et al., arXiv:1810.01963).

    DeepSoCS (Sung et al., doi:10.3390/electronics9060936) has the same for jobs on a SoC. Both sum where this takes
    means, which stay in range for more tasks and jobs than in training; how many there are is in the context.
    """

    def __init__(self, hidden: int) -> None:
        """Makes the layers."""
        super().__init__()
        self.job = nn.Linear(hidden, hidden)
        self.whole = nn.Linear(hidden, hidden)
        self.from_job = nn.Linear(hidden, hidden, bias=False)
        self.from_whole = nn.Linear(hidden, hidden, bias=False)

    def forward(self, candidates: Tensor, nodes: Tensor, batch: CandidateBatch) -> tuple[Tensor, Tensor]:
        """Returns candidates that have read job and situation, (C, hidden), and the situations, (B, hidden).

        Args:
            candidates: float32 (C, hidden).
            nodes: float32 (N, hidden), embeddings of all unsettled nodes.
            batch: The situations.
        """
        graphs, num_situations = batch.graphs, len(batch.context)
        assert graphs is not None
        of_job = graphs.jobs != ABSENT
        room = int(graphs.jobs.max()) + 1 if of_job.any() else 1
        place = (graphs.situation * room + graphs.jobs)[of_job]
        jobs = torch.relu(self.job(segment_mean(nodes[of_job], place, num_situations * room)))
        active = torch.bincount(place, minlength=num_situations * room).nonzero().squeeze(1)
        whole = segment_mean(jobs.index_select(0, active), active // room, num_situations)
        whole = torch.relu(self.whole(whole))
        place = _jobs_spoken_of(graphs)
        place = torch.where(place == ABSENT, num_situations * room, batch.situation * room + place)
        candidates = (
            candidates
            + _or_zero(self.from_job(jobs)).index_select(0, place)
            + self.from_whole(whole).index_select(0, batch.situation)
        )
        return candidates, whole


class AttentionPooling(nn.Module):
    """Sums up the candidates of each situation, weighted by attention; each may then read what all amount to."""

    def __init__(self, hidden: int, feeds_back: bool) -> None:
        """Makes the layers.

        Args:
            hidden: Width.
            feeds_back: Whether candidates read it, so that each knows its rivals.
        """
        super().__init__()
        self.attention = nn.Linear(hidden, 1, bias=False)
        self.own = nn.Linear(hidden, hidden) if feeds_back else None
        self.rivals = nn.Linear(hidden, hidden, bias=False) if feeds_back else None

    def forward(self, candidates: Tensor, situation: Tensor, num_situations: int) -> tuple[Tensor, Tensor]:
        """Returns the candidates, float32 (C, hidden), and the situations, float32 (B, hidden).

        Args:
            candidates: float32 (C, hidden).
            situation: int64 (C,), whose each is.
            num_situations: B.
        """
        weight = segment_log_softmax(self.attention(candidates).squeeze(1), situation, num_situations).exp()
        pooled = segment_sum(candidates * weight.unsqueeze(1), situation, num_situations)
        if self.own is not None and self.rivals is not None:
            candidates = torch.relu(self.own(candidates) + self.rivals(pooled).index_select(0, situation))
        return candidates, pooled


def _or_zero(rows: Tensor) -> Tensor:
    """Returns rows with one more, of zeros."""
    return nn.functional.pad(rows, (0, 0, 0, 1))


def _jobs_spoken_of(graphs: Graphs) -> Tensor:
    """Returns the job of the nodes that each candidate speaks of, or `ABSENT`, int64 (C,)."""
    return nn.functional.pad(graphs.jobs, (0, 1), value=ABSENT)[graphs.spoken_of].amax(dim=1)
