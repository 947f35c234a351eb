"""What users ask for, as settings of a scenario: tasks in cycles, networks that can be split, and prompts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from ...errors import HetgymError
from ...workloads import (
    decoder_language_model,
    device_llm_times,
    load_llm_times,
    network_profile,
    split_costs,
    with_bottleneck,
    with_slim_head,
)
from ...workloads.arrivals import (
    AtOnceArrivals,
    BurstyArrivals,
    PeriodicArrivals,
    PoissonArrivals,
    RecordedArrivals,
)
from ...workloads.llm_serving import LlmTimes, SharedRate
from ...workloads.networks import NetworkProfile, SplitCosts
from ...workloads.requests import REQUEST_KIND, Quantity, read_columns
from ...workloads.task_graph import FloatArray
from .instance import OPTION, Records
from .settings import Frozen, NonNegative, Positive, Servers, find_device

BITS = 8.0
"""Of a byte."""


class _Kind(Frozen):
    """A kind of request.

    Attributes:
        name: Lower-case with hyphens.
        share: Of the requests that are of this kind, relative to the others' shares.
        deadline: Seconds after the arrival; none by default.
    """

    name: str = "request"
    share: Positive = 1.0
    deadline: Quantity | None = None


class Task(_Kind):
    """A task in bits and cycles.

    Attributes:
        size: Bits that are sent if it is offloaded.
        cycles_per_bit: Of the work.
        cycles: Of the work, besides.
        result_ratio: Bits of the result for each bit sent.
        result_bits: Of the result, besides.
        overhead: Bits on the air for each bit sent.
    """

    kind: Literal["task"] = "task"
    size: Quantity
    cycles_per_bit: NonNegative = 0.0
    cycles: Quantity = Quantity(mean=0.0)
    result_ratio: NonNegative = 0.0
    result_bits: NonNegative = 0.0
    overhead: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0

    @property
    def num_options(self) -> int:
        """Options at each target."""
        return 1

    @property
    def quantities(self) -> tuple[Quantity, Quantity]:
        """Laws of size and work."""
        return self.size, self.cycles

    def local_option(self, device: str | None) -> Records:
        """Returns what it asks of the user's own device, an `OPTION`."""
        return _option(local=(0.0, self.cycles_per_bit, 0.0, 1.0))

    def remote_options(self, device: str | None, servers: Servers, in_cloud: bool) -> list[Records]:
        """Returns what it asks of a server, (O,) of `OPTION`."""
        work = (0.0, self.cycles_per_bit, 0.0, 1.0)
        up, down = (0.0, self.overhead, 0.0), (self.result_bits, self.result_ratio, 0.0)
        return [_option(up=up, down=down, **{_unit(servers): work})]


class Bottleneck(Frozen):
    """A variant of a network whose head was trained anew: `workloads.with_bottleneck`, or `with_slim_head` by width.

    Attributes:
        cut: Name of the cut where the head ends.
        compression: Share of the input's bytes that is saved.
        head_scale: Operations of the new head over those of the layers that it replaces.
        width: Of a slimmable head instead: share of the channels.
        error: Share of answers that are spoilt.
    """

    cut: str
    compression: Annotated[float, Field(ge=0, lt=1)] | None = None
    head_scale: Positive | None = None
    width: Annotated[float, Field(gt=0, le=1)] | None = None
    error: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _check(self) -> Bottleneck:
        if (self.width is None) == (self.compression is None) or (self.compression is None) != (
            self.head_scale is None
        ):
            raise ValueError("a bottleneck needs either compression and head_scale, or a width")
        return self

    def of(self, profile: NetworkProfile) -> NetworkProfile:
        """Returns the variant of a network."""
        if self.width is not None:
            return with_slim_head(profile, self.cut, self.width, self.error)
        assert self.compression is not None
        assert self.head_scale is not None
        return with_bottleneck(profile, self.cut, self.compression, self.head_scale, self.error)


class Network(_Kind):
    """An inference of a network that can be cut: option k of a target computes the layers before cut k here.

    Attributes:
        network: A name of `workloads.list_networks`.
        precision: In which users' devices compute, and in which tensors are sent.
        server_precision: In which servers do.
        bottlenecks: Variants, each cut where its head ends: further options.
    """

    kind: Literal["network"] = "network"
    network: str
    precision: str = "fp32"
    server_precision: str = "fp16"
    bottlenecks: tuple[Bottleneck, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Network:
        for bottleneck in self.bottlenecks:
            bottleneck.of(self.profile)
        return self

    @property
    def profile(self) -> NetworkProfile:
        """The network."""
        return network_profile(self.network)

    @property
    def num_options(self) -> int:
        """Options at each target: all cuts but the last, which leaves nothing to send, and the variants."""
        return len(self.profile.cuts) - 1 + len(self.bottlenecks)

    @property
    def quantities(self) -> tuple[Quantity, Quantity]:
        """Laws of size and work: all inferences are the same."""
        return Quantity(mean=1.0), Quantity(mean=0.0)

    def local_option(self, device: str | None) -> Records:
        """Returns what it asks of the user's own device, an `OPTION`."""
        costs = self._costs(self.profile, device, device)
        return _option(local=(costs.local_seconds[-1], 0.0, 0.0, 0.0))

    def remote_options(self, device: str | None, servers: Servers, in_cloud: bool) -> list[Records]:
        """Returns what it asks of a server, (O,) of `OPTION`."""
        plain = self._costs(self.profile, device, servers.device)
        chosen = [(plain, cut) for cut in range(len(plain.names) - 1)]
        chosen += [(self._costs(variant.of(self.profile), device, servers.device), 1) for variant in self.bottlenecks]
        return [
            _option(
                local=(costs.local_seconds[cut], 0.0, 0.0, 0.0),
                up=(BITS * costs.up_bytes[cut], 0.0, 0.0),
                down=(BITS * costs.down_bytes[cut], 0.0, 0.0),
                error=costs.error[cut],
                **{_unit(servers): (costs.remote_seconds[cut], 0.0, 0.0, 0.0)},
            )
            for costs, cut in chosen
        ]

    def _costs(self, profile: NetworkProfile, device: str | None, server_device: str | None) -> SplitCosts:
        for name, of in ((device, "users"), (server_device, "servers")):
            if name is None:
                raise HetgymError(
                    f"{of}: request kind {self.name!r} is a network: say on which device, platform/device"
                )
        assert device is not None
        assert server_device is not None
        own = find_device(device)
        if server_device == device:
            return split_costs(profile, own, own, self.precision)
        return split_costs(profile, own, find_device(server_device), self.precision, self.server_precision)


class Prompt(_Kind):
    """A prompt for language models, of which each place has one; size and work are tokens.

    Attributes:
        prompt: Tokens of the prompt.
        answer: Tokens of the answer.
        bits_per_token: On the air.
        weight_precision: Of the model on users' devices.
        local_error: Share of answers that the users' own model spoils, compared with the best model.
        edge_error: Likewise at the edge.
        cloud_error: Likewise in the cloud.
        context: Tokens whose keys and values an answer reads, on average; by default those of the mean prompt and half
            of the mean answer.
    """

    kind: Literal["prompt"] = "prompt"
    prompt: Quantity
    answer: Quantity
    bits_per_token: Positive = 32.0
    weight_precision: str = "int4"
    local_error: Annotated[float, Field(ge=0, le=1)] = 0.0
    edge_error: Annotated[float, Field(ge=0, le=1)] = 0.0
    cloud_error: Annotated[float, Field(ge=0, le=1)] = 0.0
    context: NonNegative | None = None

    @model_validator(mode="after")
    def _check_context(self) -> Prompt:
        if self.context is None and "recorded" in (self.prompt.law, self.answer.law):
            raise ValueError("prompts whose tokens are recorded need a context, tokens")
        return self

    @property
    def num_options(self) -> int:
        """Options at each target."""
        return 1

    @property
    def quantities(self) -> tuple[Quantity, Quantity]:
        """Laws of size and work."""
        return self.prompt, self.answer

    def local_option(self, device: str | None) -> Records:
        """Returns what it asks of the user's own device, an `OPTION`."""
        if device is None:
            raise HetgymError(f"users: request kind {self.name!r} is a prompt: say on which device, platform/device")
        times = device_llm_times(decoder_language_model(), find_device(device), self.weight_precision)
        prefill, decode = times.prefill_polynomial(), sum(shared_rate(times, self))
        return _option(local=(*prefill, decode), error=self.local_error)

    def remote_options(self, device: str | None, servers: Servers, in_cloud: bool) -> list[Records]:
        """Returns what it asks of a server, (O,) of `OPTION`."""
        times = llm_times(servers)
        bits = self.bits_per_token
        error = self.cloud_error if in_cloud else self.edge_error
        return [
            _option(
                serial=(*times.prefill_polynomial(), 0.0),
                shared=(0.0, 0.0, 0.0, 1.0),
                up=(0.0, bits, 0.0),
                down=(0.0, 0.0, bits),
                error=error,
            )
        ]


AnyKind = Annotated[Task | Network | Prompt, Field(discriminator="kind")]


class RequestWorkload(Frozen):
    """A stream of requests.

    Attributes:
        arrivals: When requests arrive, of all users together.
        num_requests: Of an episode.
        horizon: Seconds up to which requests arrive; without ``num_requests``.
        users_in_turn: Whether users have requests in turn; else each is as likely to have one.
        kinds: Of requests: all tasks, all networks, or all prompts.
    """

    kind: Literal["requests"] = "requests"
    arrivals: Annotated[
        PoissonArrivals | PeriodicArrivals | BurstyArrivals | RecordedArrivals | AtOnceArrivals,
        Field(discriminator="kind"),
    ]
    users_in_turn: bool = False
    num_requests: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    horizon: Annotated[float, Field(gt=0, le=1e9)] | None = None
    kinds: tuple[AnyKind, ...]

    @model_validator(mode="after")
    def _check(self) -> RequestWorkload:
        if (self.num_requests is None) == (self.horizon is None):
            raise ValueError("an episode needs either num_requests or a horizon")
        if isinstance(self.arrivals, AtOnceArrivals) and self.num_requests is None:
            raise ValueError("num_requests: must be given where all arrive at once")
        if len({kind.kind for kind in self.kinds}) != 1:
            raise ValueError("kinds: must be at least one, and all of the kind task, all network, or all prompt")
        recorded = [column for column in self.columns if column]
        if recorded and not isinstance(self.arrivals, RecordedArrivals):
            raise ValueError(f"column {recorded[0]!r} is recorded, but arrivals are not: they name the table")
        return self

    @property
    def _quantities(self) -> list[Quantity | None]:
        return [quantity for kind in self.kinds for quantity in (*kind.quantities, kind.deadline)]

    @property
    def columns(self) -> list[str | None]:
        """The recorded column of each number of each kind, None for those that are not recorded."""
        return [
            quantity.column if quantity is not None and quantity.law == "recorded" else None
            for quantity in self._quantities
        ]

    @property
    def recorded(self) -> FloatArray:
        """What is recorded beside the arrivals, float64 (rows, columns).

        Raises:
            HetgymError: If the table is not right.
        """
        names = self._names
        if not names or not isinstance(self.arrivals, RecordedArrivals):
            return np.zeros((1, 1))
        return read_columns(self.arrivals.path, names)

    @property
    def _names(self) -> list[str]:
        return list(dict.fromkeys(name for name in self.columns if name))

    @property
    def records(self) -> Records:
        """The kinds as kernels read them, (kinds,) of `REQUEST_KIND`."""
        names = self._names
        places = [names.index(name) if name else 0 for name in self.columns]
        shares = np.cumsum([kind.share for kind in self.kinds])
        made = np.zeros(len(self.kinds), REQUEST_KIND)
        made["share"] = shares / shares[-1]
        for number, kind in enumerate(self.kinds):
            size, work = kind.quantities
            made["size"][number] = size.record(places[3 * number])
            made["work"][number] = work.record(places[3 * number + 1])
            none = (0, np.inf, 0.0, np.inf, 0.0, 0)
            made["deadline"][number] = kind.deadline.record(places[3 * number + 2]) if kind.deadline else none
        return made

    @property
    def num_options(self) -> int:
        """Options at each target, of the kind that has most."""
        return max(kind.num_options for kind in self.kinds)


def llm_times(servers: Servers) -> LlmTimes:
    """Returns what a language model takes on some servers.

    Raises:
        HetgymError: If these have none.
    """
    if servers.model is None:
        raise HetgymError("servers: prompts need a model there: a name or path for load_llm_times")
    return load_llm_times(servers.model)


def shared_rate(times: LlmTimes, prompts: Prompt) -> SharedRate:
    """Returns seconds of a token of an answer, ``fixed`` and ``per_job``, in the middle of a usual answer."""
    context = prompts.context
    if context is None:
        context = prompts.prompt.typical + prompts.answer.typical / 2
    return times.shared_rate(context)


def _unit(servers: Servers) -> str:
    """Returns which unit of a server does the work."""
    return "shared" if servers.discipline == "ps" else "serial"


def _option(**fields: Any) -> Records:
    """Returns an option that exists, () of `OPTION`."""
    option = np.zeros((), OPTION)
    option["exists"] = True
    for name, value in fields.items():
        option[name] = value
    return option
