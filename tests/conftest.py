"""How hypothesis draws its examples.

``ci``, the default, draws the same ones in every run; ``HYPOTHESIS_PROFILE=thorough make test`` draws others each time,
and ten times as many. Tests name their numbers relative to the profile's.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# No test fails for being slow: kernels compile on their first call, and machines may be busy.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", patient, max_examples=100, derandomize=True)
settings.register_profile("thorough", patient, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
