"""Orders certificates from an authority (ACME, RFC 8555), by challenges over HTTP (§8.3)."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import requests
from acme import challenges, client, errors, messages
from acme.crypto_util import make_csr
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from josepy import b64
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from services.events.domain.caa import refused_advice
from services.events.domain.certificates import (
    CertificateOrderFailed,
    ExternalAccountBinding,
    IssuedCertificate,
)

REQUEST_S = 20
LIMITED_S = 3600.0  # wait after a refusal for too many orders that names no time
LIMITED_MAX_S = 7 * 86_400.0  # the longest period of such limits
AWAY_S = 60.0
REFUSED_S = 300.0  # until an account that was refused is tried again
LIMITED = "rateLimited"
NEEDS_BINDING, FORBIDDEN = "externalAccountRequired", "caa"
NOT_ACCEPTED = "The authority did not accept the answer to its challenge."
# Of the authority, whichever host is ordered for (RFC 8555 §6.7).
AWAY = {"badNonce", "serverInternal"}
NONCE_TURNS = 5  # of two requests each

T = TypeVar("T")


class AcmeClient:
    """directory: its URL. ca_file: of the authorities that may certify its server; empty: those of
    the system. contact: an email address; empty: none. binding: to an account with the authority
    that was opened otherwise; None: it needs none."""

    def __init__(
        self,
        directory: str,
        key: ec.EllipticCurvePrivateKey,
        *,
        ca_file: str = "",
        contact: str = "",
        binding: ExternalAccountBinding | None = None,
    ) -> None:
        self._directory = directory
        self._key = JWKEC(key=key)
        self._ca_file = ca_file
        self._contact = contact
        self._binding = binding
        self._client: client.ClientV2 | None = None
        self._retry_after_s: float | None = None

    async def identities(self) -> Sequence[str]:
        """Its names in CAA records; none if it does not say. Raises CertificateOrderFailed."""
        return await _in_thread(lambda: self._request(self._identities))

    async def order(self, host: str) -> IssuedCertificate:
        """Raises CertificateOrderFailed."""
        return await _in_thread(lambda: self._request(lambda: self._issue(host), host))

    def _request(self, work: Callable[[], T], host: str = "") -> T:
        """What the authority answers. Raises CertificateOrderFailed."""
        self._retry_after_s = None
        try:
            return work()
        except messages.Error as error:
            raise self._refused([error], host, wait_s=self._wait_s(error)) from error
        except errors.ValidationError as error:
            raise self._refused(_validation_errors(error), host) from error
        except (errors.ClientError, errors.TimeoutError, requests.RequestException) as error:
            self._client = None
            raise CertificateOrderFailed(
                f"The authority is away: {error}", wait_s=AWAY_S
            ) from error
        except CertificateOrderFailed:
            raise
        except Exception as error:  # what a server sends must not end the service
            raise CertificateOrderFailed(repr(error)) from error

    def _identities(self) -> Sequence[str]:
        self._client = self._client or self._connect()
        meta = getattr(self._client.directory, "meta", None)
        given = getattr(meta, "caa_identities", None) or ()
        return tuple(one for one in given if isinstance(one, str) and one)

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
        raise CertificateOrderFailed("The authority offers no challenge over HTTP.")

    def _connect(self) -> client.ClientV2:
        verify: Any = self._ca_file or True  # a path too, as requests has it
        net = _AcmeNetwork(self._key, alg=ES256, verify_ssl=verify, timeout=REQUEST_S)
        net.session.hooks["response"].append(self._keep_retry_after)
        acme = client.ClientV2(client.ClientV2.get_directory(self._directory, net), net)
        new = messages.NewRegistration.from_data(
            email=self._contact or None,
            terms_of_service_agreed=True,
            external_account_binding=self._bound(acme.directory),
        )
        try:
            acme.new_account(new)
        except errors.ConflictError as known:
            net.account = messages.RegistrationResource(
                uri=known.location, body=messages.Registration()
            )
        except messages.Error as error:
            if self._wait_s(error):
                raise
            raise CertificateOrderFailed(_account_problem(error), wait_s=REFUSED_S) from error
        return acme

    def _bound(self, directory: messages.Directory) -> dict[str, Any] | None:
        if self._binding is None:
            return None
        key_id, hmac_key = self._binding
        return messages.ExternalAccountBinding.from_data(
            self._key.public_key(), key_id, b64.b64encode(hmac_key).decode(), directory
        )

    def _wait_s(self, error: messages.Error) -> float:
        if error.code == LIMITED:
            return self._retry_after_s or LIMITED_S
        return AWAY_S if error.code in AWAY else 0.0

    def _refused(
        self, found: Sequence[messages.Error], host: str, *, wait_s: float = 0.0
    ) -> CertificateOrderFailed:
        """With the words of the authority, and what to publish if CAA records forbid it."""
        words = " ".join(map(_words, found)) or NOT_ACCEPTED
        if self._client is None or all(one.code != FORBIDDEN for one in found):
            return CertificateOrderFailed(words, wait_s=wait_s)
        advice = refused_advice(host, self._identities())
        return CertificateOrderFailed(
            f"{words.rstrip('.')}. {advice}", wait_s=wait_s, is_forbidden=True
        )

    def _keep_retry_after(self, response: requests.Response, **_: object) -> None:
        """The error of the library does not have it. A date is not read: then a default holds."""
        given = response.headers.get("Retry-After", "")
        is_number = given.isascii() and given.isdecimal()
        self._retry_after_s = min(float(given), LIMITED_MAX_S) if is_number else None


class _AcmeNetwork(client.ClientNetwork):
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


def _account_problem(error: messages.Error) -> str:
    advice = ""
    if error.code == NEEDS_BINDING:
        advice = (
            " Set EVENTS_ACME_EAB_KEY_ID and EVENTS_ACME_EAB_HMAC_KEY as the authority shows them."
        )
    return f"The authority has refused the account: {_words(error)}{advice}"


def _validation_errors(error: errors.ValidationError) -> list[messages.Error]:
    return [
        one.error
        for authorization in error.failed_authzrs
        for one in authorization.body.challenges
        if one.error is not None
    ]


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
