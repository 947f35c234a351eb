"""What a reader has to know, in a few sentences; docs/report.md has more."""

from __future__ import annotations

GUIDE = {
    "Pairs.": (
        "All policies of a contest met the same instances and the same luck, so that differences between policies are "
        "differences between policies."
    ),
    "Intervals": (
        "hold the truth in 95 of 100 cases. They are bootstraps: episodes are drawn again and again with replacement, "
        "for all policies together. They say nothing about scenarios that were not played."
    ),
    "Ratio": "is a policy's mean over that of the reference. Of a time less than 1 is better, of a hit rate more.",
    "Score": (
        "is how many times better than the reference a policy was in one episode: above 1 is better, whatever the "
        "metric. The IQM is the mean of the middle half of the scores, which a few odd episodes do not move."
    ),
    "P(better)": "is the probability of being better than the reference in an episode; a tie counts half.",
    "Profiles": "show for each score which share of episodes reach it. A line that is above another is better.",
    "Verdicts": (
        "are at 5 %, by a paired test in which signs are flipped at random, Holm-corrected for the number of policies. "
        "“No difference” means that these episodes show none, not that there is none."
    ),
    "Gap closed": "is how far a policy goes from the reference (0 %) to an oracle (100 %), which reads the future.",
    "Decision time": (
        "is what a policy itself takes for a decision, in wall time: the one number that differs between machines."
    ),
}
