"""The refusal of what a plan does not include."""

from collections.abc import Mapping

from kernel.prices import Feature, Plan
from services.ingest.domain.problem import Fault, Problem

FEATURES: Mapping[Feature, str] = {
    "api": "sending by the API",
    "smtp": "sending by SMTP",
    "white_label": "a brand of its own",
    "dedicated_ips": "egress pools of its own",
}


def plan_required(
    plan: Plan, feature: Feature, plans: Mapping[str, Plan], *, pointer: str
) -> Problem:
    """403. plans: those that there are, to name one that includes it."""
    others = " or ".join(one.name for one in plans.values() if feature in one.features)
    better = f" It needs the plan {others}: ask the operator." if others else ""
    detail = f"The plan {plan.name} does not include {FEATURES[feature]}.{better}"
    fault = Fault(pointer, "plan_required", detail)
    return Problem(403, "plan_required", detail=detail, faults=[fault])
