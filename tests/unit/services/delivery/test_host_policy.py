"""The choice of hosts and addresses for an attempt."""

from ipaddress import ip_address

import pytest

from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.events_pb2 import DeliveryAssigned, MxHost
from mail.smtp_reply import Reply
from services.delivery.domain.attempt_result import AttemptResult, local_refusal
from services.delivery.domain.host_policy import (
    is_stale_connection,
    port_of,
    reachable_pairs,
    routing_error,
    server_keeps_connection,
    should_try_next_host,
    sources_of,
)


@pytest.mark.parametrize("step", ["connect", "greeting", "ehlo", "starttls"])
def test_the_next_host_is_tried_if_a_host_refuses_the_session(step: str) -> None:
    assert should_try_next_host(AttemptResult(step, Reply(554, "", "no")))
    assert should_try_next_host(AttemptResult(step))


@pytest.mark.parametrize("step", ["mail", "rcpt"])
def test_the_next_host_is_tried_if_a_host_disconnects_or_defers(step: str) -> None:
    assert should_try_next_host(AttemptResult(step, Reply(451, "", "later")))
    assert should_try_next_host(AttemptResult(step, Reply(421, "", "bye")))
    assert should_try_next_host(AttemptResult(step))


@pytest.mark.parametrize("step", ["mail", "rcpt"])
def test_a_permanent_refusal_is_final(step: str) -> None:
    assert not should_try_next_host(AttemptResult(step, Reply(550, "5.1.1", "no such user")))


@pytest.mark.parametrize("step", ["data", "end_of_data"])
def test_a_reply_from_data_on_is_final(step: str) -> None:
    assert not should_try_next_host(AttemptResult(step, Reply(451, "", "later")))
    assert not should_try_next_host(AttemptResult(step))


def test_no_other_host_is_tried_after_a_local_refusal() -> None:
    assert not should_try_next_host(local_refusal("message_too_large", "too large"))


@pytest.mark.parametrize("reply", [None, Reply(421, "4.4.2", "idle")])
def test_an_idle_connection_that_the_server_closed_is_stale(reply: Reply | None) -> None:
    assert is_stale_connection(AttemptResult("mail", reply), used=1)


def test_a_new_connection_that_breaks_is_not_stale() -> None:
    assert not is_stale_connection(AttemptResult("mail"), used=0)


@pytest.mark.parametrize("step", ["rcpt", "data", "end_of_data"])
def test_a_connection_that_breaks_after_mail_is_not_stale(step: str) -> None:
    assert not is_stale_connection(AttemptResult(step), used=3)


def test_a_connection_is_reusable_after_a_refusal_but_not_after_421() -> None:
    assert server_keeps_connection(AttemptResult("rcpt", Reply(550, "", "no")))
    assert server_keeps_connection(AttemptResult("end_of_data", Reply(250, "", "ok")))
    assert not server_keeps_connection(AttemptResult("end_of_data", Reply(421, "", "bye")))
    assert not server_keeps_connection(AttemptResult("end_of_data"))


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


def test_without_a_source_address_the_families_are_paired() -> None:
    v6, v4, other = (ip_address(ip) for ip in ("2606:4700::1111", "8.8.8.8", "8.8.4.4"))
    assert reachable_pairs([v6, v4, other], []) == [(v4, v6), (other,)]


def test_the_default_port_is_25() -> None:
    assert port_of(MxHost(host="mx.example")) == 25
    assert port_of(MxHost(host="mx.example", port=2525)) == 2525


@pytest.mark.parametrize(
    ("test", "egress_id", "is_allowed"),
    [(True, "sandbox", True), (False, "e", True), (True, "e", False), (False, "sandbox", False)],
)
def test_only_test_mail_goes_to_the_sandbox(
    *, test: bool, egress_id: str, is_allowed: bool
) -> None:
    one = DeliveryAssigned(
        context=MessageContext(test=test), egress_id=egress_id, mx_hosts=[MxHost(host="mx")]
    )
    assert (routing_error(one) is None) == is_allowed
