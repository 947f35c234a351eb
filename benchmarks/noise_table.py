"""Static plans against online rules under noise: makespans relative to clairvoyant HEFT.

    python benchmarks/noise_table.py

100 random graphs of 50 tasks on 4 devices for each level of lognormal noise and ratio of communication to computation.
Clairvoyant HEFT knows the realised durations: the plan of static HEFT where ``information`` is ``exact``.
"""

from __future__ import annotations

from hetgym.evaluate import evaluate

POLICIES = ("heft", "lookahead", "re-heft", "rank-online-wait", "rank-online", "mct-online", "eft", "fifo")
SIGMAS = (0.1, 0.3, 0.5, 1.0)


def main() -> None:
    for ccr in (0.1, 1.0):
        print(f"CCR {ccr}, sigma {', '.join(map(str, SIGMAS))}")
        rows: dict[str, list[float]] = {name: [] for name in POLICIES}
        for sigma in SIGMAS:
            settings = {"num_tasks": 50, "ccr": ccr, "noise_sigma": sigma}
            exact = evaluate("random-noisy", ["heft"], episodes=100, information="exact", **settings)
            table = evaluate("random-noisy", list(POLICIES), episodes=100, **settings)
            means = table.groupby("policy")["makespan"].mean()
            for name in POLICIES:
                rows[name].append(means[name] / exact["makespan"].mean())
        for name, ratios in rows.items():
            print(f"  {name:17}" + "".join(f"{ratio:7.3f}" for ratio in ratios))


if __name__ == "__main__":
    main()
