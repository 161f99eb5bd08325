"""Compute score, reasons and verdict of a content: the model's points, or the floor of a rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from contracts.ingest.v1.content_pb2 import Content
from contracts.shield.v1.events_pb2 import Opinion, ScoreReason, Verdict
from services.shield.domain.learning.entries import learned_entries
from services.shield.domain.learning.versions import LearnedVersion
from services.shield.domain.matching import DETAIL_CHARS, RuleMatcher
from services.shield.domain.model.influence import InputInfluence, influences
from services.shield.domain.model.margin import MatchedMessage, TrainedModel, WeighedMessage, weigh
from services.shield.domain.parsing import parse_message
from services.shield.domain.rulebook import Rulebook, RuleError, Thresholds, TraitExplanation

REASONS_MAX = 50  # keeps an event under 64 KiB for any message
TRAITS_MAX = 7
POINTS_MIN = 0.1  # of a trait that is told
LEARNED = "learned"  # the trait of what outcomes have taught


@dataclass(frozen=True, slots=True)
class ScreeningResult:
    """Score, verdict and reasons, in descending order of weight. weighed: None if the content
    cannot be read. floor: of the rules that matched, the points that it has at least."""

    score: float
    verdict: Verdict.ValueType
    reasons: tuple[ScoreReason, ...]
    thresholds: Thresholds
    weighed: WeighedMessage | None = None
    floor: float = -inf


class Scorer:
    """The compiled rulebook and the model. Thread-safe; one per process is enough."""

    def __init__(
        self,
        book: Rulebook,
        model: TrainedModel,
        learned: LearnedVersion | None = None,
        *,
        shadow: LearnedVersion | None = None,
    ) -> None:
        """learned: since the model was trained; None: nothing. shadow: the version that scores
        beside it, and decides nothing. Raises RuleError for a rule that cannot be compiled, or that
        has no effect."""
        self.book, self.model, self.learned, self.shadow = book, model, learned, shadow
        self.matcher = RuleMatcher(book)
        self._rules = {rule.name: rule for rule in book.rules}
        check_effects(book, model)

    def score(
        self, content: Content, *, thresholds: Thresholds | None = None, quote: bool = False
    ) -> ScreeningResult:
        """Never raises, whatever the content is.

        quote: give reasons also if the message passes; otherwise only if it does not.
        """
        [weighed] = self.weigh([self.read(content)])
        return self.result_of(weighed, thresholds or self.book.thresholds, quote=quote)

    def read(self, content: Content) -> MatchedMessage:
        message = parse_message(content, self.book.limits)
        return MatchedMessage(message, self.matcher.matched_rules(message))

    def weigh(self, messages: Sequence[MatchedMessage]) -> list[WeighedMessage]:
        return weigh(self.model, messages)

    def result_of(
        self, weighed: WeighedMessage, limits: Thresholds, *, quote: bool
    ) -> ScreeningResult:
        matched = weighed.matched.rules
        floor = max(self.floors(matched), default=-inf)
        score = max(self.points(weighed), floor)
        decided = verdict_for_score(score, limits)
        reasons: tuple[ScoreReason, ...] = ()
        if quote or decided != Verdict.VERDICT_PASS:
            reasons = self.reasons(matched, weighed)
        return ScreeningResult(score, decided, reasons, limits, weighed, floor)

    def shadow_opinion(self, result: ScreeningResult) -> Opinion | None:
        """What the version beside the live one says; None without one."""
        if self.shadow is None or result.weighed is None:
            return None
        points = points_of(self.shadow, result.weighed)
        score = max(points, result.floor)
        verdict = verdict_for_score(score, result.thresholds)
        return Opinion(verdict=verdict, score=score, model_version=self.shadow.version)

    def points(self, weighed: WeighedMessage) -> float:
        if self.learned is None:
            return self.model.points(weighed.margin)
        return points_of(self.learned, weighed)

    def floors(self, matched: Mapping[str, str]) -> list[float]:
        return [floor for name in matched if (floor := self._rules[name].floor)]

    def reasons(
        self, matched: Mapping[str, str], weighed: WeighedMessage
    ) -> tuple[ScoreReason, ...]:
        """Every rule that matched, and what else raised the score most."""
        found = [*influences(self.model, weighed), *self.learned_influence(weighed)]
        points = {each.name: each.points for each in found}
        quotes = self.matcher.matched_words(matched.keys(), weighed.message.document)
        rules = [
            self.reason_of_rule(name, points.get(name, 0.0), detail or quotes.get(name, ""))
            for name, detail in matched.items()
        ]
        reasons = sorted([*rules, *self.reasons_of_traits(found)], key=lambda one: -abs(one.score))
        return tuple(reasons[:REASONS_MAX])

    def learned_influence(self, weighed: WeighedMessage) -> list[InputInfluence]:
        """What outcomes have taught, apart from what the model was trained with."""
        if self.learned is None:
            return []
        return [InputInfluence(LEARNED, self.points(weighed) - self.model.points(weighed.margin))]

    def reason_of_rule(self, name: str, points: float, detail: str) -> ScoreReason:
        rule = self._rules[name]
        return ScoreReason(
            rule=name,
            score=round(max(points, rule.floor) if rule.floor else points, 2),
            detail=detail[:DETAIL_CHARS],
            explanation=rule.explanation,
            advice=self.book.advice.get(rule.advice, ""),
        )

    def reasons_of_traits(self, found: Sequence[InputInfluence]) -> list[ScoreReason]:
        traits = self.book.traits
        heavy = [each for each in found if each.points >= POINTS_MIN and each.name in traits]
        heavy.sort(key=lambda each: -each.points)
        reasons = [self.reason_of_trait(each, traits[each.name]) for each in heavy]
        return [each for each in reasons if each.explanation][:TRAITS_MAX]

    def reason_of_trait(self, influence: InputInfluence, trait: TraitExplanation) -> ScoreReason:
        return ScoreReason(
            rule=influence.name,
            score=round(influence.points, 2),
            detail=influence.detail[:DETAIL_CHARS],
            explanation=trait.more if influence.above else trait.less,
            advice=self.book.advice.get(trait.advice, ""),
        )


def points_of(version: LearnedVersion, weighed: WeighedMessage) -> float:
    return version.points(weighed.margin, learned_entries(weighed.entries))


def check_effects(book: Rulebook, model: TrainedModel) -> None:
    """Raises RuleError for rules that the model does not know, and that change nothing else."""
    parts = {name for each in book.meta for name in (*each.all, *each.none)}
    known = parts | set(model.rules)
    if idle := [each.name for each in book.rules if not each.floor and each.name not in known]:
        raise RuleError(f"{', '.join(idle)}: unknown to the model; a rule of yours needs a floor")


def verdict_for_score(score: float, thresholds: Thresholds) -> Verdict.ValueType:
    if score >= thresholds.block:
        return Verdict.VERDICT_BLOCK
    if score >= thresholds.hold:
        return Verdict.VERDICT_HOLD
    return Verdict.VERDICT_PASS


def thresholds_of_tenant(hold: float, block: float, default: Thresholds) -> Thresholds:
    """A tenant's thresholds; 0 uses the default, and block is at least hold."""
    held = hold or default.hold
    return Thresholds(held, max(block or default.block, held))


def unreadable_result(
    rule: str, limits: Thresholds, verdict: Verdict.ValueType, *, detail: str = ""
) -> ScreeningResult:
    """The result for a message that cannot be read, with its one reason."""
    score = limits.block if verdict == Verdict.VERDICT_BLOCK else limits.hold
    return ScreeningResult(
        score, verdict, (ScoreReason(rule=rule, score=score, detail=detail),), limits
    )
