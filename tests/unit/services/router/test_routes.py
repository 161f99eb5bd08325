"""Static routes and site names."""

import pytest

from services.router.domain.routes import MxHost, StaticRoutes, parse_mx_host, site_name

ROUTES = """
[[route]]
domain = "*"
mx_hosts = ["127.0.0.9:25"]
[[route]]
domain = "*.bench.test"
mx_hosts = ["127.0.0.5:2525", "127.0.0.6:2525"]
site = "bench"
[[route]]
domain = "one.bench.test"
mx_hosts = ["[::1]:2526"]
"""


def test_the_most_specific_pattern_wins() -> None:
    routes = StaticRoutes(ROUTES)
    exact = routes.get("one.bench.test")
    assert exact is not None
    assert exact.mx_hosts == (MxHost("::1", 0, 2526),)
    below = routes.get("two.three.bench.test")
    assert below is not None
    assert below.site == "bench"
    other = routes.get("example.com")
    assert other is not None
    assert other.site == "127.0.0.9"
    assert exact.is_static


def test_without_a_routes_file_there_is_no_static_route() -> None:
    assert StaticRoutes().get("example.com") is None


@pytest.mark.parametrize("site", ["sandbox", "unresolved"])
def test_a_static_route_with_a_reserved_site_is_refused(site: str) -> None:
    text = f'[[route]]\ndomain = "*"\nmx_hosts = ["mx.example"]\nsite = "{site}"\n'
    with pytest.raises(ValueError, match=site):
        StaticRoutes(text)


@pytest.mark.parametrize(
    "text",
    [
        '[[route]]\ndomain = "a.test"',
        '[[route]]\nmx_hosts = ["a:25"]',
        '[[route]]\ndomain = "a.test"\nmx_hosts = ["a:b"]',
        '[[route]]\ndomain = "a"\nmx_hosts = ["a:1"]\n' * 2,
    ],
)
def test_an_invalid_route_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"route|host:port"):
        StaticRoutes(text)


def test_an_mx_host_without_a_port_has_the_default_port() -> None:
    assert parse_mx_host("mx.example.com") == MxHost("mx.example.com", 0, 0)


def test_an_mx_set_never_gets_a_reserved_site_name() -> None:
    assert site_name(["sandbox"]) != "sandbox"
    assert site_name(["unresolved"]) != "unresolved"
