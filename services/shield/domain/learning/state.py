"""The state of learning: bounded, and the same bytes for the same facts."""

import json
from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from hashlib import sha256
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from services.shield.domain.learning.campaign import CampaignState
from services.shield.domain.learning.deltas import COLUMNS, DeltaBounds, WeightDeltas
from services.shield.domain.learning.entries import SIZE
from services.shield.domain.learning.facts import AssessmentChange, CampaignStarted
from services.shield.domain.learning.reports import ReporterCounts
from services.shield.domain.learning.rollout import VersionRollout
from services.shield.domain.learning.tenants import TenantReputation, add_mail

TENANTS_MAX, TRACES_MAX, TRACE_TENANTS_MAX = 100_000, 50_000, 2
MAGIC = b"shield learning 3\n"
NOTHING_LEARNED = AssessmentChange.STARTED


class LearnerStateError(ValueError):
    """The bytes are no state of this code: learn again from the first fact."""


@dataclass(slots=True)
class OpenCampaign:
    """fact: what it started with. learned: what its mail was taken for. taught: the log odds of
    abuse that were learned."""

    aggregate: CampaignState
    fact: CampaignStarted
    last_s: float
    learned: AssessmentChange = NOTHING_LEARNED
    taught: float = 0.0


@dataclass(slots=True)
class LearnerProgress:
    """offset: of the last fact. clock_s: the latest time of a fact. learned, published: campaigns
    that were learned from, in all and in the last version, which was proposed at published_at_s."""

    offset: int = -1
    clock_s: float = 0.0
    learned: int = 0
    published: int = 0
    published_at_s: float = 0.0


class LearnerState:
    """campaigns: that may still go on. ended: that had no outcome for long. Both with the one that
    was idle for longest first. traces: tenants of held campaigns by trace."""

    def __init__(self, bounds: DeltaBounds) -> None:
        self.progress = LearnerProgress()
        self.campaigns: OrderedDict[str, OpenCampaign] = OrderedDict()
        self.ended: OrderedDict[str, OpenCampaign] = OrderedDict()
        self.tenants: OrderedDict[str, TenantReputation] = OrderedDict()
        self.traces: OrderedDict[str, list[str]] = OrderedDict()
        self.reports = ReporterCounts()
        self.rollout = VersionRollout()
        self.deltas = WeightDeltas(bounds)

    def tenant(self, tenant_id: str) -> TenantReputation:
        return self.tenants.get(tenant_id, TenantReputation())

    def add_mail(self, before: CampaignState, after: CampaignState) -> None:
        """What a campaign has more counts for its tenant."""
        more = after.delivered - before.delivered, after.complaints - before.complaints
        self.put_tenant(after.tenant_id, add_mail(self.tenant(after.tenant_id), *more))

    def put_tenant(self, tenant_id: str, record: TenantReputation) -> None:
        self.tenants[tenant_id] = record
        self.tenants.move_to_end(tenant_id)
        if len(self.tenants) > TENANTS_MAX:
            self.tenants.popitem(last=False)

    def note(self, fact: CampaignStarted, *, held: bool) -> None:
        """A campaign was held or released, which concerns others with its traces."""
        record = self.tenant(fact.tenant_id)
        self.put_tenant(
            fact.tenant_id,
            record._replace(held=record.held + held, released=record.released + (not held)),
        )
        for trace in fact.traces:
            if not held:
                self.traces.pop(trace, None)
                continue
            tenants = self.traces.setdefault(trace, [])
            if fact.tenant_id not in tenants and len(tenants) < TRACE_TENANTS_MAX:
                tenants.append(fact.tenant_id)
            if len(self.traces) > TRACES_MAX:
                self.traces.popitem(last=False)

    def suspicion(self, traces: Sequence[str]) -> float:
        """Log odds: one for each tenant of whom a campaign with such a trace was held, at most
        two."""
        return float(max((len(self.traces.get(each, ())) for each in traces), default=0))

    def digest(self) -> str:
        """The same for the same facts."""
        found = sha256(self.describe())
        for array in self.arrays().values():
            found.update(array.tobytes())
        return found.hexdigest()

    def snapshot(self) -> bytes:
        packed = BytesIO()
        text = np.frombuffer(self.describe(), np.uint8)
        arrays: dict[str, Any] = {"text": text, **self.arrays()}
        np.savez_compressed(packed, allow_pickle=False, **arrays)
        body = packed.getvalue()
        return MAGIC + sha256(body).digest() + body

    def arrays(self) -> dict[str, npt.NDArray[np.signedinteger]]:
        names = ("table", "errors", "taught")
        return {name: getattr(self.deltas, name) for name in names}

    def describe(self) -> bytes:
        """Everything but the arrays, as JSON."""
        parts = {
            "progress": astuple(self.progress),
            "campaigns": [dump_campaign(each) for each in self.campaigns.values()],
            "ended": [dump_campaign(each) for each in self.ended.values()],
            "tenants": list(self.tenants.items()),
            "traces": list(self.traces.items()),
            "reports": self.reports.dump(),
            "rollout": self.rollout.dump(),
        }
        return json.dumps(parts, separators=(",", ":")).encode()


def restore(packed: bytes, bounds: DeltaBounds) -> LearnerState:
    """The state of a snapshot. Raises LearnerStateError."""
    start = len(MAGIC) + sha256().digest_size
    body = packed[start:]
    if not packed.startswith(MAGIC) or sha256(body).digest() != packed[len(MAGIC) : start]:
        raise LearnerStateError("no state of learning, or a damaged one")
    with np.load(BytesIO(body), allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    if found["table"].shape != (SIZE, COLUMNS):
        raise LearnerStateError("a state of other code")
    parts = json.loads(found["text"].tobytes())
    state = LearnerState(bounds)
    for name in state.arrays():
        setattr(state.deltas, name, found[name])
    state.progress = LearnerProgress(*parts["progress"])
    for name, into in (("campaigns", state.campaigns), ("ended", state.ended)):
        loaded = map(load_campaign, parts[name])
        into.update((each.fact.campaign_id, each) for each in loaded)
    state.tenants.update((key, TenantReputation(*record)) for key, record in parts["tenants"])
    state.traces.update(parts["traces"])
    state.reports.load(parts["reports"])
    state.rollout = VersionRollout(*parts["rollout"])
    return state


def dump_campaign(opened: OpenCampaign) -> list[Any]:
    fact = opened.fact
    entries = b64encode(fact.entries).decode()
    started = [fact.campaign_id, fact.tenant_id, fact.margin, entries, fact.traces]
    latest = [opened.last_s, opened.learned, opened.taught]
    return [opened.aggregate, *started, fact.occurred_at_s, *latest]


def load_campaign(dumped: Sequence[Any]) -> OpenCampaign:
    aggregate, campaign_id, tenant_id, margin, entries, traces, started_s, *latest = dumped
    fact = CampaignStarted(
        campaign_id, tenant_id, margin, b64decode(entries), tuple(traces), started_s
    )
    found = CampaignState(*aggregate)
    found = found._replace(change=AssessmentChange(found.change))
    last_s, learned, taught = latest
    return OpenCampaign(found, fact, last_s, AssessmentChange(learned), taught)
