"""Events of policies as stored."""

from contracts.router.v1 import policies_pb2 as pb
from services.router.domain.policy_engine import AdaptivePolicies


def test_events_of_another_version_do_not_keep_this_one_from_scheduling() -> None:
    adaptive = AdaptivePolicies()
    known = pb.LimitsChanged(scope="tenant/a", per_hour=5, changed_by="ann")
    adaptive.load(
        [
            pb.PolicyEvent(limits_changed=pb.LimitsChanged(scope="planet/mars", per_hour=5)),
            pb.PolicyEvent(override_set=pb.OverrideSet(scope="planet/mars", action="slow_down")),
            pb.PolicyEvent(override_set=pb.OverrideSet(scope="tenant/a", action="teleport")),
            pb.PolicyEvent(standing_changed=pb.StandingChanged(subject_kind="planet")),
            pb.PolicyEvent(limits_changed=known),
        ]
    )
    assert [one.limits.per_hour for one in adaptive.limits.changes()] == [5]
