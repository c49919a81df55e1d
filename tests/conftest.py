"""What all tests share: quick, seeded Hypothesis runs that need no network and leave no files."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "minidl",
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("minidl")
