"""Mail that waits for DNS: whose domains are asked about, and in what order."""

from services.router.domain.fairness import OpenLane
from services.router.domain.message import Lane
from services.router.domain.resolution import hear
from services.router.domain.routes import Answer, Route, Unknown


def lanes(tenant: str, *domains: str) -> list[OpenLane]:
    made = [Lane(tenant, "resolving", domain=domain) for domain in domains]
    return [OpenLane(lane.key, 1, lane) for lane in made]


def test_the_key_of_a_lane_says_its_domain() -> None:
    for bulk in (False, True):
        lane = Lane("t", "resolving", bulk, "example.com")
        assert Lane.of(lane.key) == lane
    assert Lane.of("t/resolving/bulk") == Lane("t", "resolving", bulk=True)


def test_tenants_take_turns_and_none_has_more_questions_than_its_share() -> None:
    asked: list[str] = []

    def nothing_yet(domain: str, ask: bool) -> Answer | None:
        if ask:
            asked.append(domain)
        return None

    many = lanes("a", *(f"a{n}.test" for n in range(10)))
    hear(many + lanes("b", "b.test"), nothing_yet, asked_max=3)
    assert asked == ["a0.test", "b.test", "a1.test", "a2.test"]


def test_what_is_known_is_heard_however_many_are_being_asked_about() -> None:
    known: dict[str, Answer] = {"good.test": Route("site", ()), "dead.test": Unknown(5.0, "down")}
    dead = lanes("a", *(f"d{n}.test" for n in range(10)))
    good, down = lanes("a", "good.test", "dead.test")
    heard = hear([*dead, good, down], lambda domain, _: known.get(domain), asked_max=1)
    assert heard.answers == {good: known["good.test"]}
    assert heard.unknown == {down: known["dead.test"]}
