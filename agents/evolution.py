"""Evolution: an optimiser that only compares what it tries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class SeparableCMA:
    """CMA-ES with a diagonal covariance, for functions that can only be evaluated.

    Ros and Hansen 2008, doi:10.1007/978-3-540-87700-4_30, with the constants of Hansen, arXiv:1604.00772. Trials come
    in pairs, one on either side of the mean (Brockhoff et al. 2010, doi:10.1007/978-3-642-15844-5_2).

    Attributes:
        mean: float64 (N,), the best guess so far.
        step: Step size: standard deviation of a trial, where the covariance is 1.
    """

    def __init__(self, mean: Floats, step: float, population: int, seed: int) -> None:
        """Begins at a point.

        Args:
            mean: float64 (N,).
            step: Standard deviation of the first trials in each coordinate.
            population: Trials in a generation, even, 4 or more.
            seed: Of the trials.
        """
        size, parents = mean.size, population // 2
        self.mean, self.step = mean.copy(), step
        self._population = population
        self._chance = np.random.default_rng(seed)
        self._variance, self._path, self._step_path = np.ones(size), np.zeros(size), np.zeros(size)
        share = np.log(parents + 0.5) - np.log(np.arange(1, parents + 1))
        self._share = share / share.sum()
        self._effective = 1.0 / np.square(self._share).sum()
        self._step_rate = (self._effective + 2.0) / (size + self._effective + 5.0)
        self._path_rate = 4.0 / (size + 4.0)
        # A diagonal has fewer numbers to learn than a matrix, so it may learn them faster.
        faster = (size + 2.0) / 3.0
        self._rank_one = min(1.0, faster * 2.0 / ((size + 1.3) ** 2 + self._effective))
        rank_many = 2.0 * (self._effective - 2.0 + 1.0 / self._effective) / ((size + 2.0) ** 2 + self._effective)
        self._rank_many = min(1.0 - self._rank_one, faster * rank_many)
        self._usual_length = np.sqrt(size) * (1.0 - 1.0 / (4.0 * size) + 1.0 / (21.0 * size**2))

    def ask(self) -> Floats:
        """Returns what to try next, float64 (population, N)."""
        half = self._chance.standard_normal((self._population // 2, self.mean.size))
        self._normal = np.concatenate([half, -half])
        trials: Floats = self.mean + self.step * np.sqrt(self._variance) * self._normal
        return trials

    def tell(self, costs: Floats) -> None:
        """Learns from what was asked for.

        Args:
            costs: float64 (population,), of each trial; the better half moves the mean, ties by index.
        """
        parents = self._normal[np.argsort(costs, kind="stable")[: self._share.size]]
        move = self._share @ parents
        spread = np.sqrt(self._variance)
        self.mean = self.mean + self.step * spread * move
        rate = self._step_rate
        self._step_path = (1.0 - rate) * self._step_path + np.sqrt(rate * (2.0 - rate) * self._effective) * move
        rate = self._path_rate
        self._path = (1.0 - rate) * self._path + np.sqrt(rate * (2.0 - rate) * self._effective) * spread * move
        self._variance = (
            (1.0 - self._rank_one - self._rank_many) * self._variance
            + self._rank_one * np.square(self._path)
            + self._rank_many * self._variance * (self._share @ np.square(parents))
        )
        excess = np.linalg.norm(self._step_path) / self._usual_length - 1.0
        self.step *= float(np.exp(self._step_rate / (1.0 + self._step_rate) * excess))
