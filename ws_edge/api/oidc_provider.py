"""A provider of OpenID Connect: what it says of itself, its keys, and the exchange of a code for an id_token.

Answers are bounded in size and time, redirects are not followed, and every address is https, except where the provider
itself is on this machine.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import orjson
from authlib.oidc.core import CodeIDToken  # type: ignore[import-untyped]
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from broker.log import RateLimited
from ws_edge.access.oidc_settings import OidcConfig, is_loopback

if TYPE_CHECKING:
    import httpx
else:
    try:  # Authlib takes httpx2 where that is installed, and what it is given here must be of the same package
        import httpx2 as httpx
    except ImportError:
        import httpx

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # without httpx2 Authlib announces that it will need it
    from authlib.integrations.httpx_client import AsyncOAuth2Client  # type: ignore[import-untyped]

_TIMEOUT_S: Final = 5.0
_MAX_ANSWER_BYTES: Final = 256 * 1024
_KEPT_S: Final = 3600.0
"""How long discovery and keys are kept."""
_RETRY_S: Final = 5.0
"""The shortest time between two requests after one has failed."""
_KEYS_AGAIN_S: Final = 60.0
"""The shortest time between two requests for the keys because of one that is not known."""
_MAX_EXCHANGES: Final = 16
_LEEWAY_S: Final = 30
_log = RateLimited(logging.getLogger("testcast.edge"), per_s=1.0)
for _name in ("httpx", "httpx2"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # it writes down each address that it asks

Clock = Callable[[], float]


class ProviderUnavailable(Exception):
    """The provider does not answer, or not as its protocol has it. The reason is for the log."""


class Refused(Exception):
    """The provider's answer proves nothing, or it refuses. The reason is for the log."""


class Metadata(NamedTuple):
    """What a provider says of itself."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    names_itself: bool
    """It puts `iss` into each answer (RFC 9207)."""


class Provider:
    """The provider of one edge.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, config: OidcConfig, clock: Clock) -> None:
        self._config = config
        self._metadata = _Kept(self._fetch_metadata, clock)
        self._keys = _Kept(self._fetch_keys, clock)
        self._exchanges = asyncio.Semaphore(_MAX_EXCHANGES)

    def __repr__(self) -> str:
        return f"<Provider {self._config.issuer}>"

    async def metadata(self) -> Metadata:
        """What the provider says of itself.

        Raises:
            ProviderUnavailable.
        """
        found: Metadata = await self._metadata.get()
        return found

    async def authorization_url(self, state: str, nonce: str, verifier: str) -> str:
        """Where a person signs in.

        Raises:
            ProviderUnavailable.
        """
        endpoint = (await self.metadata()).authorization_endpoint
        async with self._client() as client:
            url, _ = client.create_authorization_url(endpoint, state=state, nonce=nonce, code_verifier=verifier)
        return str(url)

    async def exchange(self, code: str, nonce: str, verifier: str, now_s: float) -> dict[str, Any]:
        """The claims of the id_token that a code stands for.

        Args:
            now_s: seconds since 1970.

        Raises:
            ProviderUnavailable: it does not answer.
            Refused: it does not take the code, or the id_token is not valid.
        """
        endpoint = (await self.metadata()).token_endpoint
        async with self._exchanges, self._client() as client:
            try:
                async with asyncio.timeout(2 * _TIMEOUT_S):
                    answer = await client.fetch_token(
                        endpoint, grant_type="authorization_code", code=code, code_verifier=verifier
                    )
            except (httpx.HTTPError, TimeoutError) as error:
                raise ProviderUnavailable(type(error).__name__) from None
            except Exception as error:  # of authlib: its message may quote the request
                raise Refused(f"the code was not taken: {_word(getattr(error, 'error', ''))}") from None
        token = answer.get("id_token")
        if not isinstance(token, str) or len(token) > _MAX_ANSWER_BYTES:
            raise Refused("the answer has no id_token")
        claims = await self._verified(token)
        await self._check(claims, nonce, answer.get("access_token"), now_s)
        return dict(claims.claims)

    async def _verified(self, token: str) -> jwt.Token:
        """The id_token, signed by a key of the provider. An unknown key makes the keys be asked for again, at times."""
        for again in (False, True):
            keys: KeySet = await self._keys.get()
            try:
                return jwt.decode(token, keys, algorithms=list(self._config.algorithms))
            except (JoseError, ValueError, TypeError) as error:
                if again or not self._keys.forget(_KEYS_AGAIN_S):
                    raise Refused(f"the id_token is not valid: {type(error).__name__}") from None
        raise AssertionError("unreachable")

    async def _check(self, token: jwt.Token, nonce: str, access_token: object, now_s: float) -> None:
        config = self._config
        options: dict[str, Any] = {
            "iss": {"essential": True, "value": config.issuer},
            "aud": {"essential": True, "value": config.client_id},
            "sub": {"essential": True},
        }
        params = {"nonce": nonce, "client_id": config.client_id, "access_token": access_token}
        try:
            CodeIDToken(token.claims, token.header, options, params).validate(now=int(now_s), leeway=_LEEWAY_S)
        except (JoseError, ValueError, TypeError) as error:
            raise Refused(f"the id_token does not fit: {_word(str(error))}") from None
        if not isinstance(token.claims["sub"], str):
            raise Refused("the id_token has no sub")

    # -- what is fetched ---------------------------------------------------------------------------------------------

    async def _fetch_metadata(self) -> Metadata:
        issuer = self._config.issuer
        given = await self._json(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if given.get("issuer") != issuer:
            raise ProviderUnavailable("its discovery names another issuer")
        found = [given.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
        for each in found:
            if not isinstance(each, str) or not self._may_be_asked(each):
                raise ProviderUnavailable("its discovery lacks an https address")
        named = given.get("authorization_response_iss_parameter_supported") is True
        return Metadata(str(found[0]), str(found[1]), str(found[2]), named)

    async def _fetch_keys(self) -> KeySet:
        given = await self._json((await self.metadata()).jwks_uri)
        keys = [key for key in given.get("keys", ()) if isinstance(key, dict) and key.get("use", "sig") == "sig"]
        try:
            return KeySet.import_key_set({"keys": [key for key in keys if key.get("kty") != "oct"]})
        except (JoseError, ValueError, TypeError, KeyError):
            raise ProviderUnavailable("its keys cannot be read") from None

    def _may_be_asked(self, url: str) -> bool:
        parts = urlsplit(url)
        return parts.scheme == "https" or (
            parts.scheme == "http" and is_loopback(url) and is_loopback(self._config.issuer)
        )

    async def _json(self, url: str) -> Mapping[str, Any]:
        try:
            async with asyncio.timeout(2 * _TIMEOUT_S), self._client() as client:
                answer = await client.request("GET", url, withhold_token=True)
                answer.raise_for_status()
                given = orjson.loads(answer.content)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, orjson.JSONDecodeError) as error:
            raise ProviderUnavailable(type(error).__name__) from None
        if not isinstance(given, dict):
            raise ProviderUnavailable("an answer is no JSON object")
        return given

    def _client(self) -> Any:
        config = self._config
        secret = (
            None if config.client_secret is None else bytes(config.client_secret).decode("utf-8", "replace").strip()
        )
        return AsyncOAuth2Client(
            config.client_id,
            secret,
            scope=config.scopes,
            redirect_uri=config.redirect_uri,
            token_endpoint_auth_method="none" if secret is None else "client_secret_basic",
            code_challenge_method="S256",
            timeout=_TIMEOUT_S,
            follow_redirects=False,
            transport=_BoundedTransport(verify=_tls()),
        )


class _Kept:
    """Something that is fetched, kept for a while and fetched again. One request is in flight at a time."""

    def __init__(self, fetch: Callable[[], Awaitable[Any]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._value: Any = None
        self._due = self._asked = float("-inf")
        self._failure: ProviderUnavailable | None = None
        self._lock = asyncio.Lock()

    async def get(self) -> Any:
        """The value. After a failure nobody asks again for a few seconds, and an older value is still good.

        Raises:
            ProviderUnavailable: there is no value yet.
        """
        async with self._lock:
            if self._clock() >= self._due:
                await self._renew()
            if self._value is None:
                raise self._failure or ProviderUnavailable("it has not answered")
            return self._value

    async def _renew(self) -> None:
        self._asked = self._clock()
        try:
            self._value = await self._fetch()
            self._due = self._clock() + _KEPT_S
        except ProviderUnavailable as error:
            _log.warning("the provider of OpenID Connect does not answer as expected: %s", error)
            self._failure, self._due = error, self._clock() + _RETRY_S

    def forget(self, after_s: float) -> bool:
        """Has the value fetched again, unless that was less than `after_s` ago. Returns whether it will be."""
        if self._clock() - self._asked < after_s:
            return False
        self._due = float("-inf")
        return True


@lru_cache
def _tls() -> ssl.SSLContext:
    """Reading the certificates of the authorities takes a while."""
    return httpx.create_ssl_context()


class _BoundedTransport(httpx.AsyncHTTPTransport):
    """Breaks off an answer that is too long."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Bounded(response.stream)
        return response


class _Bounded(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._stream:
            size += len(piece)
            if size > _MAX_ANSWER_BYTES:
                raise httpx.ReadError("the answer is too long")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


def _word(text: object) -> str:
    """A word of somebody else's for a log line."""
    return repr(str(text)[:80])
