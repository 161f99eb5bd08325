"""A small hypothesis profile: the whole folder stays within seconds."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "mail",
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("mail")
