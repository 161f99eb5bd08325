"""Wires learning: campaigns, their outcomes, and versions of the model."""

from functools import partial
from math import inf

from contracts.router.v1.events_pb2 import CampaignsCounted, HeldMessageReviewed
from contracts.shield.v1.learning_pb2 import OutcomeRecorded
from kernel.errors import ConfigError
from kernel.processor import DeadLetterGuard, StreamProcessor
from kernel.service import Loop, run_every
from services.shield.app.dependencies import Dependencies
from services.shield.domain.learning.campaign import CampaignRamp
from services.shield.domain.model.file import ModelError
from services.shield.domain.outcomes import LearningConfig, read_baseline, restore_or_start
from services.shield.handlers.campaigns import CampaignResolver
from services.shield.handlers.outcomes import Heard, on_outcome
from services.shield.loops.learned_model import LearnedModelLoader
from services.shield.loops.learner import LearnerLoop
from services.shield.store.campaign_finder import CampaignFinder

VERSION_INTERVAL_S = 2.0


def learning_loops(deps: Dependencies) -> list[Loop]:
    """Raises ConfigError."""
    register_learning(deps)
    loops: list[Loop] = [deps.lease.maintain, partial(learn, deps, create_learning(deps))]
    learned = LearnedModelLoader(
        deps.system_database,
        (deps.screening_child, deps.dry_run_child),
        deps.setup,
        deps.screening_child.versions.model,
        is_enforced=deps.settings.learning == "on",
    )
    return [*loops, partial(run_every, VERSION_INTERVAL_S, learned.run_once, deps.health)]


def create_campaigns(deps: Dependencies) -> CampaignResolver:
    settings = deps.settings
    finder = CampaignFinder(deps.system_database, copies_min=settings.campaign_copies_min)
    limited_from = settings.campaign_limited_from if settings.learning == "on" else inf
    return CampaignResolver(finder, deps.screening_child, limited_from)


def register_learning(deps: Dependencies) -> None:
    outcomes: StreamProcessor[Heard] = StreamProcessor(
        CampaignsCounted,
        HeldMessageReviewed,
        name="shield.outcomes",
        handler=on_outcome,
        health=deps.health,
        send=deps.kafka.publish,
        guard=DeadLetterGuard(ratio_max=deps.settings.dead_letter_ratio_max),
    )
    deps.kafka.consume(outcomes, group=f"{deps.settings.group}-outcomes")


def create_learning(deps: Dependencies) -> LearnerLoop:
    """Raises ConfigError if nothing can be learned with the model."""
    settings = deps.settings
    try:
        baseline = read_baseline(settings.model_file.read_bytes())
    except (ModelError, OSError) as error:
        raise ConfigError(f"SHIELD_MODEL_FILE {settings.model_file}: {error}") from error
    ramp = CampaignRamp.of(settings.campaign_allowance, settings.campaign_wait_s)
    policy = LearningConfig(baseline, settings.learning == "on", ramp, settings.learned_shadow_s)
    return LearnerLoop(
        deps.lease,
        deps.outbox,
        deps.health,
        partial(restore_or_start, policy),
        deps.kafka.reader_of(OutcomeRecorded),
    )


async def learn(deps: Dependencies, learning: LearnerLoop) -> None:
    """Begin once the topics exist."""
    await deps.tenants.replayed.wait()
    await learning.run()
