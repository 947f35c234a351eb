"""What training needs to go on to the bit where a checkpoint was written, besides the network that decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch import Tensor

from ..agents.learner import Learner, part
from .environments import simulators_of, unwrapped


def training_state(model: Learner) -> dict[str, Tensor]:
    """Returns all that the next update depends on, besides the network that decides."""
    env = cast("VecEnv", model.get_env())
    state = {f"agent.{name}": tensor for name, tensor in model.training_state().items()}
    state |= _random_state()
    state["updates"] = torch.tensor([model._n_updates])
    state["episode_starts"] = torch.from_numpy(np.asarray(model._last_episode_starts))
    for index, simulator in enumerate(simulators_of(env)):
        for name, array in simulator.state_arrays().items():
            state[f"simulator.{index}.{name}"] = _bytes(array)
    if isinstance(env, VecNormalize):
        moments = env.ret_rms
        state["returns"] = torch.from_numpy(env.returns.astype(np.float64))
        state["returns_moments"] = torch.tensor(
            [float(moments.mean), float(moments.var), moments.count], dtype=torch.float64
        )
    return state


def restore(model: Learner, state: Mapping[str, Tensor], steps: int) -> None:
    """Brings a fresh model and its environments to where the state was taken, after so many decisions."""
    env = cast("VecEnv", model.get_env())
    model.load_training_state(part(state, "agent"))
    for index, simulator in enumerate(simulators_of(env)):
        saved, arrays = part(state, f"simulator.{index}"), simulator.state_arrays()
        simulator.load_state_arrays({name: _array(saved[name], array) for name, array in arrays.items()})
    if isinstance(env, VecNormalize):
        env.returns = state["returns"].numpy()
        moments = env.ret_rms
        moments.mean, moments.var, moments.count = state["returns_moments"].tolist()
    model.num_timesteps = steps
    model._n_updates = int(state["updates"][0])
    model._last_obs = cast("dict[str, NDArray[Any]]", unwrapped(env).resume())
    model._last_episode_starts = state["episode_starts"].numpy()
    _load_random_state(state)


def _bytes(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array).reshape(-1).view(np.uint8).copy())


def _array(saved: Tensor, like: NDArray[Any]) -> NDArray[Any]:
    return cast("NDArray[Any]", saved.numpy().view(like.dtype).reshape(like.shape))


def _random_state() -> dict[str, Tensor]:
    """Returns the state of the generators that SB3 draws from."""
    _, keys, position, has_gauss, cached_gauss = np.random.get_state()  # noqa: NPY002
    return {
        "torch_random": torch.get_rng_state(),
        "numpy_random": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy_position": torch.tensor([position, has_gauss, cached_gauss], dtype=torch.float64),
    }


def _load_random_state(state: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(state["torch_random"])
    position, has_gauss, cached_gauss = state["numpy_position"].tolist()
    keys = state["numpy_random"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, int(position), int(has_gauss), cached_gauss))  # noqa: NPY002
