"""The names of policies."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import HetgymError, unknown_name
from .heuristics import list_schedulers, online, replay
from .heuristics.best_of import BestOf
from .heuristics.duplication import Duplication
from .heuristics.uniform import RandomPolicy
from .policy import Policy


def _cp_sat(**settings: Any) -> Policy:
    """Returns the exact solver, OR-Tools CP-SAT: a schedule of least makespan, within a time limit."""
    from .oracles.cp_sat import CpSat

    return CpSat(**settings)


_ANY_FAMILY: dict[str, Callable[..., Policy]] = {"random": RandomPolicy}

_BY_FAMILY: dict[str, dict[str, Callable[..., Policy]]] = {
    "task-graph": {
        "heft": list_schedulers.heft,
        "cpop": list_schedulers.cpop,
        "peft": list_schedulers.peft,
        "ipeft": list_schedulers.ipeft,
        "lookahead": list_schedulers.lookahead,
        "dls": list_schedulers.dls,
        "etf": list_schedulers.etf,
        "hbmct": list_schedulers.hbmct,
        "linear-clustering": list_schedulers.linear_clustering,
        "min-min": list_schedulers.min_min,
        "max-min": list_schedulers.max_min,
        "sufferage": list_schedulers.sufferage,
        "mct": list_schedulers.mct,
        "met": list_schedulers.met,
        "olb": list_schedulers.olb,
        "fastest-node": list_schedulers.fastest_node,
        "duplication": Duplication,
        "fifo": online.fifo,
        "eft": online.eft,
        "mct-online": online.mct_online,
        "rank-online": online.rank_online,
        "rank-online-wait": online.rank_online_wait,
        "etf-online": online.etf_online,
        "oct-online": online.oct_online,
        "edf": online.edf,
        "rm": online.rm,
        "srcpf": online.srcpf,
        "weighted-fair": online.weighted_fair,
        "drf": online.drf,
        "re-heft": replay.PeriodicHeft,
    },
}

_SOLVERS: dict[str, dict[str, Callable[..., Policy]]] = {"task-graph": {"cp-sat": _cp_sat}}

_PATTERNS = ("best-of-K:NAME", "ppo:PATH", "module:callable")
_BEST_OF = re.compile(r"best-of-(\d{1,6})")


def list_policies(family: str | None = None, solvers: bool = False) -> list[str]:
    """Returns the names of the policies that need no file.

    Args:
        family: Those of one family; of all by default.
        solvers: Whether to add the exact solvers, which take their time and need the extra ``hetgym[oracle]``.

    Raises:
        HetgymError: If there is no such family.
    """
    if family is not None and family not in _BY_FAMILY:
        raise unknown_name("family", family, sorted(_BY_FAMILY))
    families = [family] if family else sorted(_BY_FAMILY)
    registers = [_BY_FAMILY, _SOLVERS] if solvers else [_BY_FAMILY]
    return [name for register in registers for one in families for name in register[one]] + list(_ANY_FAMILY)


def describe_policies() -> dict[str, str]:
    """Returns the first line on every policy that needs no file, by name."""
    return {name: (maker.__doc__ or "").splitlines()[0] for name, maker in _makers().items()}


def _makers() -> dict[str, Callable[..., Policy]]:
    families = [*_BY_FAMILY.values(), *_SOLVERS.values()]
    return {name: maker for family in families for name, maker in family.items()} | _ANY_FAMILY


def make_policy(name: str, /, **settings: Any) -> Policy:
    """Returns a policy by its name.

    Args:
        name: One of `list_policies`, or a solver; ``best-of-K:NAME``, the best of so many attempts of a static
            scheduler or of a policy that draws; ``ppo:PATH``, a checkpoint or the folder of a training run; or
            ``module:callable``, which is called and must return a policy.
        settings: Passed on to what makes the policy.

    Raises:
        HetgymError: If there is no such policy, the checkpoint is not right, or the callable cannot be had.
    """
    named = _makers()
    if name in named:
        return _called(name, named[name], settings)
    prefix, separator, rest = name.partition(":")
    if not separator:
        raise unknown_name("policy", name, [*named, *_PATTERNS])
    attempts = _BEST_OF.fullmatch(prefix)
    if attempts:
        draws = {"sample": True} if rest.startswith("ppo:") else {}
        return _called(name, partial(BestOf, make_policy(rest, **draws), int(attempts[1])), settings)
    if prefix == "ppo":
        from .learned import LearnedPolicy

        return _called(name, partial(LearnedPolicy, Path(rest)), settings)
    return _called(name, _found(name, prefix, rest), settings)


def _found(name: str, module: str, attribute: str) -> Callable[..., Any]:
    try:
        maker = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise HetgymError(
            f"policy {name!r}: {error}; module:callable must name a callable in an importable module"
        ) from error
    if not callable(maker):
        raise HetgymError(f"policy {name!r}: {attribute} is not callable")
    return maker  # type: ignore[no-any-return]


def _called(name: str, maker: Callable[..., Any], settings: dict[str, Any]) -> Policy:
    try:
        policy = maker(**settings)
    except TypeError as error:
        raise HetgymError(f"policy {name!r}: {error}") from error
    if not isinstance(policy, Policy):
        raise HetgymError(
            f"policy {name!r}: {type(policy).__name__} is not a policy: it needs name, clairvoyant, reset and act"
        )
    return policy
