from services.ingest.domain.login_throttle import (
    FORGET_S,
    WAIT_MAX_S,
    LoginAttempt,
    LoginThrottle,
)


def attempt(client: str, username: str = "anna", secret: bytes = b"wrong") -> LoginAttempt:
    return LoginAttempt(client, username, secret)


def fail(throttle: LoginThrottle, one: LoginAttempt, now_s: float) -> float:
    """Try at once, and again when it is allowed. Returns the wait in between."""
    wait_s = throttle.begin(one, now_s)
    assert not wait_s or throttle.begin(one, now_s + wait_s) == 0
    throttle.fail(one)
    return wait_s


def test_failures_slow_down_an_address_with_any_username() -> None:
    throttle, now_s, waits = LoginThrottle(), 0.0, []
    for number in range(11):
        waits.append(fail(throttle, attempt("192.0.2.1", f"user{number}"), now_s))
        now_s += waits[-1]
    assert waits == [0, 0, 0, 1, 2, 4, 8, 16, 32, WAIT_MAX_S, WAIT_MAX_S]
    assert throttle.begin(attempt("192.0.2.2", "x"), now_s) == 0
    assert throttle.begin(attempt("192.0.2.1", "y"), now_s + FORGET_S) == 0


def test_failures_slow_down_a_username_from_any_address_but_not_who_was_right_before() -> None:
    throttle = LoginThrottle()
    owner = attempt("192.0.2.9", secret=b"right")
    assert throttle.begin(owner, 0.0) == 0
    throttle.succeed(owner, 0.0)
    waits = [throttle.begin(attempt(f"198.51.100.{number}"), 0.0) for number in range(20)]
    assert waits == [0, 0, 0] + [1] * 17  # many at once do not pass either
    assert throttle.begin(attempt("203.0.113.1", "ANNA", b"right"), 0.0) == 1
    assert throttle.begin(owner, 0.0) == 0
    assert throttle.begin(owner._replace(secret=b"guess"), 0.0) == 1


def test_who_logs_in_rightly_again_and_again_does_not_wait() -> None:
    throttle = LoginThrottle()
    for number in range(50):
        one = attempt(f"192.0.2.{number}", secret=b"right")
        assert throttle.begin(one, 0.0) == 0
        throttle.succeed(one, 0.0)
