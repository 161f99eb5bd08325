"""A small hypothesis profile: the whole folder stays within seconds.

`HYPOTHESIS_PROFILE=thorough` looks at fifty times as many cases.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "mail",
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.register_profile(
    "thorough", settings.get_profile("mail"), max_examples=1_500, derandomize=False
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "mail"))
