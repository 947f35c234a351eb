"""The worked examples of the HEFT and the PEFT paper. Durations and volumes are in the papers' units of time."""

from __future__ import annotations

import numpy as np

from .task_graph import TaskGraph, edges_from


def heft_paper() -> TaskGraph:
    """Returns the ten tasks of Topcuoglu, Hariri, Wu 2002, figure 2, doi:10.1109/71.993206."""
    duration = [
        [14, 16, 9], [13, 19, 18], [11, 13, 19], [13, 8, 17], [12, 13, 10],
        [13, 16, 9], [7, 15, 11], [5, 11, 14], [18, 12, 20], [21, 7, 16],
    ]  # fmt: skip
    edges, volume = edges_from([
        (0, 1, 18), (0, 2, 12), (0, 3, 9), (0, 4, 11), (0, 5, 14), (1, 7, 19), (1, 8, 16), (2, 6, 23),
        (3, 7, 27), (3, 8, 23), (4, 8, 13), (5, 7, 15), (6, 9, 17), (7, 9, 11), (8, 9, 13),
    ])  # fmt: skip
    return TaskGraph("heft-paper", ("p1", "p2", "p3"), np.array(duration, np.float64), edges, volume)


def peft_paper() -> TaskGraph:
    """Returns the ten tasks of Arabnejad, Barbosa 2014, figure 1, doi:10.1109/TPDS.2013.57."""
    duration = [
        [22, 21, 36], [22, 18, 18], [32, 27, 43], [7, 10, 4], [29, 27, 35],
        [26, 17, 24], [14, 25, 30], [29, 23, 36], [15, 21, 8], [13, 16, 33],
    ]  # fmt: skip
    edges, volume = edges_from([
        (0, 1, 17), (0, 2, 31), (0, 3, 29), (0, 4, 13), (0, 5, 7), (1, 7, 3), (1, 8, 30), (2, 6, 16),
        (3, 7, 11), (3, 8, 7), (4, 8, 57), (5, 7, 5), (6, 9, 9), (7, 9, 42), (8, 9, 7),
    ])  # fmt: skip
    return TaskGraph("peft-paper", ("p1", "p2", "p3"), np.array(duration, np.float64), edges, volume)


CANONICAL_GRAPHS = {"heft-paper": heft_paper, "peft-paper": peft_paper}
