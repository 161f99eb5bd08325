"""Orders certificates from an authority (ACME, RFC 8555), by challenges over HTTP (§8.3)."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import requests
from acme import challenges, client, errors, messages
from acme.crypto_util import make_csr
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from services.events.domain.certificates import IssuedCertificate, OrderFailed

REQUEST_S = 20
LIMITED_S = 3600.0  # wait after a refusal for too many orders that names no time
AWAY_S = 60.0
LIMITED = "rateLimited"
# Of the authority, whichever host is ordered for (RFC 8555 §6.7).
AWAY = {"badNonce", "serverInternal"}
NONCE_TURNS = 5  # of two requests each

T = TypeVar("T")


class AcmeClient:
    """directory: its URL. ca_file: of the authorities that may certify its server; empty: those of
    the system. contact: an email address; empty: none."""

    def __init__(
        self,
        directory: str,
        key: ec.EllipticCurvePrivateKey,
        *,
        ca_file: str = "",
        contact: str = "",
    ) -> None:
        self._directory = directory
        self._key = JWKEC(key=key)
        self._ca_file = ca_file
        self._contact = contact
        self._client: client.ClientV2 | None = None
        self._retry_after_s: float | None = None

    async def order(self, host: str) -> IssuedCertificate:
        """Raises OrderFailed."""
        return await _in_thread(lambda: self._order(host))

    def _order(self, host: str) -> IssuedCertificate:
        self._retry_after_s = None
        try:
            return self._issue(host)
        except messages.Error as error:
            raise OrderFailed(_words(error), wait_s=self._wait_s(error)) from error
        except errors.ValidationError as error:
            raise OrderFailed(_validation_problem(error)) from error
        except (errors.ClientError, errors.TimeoutError, requests.RequestException) as error:
            self._client = None
            raise OrderFailed(f"The authority is away: {error}", wait_s=AWAY_S) from error
        except OrderFailed:
            raise
        except Exception as error:  # what a server sends must not end the service
            raise OrderFailed(repr(error)) from error

    def _issue(self, host: str) -> IssuedCertificate:
        acme = self._client = self._client or self._connect()
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        order = acme.new_order(make_csr(pem, [host]))
        for authorization in order.authorizations:
            self._answer(acme, authorization)
        done = acme.poll_and_finalize(order)  # 90 seconds at most
        return IssuedCertificate.of(pem, done.fullchain_pem.encode())

    def _answer(self, acme: client.ClientV2, authorization: messages.AuthorizationResource) -> None:
        """One that was valid before needs none."""
        if authorization.body.status == messages.STATUS_VALID:
            return
        for one in authorization.body.challenges:
            if isinstance(one.chall, challenges.HTTP01):
                acme.answer_challenge(one, one.chall.response(self._key))
                return
        raise OrderFailed("The authority offers no challenge over HTTP.")

    def _connect(self) -> client.ClientV2:
        verify: Any = self._ca_file or True  # a path too, as requests has it
        net = _Network(self._key, alg=ES256, verify_ssl=verify, timeout=REQUEST_S)
        net.session.hooks["response"].append(self._keep_retry_after)
        acme = client.ClientV2(client.ClientV2.get_directory(self._directory, net), net)
        new = messages.NewRegistration.from_data(
            email=self._contact or None, terms_of_service_agreed=True
        )
        try:
            acme.new_account(new)
        except errors.ConflictError as known:
            net.account = messages.RegistrationResource(
                uri=known.location, body=messages.Registration()
            )
        return acme

    def _wait_s(self, error: messages.Error) -> float:
        if error.code == LIMITED:
            return self._retry_after_s or LIMITED_S
        return AWAY_S if error.code in AWAY else 0.0

    def _keep_retry_after(self, response: requests.Response, **_: object) -> None:
        """The error of the library does not have it. A date is not read: then a default holds."""
        given = response.headers.get("Retry-After", "")
        self._retry_after_s = float(given) if given.isdecimal() else None


class _Network(client.ClientNetwork):
    """A nonce that is refused is no failure: the client takes the next one (RFC 8555 §6.5). The
    library does so once."""

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401
        for turn in range(1, NONCE_TURNS + 1):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce" or turn == NONCE_TURNS:
                    raise
        raise AssertionError("unreachable")


def _words(error: messages.Error) -> str:
    more = "".join(f" {one.detail}" for one in error.subproblems or () if one.detail)
    return f"{error.code or error.typ}: {error.detail or ''}{more}".strip()


def _validation_problem(error: errors.ValidationError) -> str:
    found = [
        _words(one.error)
        for authorization in error.failed_authzrs
        for one in authorization.body.challenges
        if one.error is not None
    ]
    return " ".join(found) or "The authority did not accept the answer to its challenge."


async def _in_thread(work: Callable[[], T]) -> T:
    """In a daemon thread: the library blocks, and a service that stops does not wait for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def resolve(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        try:
            outcome: tuple[T | None, BaseException | None] = work(), None
        except Exception as error:
            outcome = None, error
        if not loop.is_closed():
            loop.call_soon_threadsafe(resolve, *outcome)

    threading.Thread(target=run, name="acme", daemon=True).start()
    return await done
