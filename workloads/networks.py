"""Networks as chains of layers that can be cut: what each layer costs on a device, and what each cut sends."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypedDict

import numpy as np

from ..errors import HetgymError, unknown_name
from ..hardware_models import Device, operation_time
from .serving import weight_bytes
from .task_graph import FloatArray


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes:
        name: Unique in its network.
        operation: Its class, a key of `Device.efficiency`.
        macs: Multiply-accumulate operations, of 2 FLOP each.
        weights: Parameters that it reads.
        inputs: Numbers that it reads besides.
        outputs: Numbers that it writes.
    """

    name: str
    operation: str
    macs: float
    weights: float
    inputs: float
    outputs: float


@dataclass(frozen=True)
class Cut:
    """A place where one tensor leads from all that is before it to all that is behind.

    Attributes:
        name: Of what makes the tensor.
        layers: How many are before it.
        elements: Of the tensor.
        bytes_per_element: With which it is sent; None: with those of the precision in which it was computed.
    """

    name: str
    layers: int
    elements: float
    bytes_per_element: float | None = None

    def num_bytes(self, precision: str) -> float:
        """Returns the bytes of its tensor, where it was computed in a precision."""
        each = weight_bytes(precision) if self.bytes_per_element is None else self.bytes_per_element
        return self.elements * each


@dataclass(frozen=True)
class NetworkProfile:
    """What a network computes, layer by layer, and where it can be cut.

    Attributes:
        name: Lower-case with hyphens.
        layers: In order.
        cuts: By rising number of layers before them. The first is before all layers: its tensor is the input. The
            last is behind all: its tensor is the result.
        error: Share of answers that it spoils, compared with the network that it was made from.

    Raises:
        HetgymError: If the cuts are not in that order.
    """

    name: str
    layers: tuple[Layer, ...]
    cuts: tuple[Cut, ...]
    error: float = 0.0

    def __post_init__(self) -> None:
        """Checks the order of the cuts."""
        places = [cut.layers for cut in self.cuts]
        rising = all(earlier < later for earlier, later in pairwise(places))
        if len(places) < 2 or not rising or (places[0], places[-1]) != (0, len(self.layers)):
            raise HetgymError(
                f"network {self.name!r}: cuts: must rise from 0 to {len(self.layers)} layers (given: {places})"
            )

    @property
    def macs(self) -> float:
        """Of all layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def weights(self) -> float:
        """Parameters of all layers."""
        return sum(layer.weights for layer in self.layers)

    @property
    def input_elements(self) -> float:
        """Numbers of the input."""
        return self.cuts[0].elements

    def cut_index(self, cut: int | str) -> int:
        """Returns the place of a cut among the cuts.

        Args:
            cut: Its place, or its name.

        Raises:
            HetgymError: If there is no such cut.
        """
        names = [each.name for each in self.cuts]
        if isinstance(cut, str):
            if cut not in names:
                raise unknown_name(f"cut of network {self.name!r}", cut, names)
            return names.index(cut)
        if isinstance(cut, bool) or not isinstance(cut, int | np.integer) or not 0 <= cut < len(names):
            raise HetgymError(f"network {self.name!r}: cut: must be from 0 to {len(names) - 1} (given: {cut!r})")
        return int(cut)


def layer_seconds(profile: NetworkProfile, device: Device, precision: str) -> FloatArray:
    """Returns the time of each layer on a device, float64 (L,), s, by the roofline model (`operation_time`).

    A layer takes 2 FLOP a multiply-accumulate operation, and moves its weights, inputs and outputs once, all in one
    precision. A class of operations that the device has no efficiency for counts as 1; "memory" applies to all.

    Args:
        profile: The network.
        device: Where it runs.
        precision: A key of `Device.peak_flops` and of `hetgym.workloads.serving.PARAMETER_BYTES`.

    Raises:
        HetgymError: If there is no such precision, or the device lacks it or a memory bandwidth.
    """
    each = weight_bytes(precision)
    return np.array(
        [
            operation_time(
                device, layer.operation, precision,
                2.0 * layer.macs, each * (layer.weights + layer.inputs + layer.outputs),
            )
            for layer in profile.layers
        ]
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class SplitCosts:
    """What each cut of a network costs, in the order of the cuts.

    Attributes:
        names: Of the cuts.
        local_seconds: float64 (C,), of the layers before the cut, on the user's device.
        up_bytes: float64 (C,), of the tensor that crosses; 0 at the last cut, where nothing is left to do elsewhere.
        remote_seconds: float64 (C,), of the layers behind the cut, on the server's.
        down_bytes: float64 (C,), of the result; 0 at the last cut, where it is there already.
        error: float64 (C,), share of answers that are spoilt.
    """

    names: tuple[str, ...]
    local_seconds: FloatArray
    up_bytes: FloatArray
    remote_seconds: FloatArray
    down_bytes: FloatArray
    error: FloatArray


def split_costs(
    profile: NetworkProfile,
    user_device: Device,
    server_device: Device,
    precision: str = "fp32",
    server_precision: str | None = None,
) -> SplitCosts:
    """Returns what each cut costs: the quantities of which Neurosurgeon takes the best sum.

    Source: Kang et al. 2017, Neurosurgeon, ASPLOS, doi:10.1145/3037697.3037698.

    Args:
        profile: The network.
        user_device: Runs the layers before the cut.
        server_device: Runs those behind it.
        precision: In which the user's device computes, and in which a tensor goes up.
        server_precision: In which the server's computes, and in which the result comes down; by default the same.

    Raises:
        HetgymError: As in `layer_seconds`.
    """
    server_precision = server_precision or precision
    places = [cut.layers for cut in profile.cuts]
    before = np.append(0.0, np.cumsum(layer_seconds(profile, user_device, precision)))
    behind = np.append(np.cumsum(layer_seconds(profile, server_device, server_precision)[::-1])[::-1], 0.0)
    up = np.array([cut.num_bytes(precision) for cut in profile.cuts])
    down = np.full_like(up, profile.cuts[-1].num_bytes(server_precision))
    up[-1] = down[-1] = 0.0
    return SplitCosts(
        names=tuple(cut.name for cut in profile.cuts),
        local_seconds=before[places],
        up_bytes=up,
        remote_seconds=behind[places],
        down_bytes=down,
        error=np.full_like(up, profile.error),
    )


class BottleneckNumbers(TypedDict):
    """Arguments of `with_bottleneck`."""

    compression: float
    head_scale: float
    error: float


BOTTLEFIT: BottleneckNumbers = {"compression": 0.771, "head_scale": 1 / 83, "error": 0.006}
"""Matsubara et al. 2022, BottleFit, arXiv:2201.02693, the abstract: 77.1 % compression, at most 0.6 % of the accuracy
lost, a head 83 times smaller. That the last holds for operations too, against the layers that it replaces, is an
estimate: the paper compares sizes, with other methods' heads."""


def with_bottleneck(
    profile: NetworkProfile, at_cut: int | str, compression: float, head_scale: float, error: float
) -> NetworkProfile:
    """Returns the variant of a network whose head was trained anew, as a smaller one that ends in a bottleneck.

    The head, all layers before the cut, is scaled as if its channels were narrowed evenly, by the square root of
    ``head_scale``: operations and weights scale by ``head_scale``, its other numbers by the root. What crosses the cut
    has the bytes of the input less ``compression``. The layers behind the cut stay, with their cuts; there is no cut
    inside the new head.

    Source: Matsubara, Levorato, Restuccia 2022, ACM Computing Surveys 55(5), doi:10.1145/3527155, for the approach;
    `BOTTLEFIT` has numbers.

    Args:
        profile: The network.
        at_cut: Place or name of a cut that has layers before it and behind it.
        compression: Share of the input's bytes that is saved, in [0, 1).
        head_scale: Operations of the new head over those of the layers that it replaces.
        error: Share of answers that are spoilt, in [0, 1], wherever the variant is cut.

    Raises:
        HetgymError: If a number is out of its range.
    """
    if not 0 <= compression < 1:
        raise HetgymError(f"compression: must be at least 0 and less than 1 (given: {compression})")
    index, source = profile.cut_index(at_cut), profile.cuts[0]
    cut = replace(source, name=profile.cuts[index].name, elements=(1 - compression) * source.elements)
    return _with_head(f"{profile.name}-bottleneck", profile, index, head_scale, cut, error)


def with_slim_head(profile: NetworkProfile, at_cut: int | str, width: float, error: float) -> NetworkProfile:
    """Returns the variant of a network with fewer channels up to a cut: one width of a slimmable encoder.

    Operations and weights before the cut scale by the square of ``width``; the tensor that crosses, and all others
    there, by ``width``.

    Source: Yu et al. 2019, Slimmable neural networks, ICLR, arXiv:1812.08928, for the approach.

    Args:
        profile: The network.
        at_cut: As in `with_bottleneck`.
        width: Share of the channels that is left, in (0, 1].
        error: As in `with_bottleneck`.

    Raises:
        HetgymError: If a number is out of its range.
    """
    if not 0 < width <= 1:
        raise HetgymError(f"width: must be greater than 0 and at most 1 (given: {width})")
    index = profile.cut_index(at_cut)
    cut = replace(profile.cuts[index], elements=width * profile.cuts[index].elements)
    return _with_head(f"{profile.name}-slim", profile, index, width**2, cut, error)


def _with_head(
    name: str, profile: NetworkProfile, index: int, head_scale: float, cut: Cut, error: float
) -> NetworkProfile:
    """Returns a network with a scaled head, and another tensor at the cut where it ends."""
    if not 0 < index < len(profile.cuts) - 1:
        raise HetgymError(
            f"at_cut: must have layers before and behind it: from {profile.cuts[1].name!r} to "
            f"{profile.cuts[-2].name!r} (given: {profile.cuts[index].name!r})"
        )
    if not 0 < head_scale < math.inf:
        raise HetgymError(f"head_scale: must be finite and greater than 0 (given: {head_scale})")
    if not 0 <= error <= 1:
        raise HetgymError(f"error: must be from 0 to 1 (given: {error})")
    end, narrow = profile.cuts[index].layers, math.sqrt(head_scale)
    head = tuple(
        replace(
            layer,
            macs=head_scale * layer.macs,
            weights=head_scale * layer.weights,
            inputs=narrow * layer.inputs,
            outputs=narrow * layer.outputs,
        )
        for layer in profile.layers[:end]
    )
    return NetworkProfile(
        name=name,
        layers=head + profile.layers[end:],
        cuts=(profile.cuts[0], replace(cut, layers=end), *profile.cuts[index + 1 :]),
        error=error,
    )
