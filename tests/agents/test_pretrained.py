"""The checkpoints that come with hetgym: small, described, and as good as their cards say."""

from __future__ import annotations

import shlex

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.agents import make_policy
from hetgym.agents.card import CARD, POLICY, load_card
from hetgym.agents.pretrained import find_pretrained, list_pretrained, pretrained_for
from hetgym.envs import load_scenario
from hetgym.envs.core.changes import parse_changes
from hetgym.evaluate import evaluate, summarise

pretrained = pytest.mark.parametrize("name", list_pretrained())


def test_there_are_some_of_every_family() -> None:
    assert {load_card(folder).family for folder in list_pretrained().values()} == {
        "task-graph",
        "expert-cache",
        "offloading",
    }


@pretrained
def test_it_is_small_and_says_how_it_was_made(name: str) -> None:
    folder = find_pretrained(name)
    assert sorted(path.name for path in folder.iterdir()) == [CARD, POLICY]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2**20
    card = load_card(folder)
    assert card.evaluation is not None
    assert card.bad_at
    assert len(card.evaluation.seeds) >= 3
    assert card.evaluation.low <= card.evaluation.ratio <= card.evaluation.high
    assert card.evaluation.episodes >= 200
    assert shlex.split(card.command)[0] == "hetgym"
    assert pretrained_for(card.scenario["name"], card.family) == name


@pretrained
def test_it_does_what_its_card_says(name: str) -> None:
    """On fewer of the same instances it stays near what the card says of all."""
    card = load_card(find_pretrained(name))
    said = card.evaluation
    assert said is not None
    settings = parse_changes([f"{key}={value}" for key, value in said.settings.items()])
    scenario = load_scenario(said.scenario, **settings)
    table = evaluate(scenario, [said.reference, "pretrained"], episodes=8, seed=said.seed)
    row = summarise(table, said.metric, said.reference, scenario=scenario).iloc[1]
    assert row["policy"] == f"pretrained:{name}"
    assert np.isclose(row["ratio"], said.ratio, atol=0.15)


def test_a_scenario_without_one_is_told_what_there_is() -> None:
    with pytest.raises(HetgymError, match=r"no checkpoint for scenario 'fft' comes with hetgym.*pretrained:random"):
        evaluate("fft", ["pretrained"], episodes=1)
    with pytest.raises(HetgymError, match="unknown pretrained checkpoint 'nowhere'"):
        make_policy("pretrained:nowhere")


def test_baselines_stand_for_those_of_the_scenario() -> None:
    table = evaluate("random", ["baselines", "fastest-node"], episodes=1, num_tasks=5)
    assert list(dict.fromkeys(table["policy"])) == [*load_scenario("random").baselines, "fastest-node"]
