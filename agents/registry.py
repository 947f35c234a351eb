"""The names of policies."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, get_args

from ..errors import HetgymError, unknown_name
from .heuristics import list_schedulers, online, replay
from .heuristics.caching.names import combined_policy, named_policies
from .heuristics.duplication import Duplication
from .heuristics.offloading.policy import named_policies as offloading_policies
from .heuristics.uniform import RandomPolicy
from .oracles.offloading import ExhaustiveSearch
from .oracles.offloading_shares import Convex, PartialSplit
from .oracles.offloading_static import Milp
from .policy import Algorithm, Policy
from .search.best_of import BestOf
from .search.repair import Repair


def _cp_sat(**settings: Any) -> Policy:
    """Returns the exact solver, OR-Tools CP-SAT: a schedule of least makespan, within a time limit."""
    from .oracles.cp_sat import CpSat

    return CpSat(**settings)


def _beam(policy: Policy, width: int) -> Policy:
    """Returns beam search, guided by a trained network or by HEFT."""
    from .search.beam import Beam

    return Beam(policy, width)


_ANY_FAMILY: dict[str, Callable[..., Policy]] = {"random": RandomPolicy}

_SHARES: dict[str, Callable[..., Policy]] = {"partial-split": PartialSplit, "convex": Convex}
"""Policies of the continuous face of offloading."""

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
        "lwkr": online.lwkr,
        "weighted-fair": online.weighted_fair,
        "drf": online.drf,
        "re-heft": replay.PeriodicHeft,
    },
    "expert-cache": named_policies(),
    "offloading": offloading_policies() | _SHARES,
}

_SOLVERS: dict[str, dict[str, Callable[..., Policy]]] = {
    "task-graph": {"cp-sat": _cp_sat},
    "offloading": {"exhaustive": ExhaustiveSearch, "milp": Milp},
}

_SEARCHES: dict[str, Callable[[Policy, int], Policy]] = {"best-of": BestOf, "beam": _beam, "repair": Repair}
"""What searches with another policy, for K attempts, K schedules side by side, or K moves."""

_PATTERNS = {
    "best-of-K:NAME": "The best of K attempts of a list scheduler, or of a policy that draws.",
    "beam-K:NAME": "Beam search with K schedules side by side, guided by ppo:PATH or heft.",
    "repair-K:NAME": "K moves of a local search on the schedule of a policy that plans whole graphs.",
    "VICTIM+PREFETCH+WAY": "Rules of a cache: what is evicted, what is fetched early, how a miss is served.",
    "ppo:PATH": "A trained network: a checkpoint, or the folder of a training run; or sac:PATH, dqn:PATH, ...",
    "pretrained:NAME": "A trained network that comes with hetgym; pretrained alone: the one for the scenario.",
    "module:callable": "What a callable in an importable module returns.",
}
_SEARCH = re.compile(rf"({'|'.join(_SEARCHES)})-(\d{{1,6}})")


def list_policies(family: str | None = None, solvers: bool = False) -> list[str]:
    """Returns the names of the policies that need no file.

    Args:
        family: Those of one family; of all by default.
        solvers: Whether to add the exact solvers, which take their time; ``cp-sat`` needs the extra ``hetgym[oracle]``.

    Raises:
        HetgymError: If there is no such family.
    """
    if family is not None and family not in _BY_FAMILY:
        raise unknown_name("family", family, sorted(_BY_FAMILY))
    families = [family] if family else sorted(_BY_FAMILY)
    registers = [_BY_FAMILY, _SOLVERS] if solvers else [_BY_FAMILY]
    return [name for register in registers for one in families for name in register.get(one, {})] + list(_ANY_FAMILY)


def describe_policies() -> dict[str, str]:
    """Returns the first line on every policy, by name or pattern of names; on one of several families, a line each."""
    described: dict[str, str] = {}
    for family in (*_BY_FAMILY, None):
        for name, maker in policy_makers(family).items():
            line = (maker.__doc__ or "").splitlines()[0]
            if line not in described.setdefault(name, line):
                described[name] += f" {family}: {line}"
    return described | _PATTERNS


def policy_makers(family: str | None) -> dict[str, Callable[..., Policy]]:
    """Returns what makes policies, by name; where several families have one of a name, that of the given family.

    Args:
        family: Whose names count first; None for no family in particular.
    """
    registers = [register for own in (_BY_FAMILY, _SOLVERS) for name, register in own.items() if name != family]
    registers += [own[family] for own in (_BY_FAMILY, _SOLVERS) if family in own]
    return {name: maker for register in registers for name, maker in register.items()} | _ANY_FAMILY


def make_policy(name: str, /, family: str | None = None, **settings: Any) -> Policy:
    """Returns a policy by its name.

    Args:
        name: One of `list_policies`, or a solver; ``best-of-K:NAME``, the best of so many attempts of a static
            scheduler or of a policy that draws; ``beam-K:NAME``, beam search with so many schedules side by side,
            guided by ``ppo:PATH`` or ``heft``; ``repair-K:NAME``, so many moves of a local search on the schedule of
            any policy that plans, these included; ``VICTIM+PREFETCH+WAY``, rules of a cache (see
            `hetgym.agents.heuristics.caching.names.combined_policy`); ``ppo:PATH``, or another algorithm in its
            place, a checkpoint or the folder of a training run; ``pretrained:NAME``, a checkpoint that comes with
            hetgym; or ``module:callable``, which is called and must return a policy.
        family: For which a policy is wanted, where several have one of this name; by default the first.
        settings: Passed on to what makes the policy.

    Raises:
        HetgymError: If there is no such policy, the checkpoint is not right, or the callable cannot be had.
    """
    named = policy_makers(family or next(iter(_BY_FAMILY)))
    if name in named:
        return _called(name, named[name], settings)
    if "+" in name and ":" not in name:
        return combined_policy(name)
    prefix, separator, rest = name.partition(":")
    if not separator:
        raise unknown_name("policy", name, [*named, *_PATTERNS])
    search = _SEARCH.fullmatch(prefix)
    if search:
        learned = rest.partition(":")[0] in (*get_args(Algorithm), "pretrained")
        draws = {"sample": True} if search[1] == "best-of" and learned else {}
        policy = make_policy(rest, family, **draws)
        return _called(name, partial(_SEARCHES[search[1]], policy, int(search[2])), settings)
    if prefix in (*get_args(Algorithm), "pretrained"):
        return _called(name, partial(_learned, name), settings)
    return _called(name, _found(name, prefix, rest), settings)


def files_of(name: str) -> list[Path]:
    """Returns the files that the policy of a name depends on besides code: its checkpoint, or its module's source.

    Raises:
        HetgymError: If there is no such checkpoint.
    """
    from .card import CARD, POLICY, find_checkpoint
    from .pretrained import find_pretrained

    prefix, _, rest = name.partition(":")
    if _SEARCH.fullmatch(prefix):
        return files_of(rest)
    if prefix in (*get_args(Algorithm), "pretrained"):
        folder = find_pretrained(rest) if prefix == "pretrained" else find_checkpoint(Path(rest))
        return [folder / CARD, folder / POLICY]
    with suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(prefix) if rest else None
        if spec and spec.origin:
            return [Path(spec.origin)]
    return []


def _learned(name: str, **settings: Any) -> Policy:
    """Returns the policy of a checkpoint."""
    from .card import find_checkpoint, load_card
    from .learned import LearnedPolicy
    from .pretrained import find_pretrained
    from .sac_continuous import LearnedContinuousPolicy
    from .use_predictor import load_use_predictor
    from .weighted_rule import load_weighted_rule

    prefix, _, rest = name.partition(":")
    folder = find_pretrained(rest) if prefix == "pretrained" else find_checkpoint(Path(rest))
    card = load_card(folder)
    if prefix not in ("pretrained", card.algorithm):
        raise HetgymError(f"policy {name!r}: was trained with {card.algorithm}: name it {card.algorithm}:{rest}")
    if card.algorithm == "use-predictor":
        return load_use_predictor(name, folder, **settings)
    if card.algorithm == "weighted-rule":
        return load_weighted_rule(name, folder, **settings)
    if card.scenario.get("continuous"):
        return LearnedContinuousPolicy(name, folder, **settings)
    return LearnedPolicy(name, folder, **settings)


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
