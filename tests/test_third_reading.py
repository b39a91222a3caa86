"""docs/timing.md read a third time, literally: it and both engines agree on random systems."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from readings import READINGS, read_small
from strained import strained
from test_properties import Small, smalls

SYSTEMS = settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))


@SYSTEMS
@given(smalls() | strained())
def test_three_readings_agree_on_random_systems(small: Small) -> None:
    said = [read_small(by, small) for by in READINGS]
    assert said[0] == said[1] == said[2]
