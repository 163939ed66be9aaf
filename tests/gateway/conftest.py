"""How long Hypothesis looks: quick and always the same by default, long with HYPOTHESIS_PROFILE=deep."""

import os

from hypothesis import HealthCheck, settings

# The first example of a test may load modules; that says nothing of the test.
settings.register_profile("quick", max_examples=60, deadline=None, derandomize=True, database=None)
settings.register_profile(
    "deep", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
