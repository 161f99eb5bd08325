"""Brands: their file, and the brand of a request's host."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.brand import Brand, Brands, read_brands
from kernel.errors import ConfigError

PARTNER = """
name = "Partner"
slug = "partner"
sandbox_domain = "sandbox.partner.example"
api_hosts = ["api.partner.example", "mail.partner.example"]
user_agent = "Partner"
problem_type = "https://docs.partner.example/problems/"
"""
TWO = f"""
[default]
name = "Acme Mail"
slug = "acme"
sandbox_domain = "acme-sandbox.example"

[partner]{PARTNER}"""


def written(folder: Path, text: str) -> str:
    path = folder / "brands.toml"
    path.write_text(text)
    return str(path)


def test_without_a_file_the_engine_has_its_own_names() -> None:
    assert list(read_brands("")) == [Brand()]
    assert Brand().problem_type == "urn:obm:problem:"


def test_what_a_brand_does_not_name_follows_from_its_slug(tmp_path: Path) -> None:
    brands = read_brands(written(tmp_path, TWO))
    assert brands.default.problem_type == "urn:acme:problem:"
    assert brands.default.user_agent == "ACME"
    assert "obm" not in repr(brands.default).lower()
    partner = brands.of_host("api.partner.example")
    assert partner.problem_type == "https://docs.partner.example/problems/"


@pytest.mark.parametrize(
    ("host", "slug"),
    [
        ("api.partner.example", "partner"),
        ("API.partner.example:443", "partner"),
        ("mail.partner.example.", "partner"),
        ("partner.example", "acme"),
        ("", "acme"),
        ("[::1]:8025", "acme"),
    ],
)
def test_a_request_has_the_brand_of_its_host(tmp_path: Path, host: str, slug: str) -> None:
    assert read_brands(written(tmp_path, TWO)).of_host(host).slug == slug


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("default = 1", "not a brand"),
        ("[Default]", "not a brand"),
        ("[default]\nslug = 'acme'\nsandbox_domain = 'a.example'", "has no name"),
        (TWO + "colour = 'red'", "unknown field 'colour'"),
        (TWO.replace('"acme"', '"ac me"'), "invalid slug"),
        (TWO.replace('"acme"', "1"), "invalid slug"),
        (TWO.replace("acme-sandbox.example", "sandbox"), "invalid sandbox_domain"),
        (TWO.replace('"mail.partner.example"', '"mail partner"'), "invalid api_hosts"),
        (TWO.replace('"Acme Mail"', '"Acme\\nMail"'), "invalid name"),
        ("[default", "OBM_BRANDS_FILE"),
        (f"{TWO}\n[third]{PARTNER}", "one brand only"),
    ],
)
def test_a_wrong_file_is_refused_with_its_fault(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_brands(written(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="OBM_BRANDS_FILE"):
        read_brands(str(tmp_path / "none.toml"))


def test_an_account_names_a_brand_by_its_table(tmp_path: Path) -> None:
    brands = read_brands(written(tmp_path, TWO))
    assert brands.ids == ["default", "partner"]
    assert brands.named("partner").slug == "partner"
    for name in ("", "default", "gone"):
        assert brands.named(name) is brands.default


def test_a_host_of_a_brand_can_have_a_certificate(tmp_path: Path) -> None:
    table = """smtp_host = "smtp.partner.example"
    [partner.certificates."smtp.partner.example"]
    certificate = "/c.pem"
    key = "/k.pem"
    """
    brands = read_brands(written(tmp_path, TWO + table))
    files = brands.certificates["smtp.partner.example"]
    assert (str(files.certificate), str(files.key)) == ("/c.pem", "/k.pem")
    assert brands.of_host("smtp.partner.example").slug == "partner"


@pytest.mark.parametrize(
    "table",
    [
        'certificates = "c.pem"',
        '[partner.certificates."a.example"]\ncertificate = "c.pem"',
        '[partner.certificates."a.example"]\ncertificate = "c.pem"\nkey = 1',
        '[partner.certificates."UPPER"]\ncertificate = "c.pem"\nkey = "k.pem"',
        'bounce_mx = "no host"',
        'spf_include = "_other.host.example"',
    ],
)
def test_an_unusable_field_is_a_config_error(tmp_path: Path, table: str) -> None:
    with pytest.raises(ConfigError, match=r"OBM_BRANDS_FILE: \[partner"):
        read_brands(written(tmp_path, TWO + table))


def test_among_several_brands_the_neutral_one_has_a_name_of_none() -> None:
    assert Brands().neutral == Brands().default
    partner = Brand("Partner", "partner", smtp_host="smtp.partner.example")
    neutral = Brands({"default": Brand("Zenith", "zenith"), "partner": partner}).neutral
    shown = (neutral.name, neutral.slug, neutral.problem_type, neutral.smtp_host)
    assert shown == ("Mail", "mail", "urn:mail:problem:", "")
    assert "zenith" not in repr(neutral).lower()


def test_a_record_is_in_force_until_it_changes_or_ends() -> None:
    brands = Brands()
    one = Brand("One", "one", sandbox_domain="box.one.net", api_hosts=("api.one.net",))
    brands.put("1", one)
    assert brands.of_host("api.one.net:443") is brands.named("1") is one
    assert "box.one.net" in brands.sandbox_domains
    assert brands.neutral.slug == "mail"
    two = Brand("Two", "two", sandbox_domain="box.two.net", smtp_host="smtp.two.net")
    brands.put("1", two)
    assert brands.of_host("api.one.net") is brands.default
    assert brands.of_host("smtp.two.net") is two
    assert "box.one.net" not in brands.sandbox_domains
    brands.put("1", None)
    assert list(brands) == [brands.default]
    assert brands.of_host("smtp.two.net") is brands.named("1") is brands.default
    assert brands.neutral is brands.default


def test_a_host_moves_between_records_in_any_order() -> None:
    """Another replica's changes may arrive in another order."""
    before, after = Brand(slug="a", api_hosts=("h.net",)), Brand(slug="a")
    taker = Brand(slug="b", api_hosts=("h.net",))
    for changes in ((("1", after), ("2", taker)), (("2", taker), ("1", after))):
        brands = Brands()
        brands.put("1", before)
        for brand_id, brand in changes:
            brands.put(brand_id, brand)
        assert brands.of_host("h.net") is taker


def test_a_record_takes_no_host_of_the_file(tmp_path: Path) -> None:
    brands = read_brands(written(tmp_path, TWO))
    brands.put("1", Brand("Thief", "thief", api_hosts=("api.partner.example", "own.example")))
    assert brands.of_host("api.partner.example").slug == "partner"
    assert brands.of_host("own.example").slug == "thief"
    brands.put("1", None)
    assert brands.of_host("api.partner.example").slug == "partner"


@pytest.mark.parametrize(
    ("host", "refused"),
    [
        ("api.zenith.example", False),
        ("API.zenith.example.:8025", False),
        ("api.partner.example", False),
        ("elsewhere.example", True),
        ("zenith.example", True),
        ("api.zenith.example.evil.example", True),
        ("localhost.evil.example", True),
        ("127.0.0.1.evil.example:80", True),
        ("1", True),
        ("", False),
        ("localhost", False),
        ("LOCALHOST:8025", False),
        ("127.0.0.1:8025", False),
        ("10.1.2.3", False),
        ("[::1]:8025", False),
        ("[2001:db8::1]", False),
    ],
)
def test_other_hosts_are_refused_once_the_default_brand_has_its_own(
    host: str, refused: bool
) -> None:
    partner = Brand("Partner", "partner", api_hosts=("api.partner.example",))
    zenith = Brand("Zenith", "zenith", api_hosts=("api.zenith.example",))
    brands = Brands({"default": zenith})
    brands.put("1", partner)
    assert brands.refuses(host) is refused
    if brands.find_host(host) is None:
        assert brands.of_host(host) is brands.neutral
    open_to_all = Brands({"partner": partner})
    assert not open_to_all.refuses(host)


hosts = st.lists(st.sampled_from(["a.net", "b.net", "c.net", "file.net"]), max_size=3, unique=True)
names = st.builds(
    lambda api, smtp, box: Brand("X", "x", "", box, "", smtp, api_hosts=tuple(api)),
    hosts, st.sampled_from(["", "a.net", "s.net"]), st.sampled_from(["box.net", "obm-sandbox.net"]),
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from("123"), st.none() | names), max_size=12))
def test_whatever_changes_a_host_has_only_a_brand_that_names_it(
    changes: list[tuple[str, Brand | None]],
) -> None:
    file = Brand("File", "file", api_hosts=("file.net",))
    brands, now = Brands({"default": file}), dict[str, Brand]()
    for brand_id, brand in changes:
        brands.put(brand_id, brand)
        now.pop(brand_id, None)
        if brand is not None:
            now[brand_id] = brand
        for host in ("a.net", "b.net", "c.net", "s.net", "file.net"):
            found = brands.find_host(host)
            holders = [file] if host == "file.net" else list(now.values())
            assert found is None or any(found is one for one in holders if host in one.hosts)
        assert brands.find_host("file.net") is file
        assert set(brands.sandbox_domains) == {one.sandbox_domain for one in brands}
        assert list(brands) == [file, *now.values()]
