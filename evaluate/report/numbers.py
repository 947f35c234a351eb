"""Numbers as people read them: four digits, SI prefixes, intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

UNITS = {
    "makespan": "s",
    "heft_makespan": "s",
    "lower_bound": "s",
    "job_latency_mean": "s",
    "job_latency_p50": "s",
    "job_latency_p95": "s",
    "job_latency_p99": "s",
    "throughput": "1/s",
    "energy": "J",
    "energy_delay_product": "J s",
    "stall": "s",
    "tokens_per_second": "1/s",
    "time_per_output_token": "s",
    "time_to_first_token": "s",
    "bytes_moved": "B",
    "seconds": "s",
    "delay": "s",
    "computation_rate": "bit/s",
    "weighted_rate": "bit/s",
    "power": "W",
    "backlog": "bit",
}
"""Of metrics that are no plain numbers."""

PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
PREFIXED = ("s", "J", "B", "W", "bit", "bit/s")
"""Units that take prefixes; seconds only those that make them smaller."""

NONE = "–"  # noqa: RUF001 (a dash is what it is)
"""What stands for a number that there is not."""


@dataclass(frozen=True)
class Scale:
    """A unit for several numbers, so that they can be compared at a glance.

    Attributes:
        size: Of the unit, in SI units.
        unit: What it is called; empty for plain numbers.
    """

    size: float
    unit: str

    @classmethod
    def of(cls, values: Iterable[float], unit: str) -> Scale:
        """Returns the unit in which the largest of some numbers, in SI units, has one to three digits before its point.

        Args:
            values: The numbers; NaN and infinity do not count.
            unit: Of the numbers.
        """
        largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
        if unit not in PREFIXED or largest == 0:
            return cls(1.0, unit)
        for size, prefix in PREFIXES:
            if largest >= size and not (unit == "s" and size > 1):
                return cls(size, prefix + unit)
        return cls(PREFIXES[-1][0], PREFIXES[-1][1] + unit)

    def text(self, value: float) -> str:
        """Returns a number in this unit, without the unit."""
        return number(value / self.size)

    def named(self, name: str) -> str:
        """Returns the name of a quantity with its unit."""
        return f"{name} ({self.unit})" if self.unit else name


def number(value: float) -> str:
    """Returns a number with four digits."""
    if math.isnan(value):
        return NONE
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) >= 1e4:
        return f"{value:,.0f}" if abs(value) < 1e7 else f"{value:.3e}"
    return f"{value:#.4g}".rstrip(".") if abs(value) >= 1e-3 else f"{value:.3g}"


def quantity(value: float, unit: str) -> str:
    """Returns a number with four digits and its unit, with a prefix where that is usual."""
    scale = Scale.of([value], unit)
    return f"{scale.text(value)} {scale.unit}".rstrip()


def interval(low: float, high: float, scale: Scale | None = None) -> str:
    """Returns where an interval begins and ends; nothing if there is none."""
    if math.isnan(low) or math.isnan(high):
        return ""
    text = scale.text if scale else number
    return f"{text(low)} – {text(high)}"  # noqa: RUF001 (a dash is what it is)


def percent(share: float) -> str:
    """Returns a share in percent."""
    return NONE if math.isnan(share) else f"{share:.1%}".replace(".0%", "%")


def probability(value: float) -> str:
    """Returns a p-value."""
    if math.isnan(value):
        return NONE
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"
