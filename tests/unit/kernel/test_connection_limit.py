from kernel.connection_limit import ConnectionLimiter, network_of


def test_a_client_that_has_left_may_come_again() -> None:
    limit = ConnectionLimiter(connections_max=3, client_connections_max=2)
    assert [limit.enter("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert [limit.enter(f"192.0.2.{number}") for number in (2, 3)] == [True, False]
    limit.leave("192.0.2.1")
    assert limit.enter("192.0.2.3")


def test_a_customer_with_ipv6_is_a_network() -> None:
    assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2:ffff::1")
    assert network_of("2001:db8:1:2::") != network_of("2001:db8:1:3::")
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"
