"""The checker finds every kind of fault: an episode that is right, then changed, or held to other rules."""

import importlib.util
import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hetgym.envs.offloading.checker import violations
from hetgym.envs.offloading.instance import SHARINGS
from hetgym.envs.offloading.reference import Run
from hetgym.envs.offloading.table import COLUMNS

_path = Path(__file__).with_name("small_offloads.py")
_spec = importlib.util.spec_from_file_location("small_offloads", _path)
small_offloads = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small_offloads)

# Two users, a cell and a line. On the cell: 0, 1 and 2 of user 0 (1 and 2 wait for the radio), and 3 of user 1. On the
# line, across blocks: 4 of user 1. At home: 5 and 6 of user 0. 7 of user 1 has neither bits nor work.
INSTANCE = small_offloads.small_instance(
    [
        {"arrival": arrival, "user": user, "deadline": 8}
        for arrival, user in [(0, 0), (0.25, 0), (0.5, 0), (0.5, 1), (1, 1), (1, 0), (1.5, 0), (9, 1)]
    ],
    [
        [{"local": 2, "error": 0.25}],
        [{"serial": 1, "shared": 2, "up": 4, "down": 2, "error": 0.5}, {}, {"exists": False}],
        [{"serial": 1, "shared": 3, "up": 4, "down": 2}],
    ],
    users=[{"power": 3, "idle_power": 0.5, "receive_power": 0.25}, {"power": 7, "idle_power": 0.5}],
    servers=[{"speed": 2, "fixed": 0.25, "per_job": 0.5, "energy": 2}, {}],
    accesses=[{"bandwidth": 2}, {"is_radio": False, "down_ratio": 2}],
    targets=[{"latency": 0.125}, {"access": 1, "server": 1}],
    trace=[1, 2, 4],
    block=1,
    sharing="equal",
)
CHOICES = [(1, 0), (1, 0), (1, 0), (1, 0), (2, 0), (0, 0), (0, 0), (1, 1)]


def play(instance=INSTANCE, choices=CHOICES, **rules):
    run = Run(instance, **rules)
    for choice in choices:
        run.decide_parts(*choice) if run.continuous else run.decide(*choice)
    return run


RIGHT = play().table()


def test_an_episode_that_is_right_has_no_faults():
    assert violations(RIGHT, INSTANCE, metrics=play().metrics()) == []


def put(row, **values):
    """Writes other values in a row."""

    def edit(table):
        for name, value in values.items():
            column = table[name].astype(object)
            column[row] = value
            table[name] = column.infer_objects() if name != "missed" else column
        return table

    return edit


def shift(row, *columns, by=0.125):
    """Adds to some columns of a row."""

    def edit(table):
        for name in columns:
            table.loc[row, name] += by
        return table

    return edit


def swap(first, second, *columns):
    """Exchanges what two rows have in some columns."""

    def edit(table):
        for name in columns:
            table.loc[[first, second], name] = table.loc[[second, first], name].to_numpy()
        return table

    return edit


FROM_DOWN = ("down", "end", "delay")
FROM_LEFT = ("left", *FROM_DOWN)
FROM_SERVED = ("served", *FROM_LEFT)
FROM_SENT = ("sent", "reached", *FROM_SERVED)
FROM_BEGIN = ("begin_send", *FROM_SENT)

EDITS = {
    "a column is missing": (lambda table: table.drop(columns="sent"), "no column 'sent'"),
    "a request is missing": (lambda table: table.iloc[:-1], "7 rows, for 8 requests"),
    "a request is there twice": (lambda table: table.iloc[[0, 1, 1, *range(3, 8)]], "row 2 is of request 1"),
    "requests are not in order": (lambda table: table.iloc[[1, 0, *range(2, 8)]], "row 0 is of request 1"),
    "half a request": (put(2, option=0.5), "column 'option' has numbers that are not whole"),
    "another user": (put(3, user=0), "request 3 is of user 0 instead of 1"),
    "another arrival": (put(3, arrival=0.25), "request 3 arrives at 0.25"),
    "a time is missing": (put(1, served=math.nan), "request 1 has served nan"),
    "a time is infinite": (put(1, end=math.inf), "request 1 has end inf"),
    "a stage that is not there": (put(5, left=3.0), "request 5 has left 3.0, for target 0"),
    "a power at home": (put(5, power=1.0), "request 5 has power 1.0, for target 0"),
    "a target that is not there": (put(1, target=3), "option 0 of target 3"),
    "an option that is not there": (put(1, option=3), "option 3 of target 1"),
    "an option that does not exist": (put(1, option=2), "option 2 of target 1, which does not exist"),
    "a power that is not the user's": (put(3, power=8.0), "sent with 8.0 W instead of 7.0"),
    "no power": (put(3, power=0.0), "sent with 0.0 W"),
    "a share of a request that is not split": (put(1, fraction=0.5), "a share of 0.5 for target 1"),
    "a share of what stays": (put(5, fraction=1.0), "a share of 1.0 for target 0"),
    "another speed": (put(5, speed_factor=2.0), "at 2.0 times its speed"),
    "missed by half": (put(5, missed=0.5), "missed 0.5"),
    "decided before it arrives": (shift(7, "decided", "ready", by=-1), "at 8.0, before it arrives"),
    "decided late": (shift(7, "decided", "ready", *FROM_BEGIN), "request 7 is decided at 9.125 instead of 9.0"),
    "decided out of order": (shift(1, "decided", "ready", by=0.5), "request 2 is decided at 0.5, before request 1"),
    "too fast at home": (shift(5, "ready", "end", "delay", by=-1), "request 5 is ready at 2.0 instead of 3.0"),
    "two things at once at home": (shift(6, "ready", "end", "delay", by=-1.5), "ready at 3.5 instead of 5.0"),
    "ready before it is decided": (shift(4, "ready", by=-0.125), "request 4 is ready at 0.875 instead of 1.0"),
    "a radio sends two at once": (shift(1, *FROM_BEGIN, by=-0.25), "request 1 is sent from"),
    "a radio pauses": (shift(2, *FROM_BEGIN), "request 2 is sent from"),
    "a radio takes the wrong one": (swap(1, 2, "begin_send", "sent"), "request 1 is sent after request 2, but"),
    "an airtime that is none": (shift(1, "airtime"), "request 1 is sent in"),
    "sent before it begins": (put(7, sent=8.0, airtime=-1.0), "request 7 is sent in -1.0 s"),
    "sent too slowly": (shift(2, *FROM_SENT, "airtime"), "bits of request 2 sent"),
    "sent too fast": (shift(4, *FROM_SENT, "airtime", by=-0.125), "bits of request 4 sent"),
    "sent, without bits": (shift(7, *FROM_SENT, "airtime"), "request 7 is sent until 9.125 instead of 9.0"),
    "there too early": (shift(2, "reached", by=-0.0625), "request 2 reaches its server at"),
    "there late": (shift(4, "reached"), "request 4 reaches its server at"),
    "served too fast": (shift(4, *FROM_SERVED, by=-0.125), "request 4 is served"),
    "served too slowly": (shift(4, *FROM_SERVED), "request 4 is served"),
    "served out of turn": (swap(1, 3, "served"), "request 1 is served"),
    "too much shared work": (shift(4, *FROM_LEFT), "units of shared work of request 4"),
    "too little shared work": (shift(1, *FROM_LEFT, by=-0.125), "units of shared work of request 1"),
    "gone before it came": (put(4, left=0.5), "to 0.5, for 3.0 units of work"),
    "stays without work": (shift(7, *FROM_LEFT), "from 9.125 to 9.25, for 0.0 units of work"),
    "a result that is early": (shift(2, "down", by=-0.125), "the result of request 2 comes"),
    "a result that is late": (shift(2, *FROM_DOWN), "the result of request 2 comes"),
    "a result that comes too fast": (shift(4, "end", "delay", by=-0.125), "request 4 ends at"),
    "another delay": (shift(3, "delay"), "request 3 has a delay of"),
    "another energy": (shift(3, "energy", by=1e-6), "request 3 takes"),
    "another energy at home": (put(6, energy=2.5), "request 6 takes 2.5 J instead of 2.0"),
    "a miss that is none": (put(6, missed=True), "request 6 has missed True"),
    "a miss that is not counted": (lambda table: table.assign(missed=False), "has missed False"),
    "another error": (put(6, error=0.5), "request 6 has an error of 0.5 instead of 0.25"),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_a_change_is_found(name):
    edit, fault = EDITS[name]
    assert any(fault in found for found in violations(edit(RIGHT.copy()), INSTANCE))


def changed(kind, name, value):
    """The episode's instance with another value in one of its arrays."""
    rows = getattr(INSTANCE, kind).copy()
    rows[name] = value
    return replace(INSTANCE, **{kind: rows})


def with_channel(**values):
    return replace(INSTANCE, channel=replace(INSTANCE.channel, **values))


OTHERS = {
    "a faster processor": (changed("users", "speed", 2), "is ready at"),
    "more energy at home": (changed("users", "energy", 2), "J instead of"),
    "a thirstier receiver": (changed("users", "receive_power", 0.5), "J instead of"),
    "thirstier waiting": (changed("users", "idle_power", 1), "J instead of"),
    "another power": (changed("users", "power", 5), "W instead of 5"),
    "a faster serial unit": (changed("servers", "speed", 3), "is served"),
    "a faster shared unit": (changed("servers", "per_job", 0.25), "units of shared work"),
    "a shared unit with no fixed part": (changed("servers", "fixed", 0), "units of shared work"),
    "a thirstier server": (changed("servers", "energy", 3), "J instead of"),
    "a wider cell": (changed("accesses", "bandwidth", 4), "bits of"),
    "a wider cell for results": (changed("accesses", "down_bandwidth", 2), "ends at"),
    "a stronger cell": (changed("accesses", "power", 2), "ends at"),
    "a faster line for results": (changed("accesses", "down_ratio", 4), "request 4 ends at"),
    "noise": (changed("accesses", "noise", 2), "bits of"),
    "a backhaul": (changed("targets", "backhaul", 0.5), "bits of"),
    "another latency": (changed("targets", "latency", 0.25), "reaches its server at"),
    "other deadlines": (changed("requests", "deadline", 1), "has missed False"),
    "each has its own cell": (with_channel(sharing="dedicated"), "bits of request"),
    "others interfere": (with_channel(sharing="interference"), "bits of request"),
    "another trace": (with_channel(trace=INSTANCE.channel.trace[:, [1, 0, 2]]), "bits of request 4"),
    "other blocks": (with_channel(block=0.75), "bits of request 4"),
    "more gain": (with_channel(gain=INSTANCE.channel.gain * 2), "bits of request"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_right_elsewhere_is_wrong_here(name):
    instance, fault = OTHERS[name]
    assert any(fault in found for found in violations(RIGHT, instance))


def test_epochs_and_room_are_checked():
    assert any("request 1 is decided at" in fault for fault in violations(RIGHT, INSTANCE, epochs="slot", slot=1))
    assert any("request 3 is decided at" in fault for fault in violations(RIGHT, INSTANCE, room=3))
    slots = play(epochs="slot", slot=1).table()
    assert violations(slots, INSTANCE, epochs="slot", slot=1) == []
    assert any("request 1 is decided at" in fault for fault in violations(slots, INSTANCE))
    assert any("request 1 is decided at" in fault for fault in violations(slots, INSTANCE, epochs="slot", slot=0.75))
    crowded = play(room=1).table()
    assert violations(crowded, INSTANCE, room=1) == []
    assert any("request 1 is decided at" in fault for fault in violations(crowded, INSTANCE, room=2))


SPLIT = small_offloads.small_instance(
    [{"arrival": 0, "size": 2}, {"arrival": 1, "size": 2}, {"arrival": 1, "size": 2}],
    [[{"local": [0, 1]}, {}], [{"up": [0, 2], "shared": [0, 1]}, {}]],
)
PARTS = play(SPLIT, [(1, 0.5, 1, 1), (1, 1, 2, 1), (1, 0, 1, 2)], continuous=True).table()

SPLIT_EDITS = {
    "more than all": (put(0, fraction=1.5), "a share of 1.5 for target 1"),
    "a share of nothing": (put(0, fraction=0.0), "a share of 0.0 for target 1"),
    "another share": (put(0, fraction=0.25), "bits of request 0"),
    "another power": (put(0, power=2.0), "bits of request 0"),
    "another speed": (put(2, speed_factor=1.0), "request 2 is ready at"),
    "no speed": (put(2, speed_factor=0.0), "at 0.0 times its speed"),
    "an option": (put(0, option=1), "in two parts, with option 1"),
    "sent after local work": (put(0, ready=1.0), "request 0 is ready at 1.0 instead of 0.0"),
    "ends with the first part": (shift(0, "end", "delay", by=-1), "request 0 ends at"),
    "without what it took at home": (shift(0, "energy", by=-1), "request 0 takes"),
}


@pytest.mark.parametrize("name", SPLIT_EDITS)
def test_a_change_in_two_parts_is_found(name):
    assert violations(PARTS, SPLIT, continuous=True) == []
    edit, fault = SPLIT_EDITS[name]
    assert any(fault in found for found in violations(edit(PARTS.copy()), SPLIT, continuous=True))


@pytest.mark.parametrize("metric", ["delay", "energy", "missed", "makespan"])
def test_metrics_are_checked(metric):
    metrics = play().metrics()
    for wrong in (metrics[metric] + 1e-6, math.nan):
        faults = violations(RIGHT, INSTANCE, metrics={metric: wrong, "others": 1.0})
        assert len(faults) == 1
        assert f"metric {metric!r} is" in faults[0]


@pytest.mark.parametrize("sharing", SHARINGS)
def test_no_number_of_an_episode_can_be_another(sharing):
    instance = small_offloads.drawn_instance(11, requests=8, sharing=sharing, always_local=True, gap=0.3)
    luck = random.Random(11)
    choices = [small_offloads.drawn_choice(luck, instance, request) for request in range(8)]
    table = play(instance, choices).table()
    assert violations(table, instance) == []
    for name in COLUMNS:
        for row in range(len(table)):
            value = table.loc[row, name]
            if not pd.isna(value):
                wrong = not value if name == "missed" else value + (1 if table[name].dtype == np.int64 else 1e-6)
                assert violations(put(row, **{name: wrong})(table.copy()), instance), (name, row)
