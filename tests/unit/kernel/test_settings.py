import pytest
from pydantic import Field, ValidationError
from pydantic_settings import SettingsConfigDict

from kernel.crypto import SecretKeyring, new_secret_key
from kernel.errors import ConfigError
from kernel.settings import Settings, read_settings


class RouterSettings(Settings):
    """Settings of router, for a test."""

    model_config = SettingsConfigDict(
        env_prefix="ROUTER_", extra="forbid", populate_by_name=True, validate_default=True
    )
    lifetime_s: float = Field(259200.0, description="of a message")
    rpc_listen: str = Field("127.0.0.1:8031", description="where the other services ask")


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBM_SECRET_KEYS", "a,b")
    monkeypatch.setenv("ROUTER_LIFETIME_S", "60")
    monkeypatch.setenv("OBM_KAFKA_BOOTSTRAP_SERVERS", "kafka:9092")

    settings = read_settings(RouterSettings, [])

    assert settings.secret_keys == ["a", "b"]
    assert (settings.lifetime_s, settings.kafka_bootstrap_servers) == (60.0, "kafka:9092")


def test_a_setting_of_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValidationError, match="lifetime_h"):
        RouterSettings(secret_keys=["a"], lifetime_h=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("OBM_SECRET_KEYS", "", "^OBM_SECRET_KEYS: must not be empty. .*obm generate-key"),
        ("ROUTER_LIFETIME_S", "soon", "^ROUTER_LIFETIME_S: "),
        ("OBM_LOG_LEVEL", "loud", "^OBM_LOG_LEVEL: .*'DEBUG'"),
    ],
)
def test_an_invalid_setting_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv("OBM_SECRET_KEYS", "a")
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError, match=message) as caught:
        read_settings(RouterSettings, [])
    assert "\n" not in str(caught.value)


def test_help_lists_every_setting_with_default_and_description(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        read_settings(RouterSettings, ["--help"])

    text = capsys.readouterr().out
    assert "router, for a test." in text
    assert "ROUTER_LIFETIME_S [259200.0 s]" in text
    assert "of a message" in text
    assert "OBM_KAFKA_BOOTSTRAP_SERVERS" in text


def test_an_argument_is_rejected() -> None:
    with pytest.raises(ConfigError, match="--help"):
        read_settings(RouterSettings, ["--port=1"])


def test_secrets_survive_a_rotation_of_their_keys() -> None:
    old, new = new_secret_key(), new_secret_key()
    token = SecretKeyring([old]).encrypt(b"secret")

    assert SecretKeyring([new, old]).decrypt(token) == b"secret"
    with pytest.raises(ConfigError, match="OBM_SECRET_KEYS"):
        SecretKeyring([new]).decrypt(token)
    with pytest.raises(ConfigError, match="obm generate-key"):
        SecretKeyring(["not a key"])


@pytest.mark.parametrize("address", ["0.0.0.0:80", "[::]:80", ":80", "10.0.0.7:80", "router:80"])
def test_listening_beyond_loopback_must_be_allowed(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("OBM_SECRET_KEYS", "a")
    monkeypatch.setenv("ROUTER_RPC_LISTEN", address)

    with pytest.raises(ConfigError, match=r"^ROUTER_RPC_LISTEN .*OBM_PLAIN_LISTEN=true"):
        read_settings(RouterSettings, [])

    monkeypatch.setenv("OBM_PLAIN_LISTEN", "true")
    assert read_settings(RouterSettings, []).rpc_listen == address


@pytest.mark.parametrize(
    "address", ["127.0.0.1:80", "127.9.9.9:80", "[::1]:80", "localhost:80", ""]
)
def test_listening_on_loopback_is_always_allowed(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("OBM_SECRET_KEYS", "a")
    monkeypatch.setenv("ROUTER_RPC_LISTEN", address)

    assert read_settings(RouterSettings, []).rpc_listen == address


@pytest.mark.parametrize(
    "address", ["router", "8031", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:99999"]
)
def test_an_address_to_listen_on_needs_a_port(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("OBM_SECRET_KEYS", "a")
    monkeypatch.setenv("OBM_PLAIN_LISTEN", "true")
    monkeypatch.setenv("ROUTER_RPC_LISTEN", address)

    with pytest.raises(ConfigError, match=r"^ROUTER_RPC_LISTEN .*Use host:port"):
        read_settings(RouterSettings, [])


@pytest.mark.parametrize("address", ["8041", "127.0.0.1:99999", "127.0.0.1:-1"])
def test_the_health_server_needs_a_port(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("OBM_SECRET_KEYS", "a")
    monkeypatch.setenv("ROUTER_HEALTH_LISTEN", address)

    with pytest.raises(ConfigError, match=r"^ROUTER_HEALTH_LISTEN "):
        read_settings(RouterSettings, [])


def test_the_health_server_may_be_probed_from_other_machines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OBM_SECRET_KEYS", "a")
    monkeypatch.setenv("ROUTER_HEALTH_LISTEN", "0.0.0.0:8041")

    assert read_settings(RouterSettings, []).health_listen == "0.0.0.0:8041"
