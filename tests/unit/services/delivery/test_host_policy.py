"""Whom to ask next, and which addresses are nobody's business."""

from ipaddress import ip_address

import pytest

from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.events_pb2 import DeliveryAssigned, MxHost
from mail.smtp_reply import Reply
from services.delivery.domain.attempt_result import AttemptResult, local_refusal
from services.delivery.domain.host_policy import (
    is_connection_reusable,
    is_stale_connection,
    port_of,
    reachable_pairs,
    routing_error,
    should_try_next_host,
    sources_of,
)


@pytest.mark.parametrize("step", ["connect", "greeting", "ehlo", "starttls"])
def test_a_host_that_does_not_let_us_begin_is_passed_over(step: str) -> None:
    assert should_try_next_host(AttemptResult(step, Reply(554, "", "no")))
    assert should_try_next_host(AttemptResult(step))


@pytest.mark.parametrize("step", ["mail", "rcpt"])
def test_a_host_that_hangs_up_or_puts_us_off_is_passed_over(step: str) -> None:
    assert should_try_next_host(AttemptResult(step, Reply(451, "", "later")))
    assert should_try_next_host(AttemptResult(step, Reply(421, "", "bye")))
    assert should_try_next_host(AttemptResult(step))


@pytest.mark.parametrize("step", ["mail", "rcpt"])
def test_a_refusal_for_good_is_the_last_word(step: str) -> None:
    assert not should_try_next_host(AttemptResult(step, Reply(550, "5.1.1", "no such user")))


@pytest.mark.parametrize("step", ["data", "end_of_data"])
def test_what_is_said_once_the_message_is_under_way_is_the_last_word(step: str) -> None:
    assert not should_try_next_host(AttemptResult(step, Reply(451, "", "later")))
    assert not should_try_next_host(AttemptResult(step))


def test_what_we_refuse_ourselves_no_other_host_is_asked() -> None:
    assert not should_try_next_host(local_refusal("message_too_large", "too large"))


@pytest.mark.parametrize("reply", [None, Reply(421, "4.4.2", "idle")])
def test_a_kept_connection_that_died_unnoticed_is_no_failure(reply: Reply | None) -> None:
    assert is_stale_connection(AttemptResult("mail", reply), used=1)


def test_a_new_connection_that_dies_is_one() -> None:
    assert not is_stale_connection(AttemptResult("mail"), used=0)


@pytest.mark.parametrize("step", ["rcpt", "data", "end_of_data"])
def test_a_connection_that_dies_later_did_not_die_idle(step: str) -> None:
    assert not is_stale_connection(AttemptResult(step), used=3)


def test_a_connection_outlives_refusals_but_not_a_good_bye() -> None:
    assert is_connection_reusable(AttemptResult("rcpt", Reply(550, "", "no")))
    assert is_connection_reusable(AttemptResult("end_of_data", Reply(250, "", "ok")))
    assert not is_connection_reusable(AttemptResult("end_of_data", Reply(421, "", "bye")))
    assert not is_connection_reusable(AttemptResult("end_of_data"))


def test_a_source_address_reaches_only_its_own_family() -> None:
    both = [ip_address("2606:4700::1111"), ip_address("8.8.8.8")]
    assert reachable_pairs(both, ["192.0.2.1"]) == [(both[1],)]
    assert reachable_pairs(both, ["2001:db8::1"]) == [(both[0],)]


def test_a_pair_of_source_addresses_reaches_both_families() -> None:
    both = [ip_address("2606:4700::1111"), ip_address("8.8.8.8")]
    assert reachable_pairs(both, ["192.0.2.1", "2001:db8::1"]) == [(both[1], both[0])]


def test_an_assignment_names_one_source_of_each_family_or_none() -> None:
    assert sources_of(DeliveryAssigned()) == ()
    assert sources_of(DeliveryAssigned(source_ipv6="::1")) == ("::1",)
    pair = DeliveryAssigned(source_ip="127.0.0.1", source_ipv6="::1")
    assert sources_of(pair) == ("127.0.0.1", "::1")


def test_without_a_source_address_both_families_race_in_pairs() -> None:
    v6, v4, other = (ip_address(ip) for ip in ("2606:4700::1111", "8.8.8.8", "8.8.4.4"))
    assert reachable_pairs([v6, v4, other], []) == [(v4, v6), (other,)]


def test_no_port_means_25() -> None:
    assert port_of(MxHost(host="mx.example")) == 25
    assert port_of(MxHost(host="mx.example", port=2525)) == 2525


@pytest.mark.parametrize(
    ("test", "egress_id", "fine"),
    [(True, "sandbox", True), (False, "e", True), (True, "e", False), (False, "sandbox", False)],
)
def test_test_mail_and_the_sandbox_belong_together(
    *, test: bool, egress_id: str, fine: bool
) -> None:
    one = DeliveryAssigned(
        context=MessageContext(test=test), egress_id=egress_id, mx_hosts=[MxHost(host="mx")]
    )
    assert (routing_error(one) is None) == fine
