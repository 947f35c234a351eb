"""How a simulator's arrays are handed to an agent: as a dictionary, or flat."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ...errors import unknown_name
from .simulator import Arrays, Simulator

Mode = Literal["dict", "flat"]
Batch = Arrays | NDArray[np.float32]


class Presentation:
    """Shows a simulator's current observation in one of two forms.

    Attributes:
        single_space: Space of one environment's observation: the simulator's dictionary, or one Box that holds
            the same numbers, array after array in the order of the dictionary's keys.
    """

    def __init__(self, simulator: Simulator, mode: str) -> None:
        """Prepares the form.

        Args:
            simulator: Whose observations.
            mode: ``dict`` or ``flat``.

        Raises:
            HetgymError: If the mode is neither.
        """
        if mode not in ("dict", "flat"):
            raise unknown_name("observation", mode, ["dict", "flat"])
        self._simulator = simulator
        self._first = {id(buffer): rows_of(buffer, 0) for buffer in simulator.buffers}
        self._flat: dict[int, tuple[NDArray[np.float32], list[tuple[NDArray[np.float32], NDArray[Any]]]]] = {}
        self.single_space: spaces.Space[Any] = simulator.single_observation_space
        if mode == "flat":
            self.single_space = _flat_space(simulator.single_observation_space)
            for buffer in simulator.buffers:
                self._flat[id(buffer)] = _flat_view(simulator.num_envs, simulator.single_observation_space, buffer)

    def batch(self) -> Batch:
        """Returns the live arrays of all environments, valid for one further step."""
        observation = self._simulator.observation
        if not self._flat:
            return observation
        flat, parts = self._flat[id(observation)]
        for part, array in parts:
            part[...] = array
        return flat

    def first(self) -> Any:
        """Returns the live arrays of the first environment, valid for one further step."""
        if self._flat:
            return self.batch()[0]  # type: ignore[index]
        return self._first[id(self._simulator.observation)].copy()


def each_row(batch: Batch) -> list[Any]:
    """Returns the environments' observations one by one, live."""
    if isinstance(batch, dict):
        return [dict(zip(batch, rows, strict=True)) for rows in zip(*batch.values(), strict=True)]
    return list(batch)


def rows_of(batch: Batch, rows: Any) -> Any:
    """Returns some environments' observations: fresh arrays for an index array, live ones for an integer."""
    if isinstance(batch, dict):
        return {name: array[rows] for name, array in batch.items()}
    return batch[rows]


def copy_of(batch: Batch) -> Batch:
    """Returns fresh arrays."""
    if isinstance(batch, dict):
        return {name: array.copy() for name, array in batch.items()}
    return batch.copy()


def _flat_space(space: spaces.Dict) -> spaces.Box:
    boxes = [box for box in space.values() if isinstance(box, spaces.Box)]
    low = np.concatenate([box.low.ravel().astype(np.float32) for box in boxes])
    high = np.concatenate([box.high.ravel().astype(np.float32) for box in boxes])
    return spaces.Box(low, high, dtype=np.float32)


def _flat_view(
    num_envs: int, space: spaces.Dict, buffer: Arrays
) -> tuple[NDArray[np.float32], list[tuple[NDArray[np.float32], NDArray[Any]]]]:
    sizes = [int(np.prod(part.shape or ())) for part in space.values()]
    flat = np.zeros((num_envs, sum(sizes)), np.float32)
    ends = np.cumsum(sizes)
    parts = [
        (flat[:, end - size : end], buffer[name].reshape(num_envs, size))
        for name, size, end in zip(space, sizes, ends, strict=True)
    ]
    return flat, parts
