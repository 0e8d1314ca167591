"""A provider of OpenID Connect for tests: a real HTTP server that signs with a real key, and errs on demand."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID = "testcast-page"
SECRET = "secret-of-the-client"


@lru_cache
def new_key(name: str) -> RSAKey:
    """A key pair by its name: making one takes a while."""
    return RSAKey.generate_key(2048, {"kid": name.partition(" ")[0], "use": "sig"})


class FakeProvider:
    """A provider whose only person is signed in already: each authorization is answered at once with a code."""

    def __init__(self) -> None:
        self.key = new_key("first")
        self.signs_with: RSAKey | bytes = self.key
        self.algorithm = "RS256"
        self.claims: dict[str, Any] = {"testcast_projects": ["web"], "testcast_can": "list watch submit"}
        """What an id_token says besides the usual."""
        self.metadata: dict[str, Any] = {}
        """What discovery says besides the usual."""
        self.codes: dict[str, dict[str, str]] = {}
        """The codes that were given out and not used, with the authorization requests."""
        self.asked: list[str] = []
        self.token_requests: list[dict[str, str]] = []
        self.deny = ""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider._get(self)

            def do_POST(self) -> None:
                provider._post(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def stop(self) -> None:
        """Ends the server: nobody answers at its port any more."""
        if not self._thread.is_alive():
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def authorize(self, url: str) -> str:
        """What a browser does at the provider. Returns the address that it is sent back to."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        if self.deny:
            return f"{asked['redirect_uri']}?{urlencode({'error': self.deny, 'state': asked['state']})}"
        code = f"code-{secrets.token_hex(8)}"
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def _get(self, handler: BaseHTTPRequestHandler) -> None:
        path = urlsplit(handler.path).path
        self.asked.append(path)
        if path == "/.well-known/openid-configuration":
            usual = {name: f"{self.issuer}/{name}" for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
            _answer(handler, 200, {"issuer": self.issuer, **usual, **self.metadata})
        elif path == "/jwks_uri":
            _answer(handler, 200, {"keys": [self.key.as_dict(private=False)]})
        elif path == "/authorization_endpoint":
            handler.send_response(302)
            handler.send_header("location", self.authorize(handler.path))
            handler.send_header("content-length", "0")
            handler.end_headers()
        else:
            _answer(handler, 404, {})

    def _post(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"])).decode()
        given = {name: values[0] for name, values in parse_qs(body).items()}
        self.token_requests.append(given)
        asked = self.codes.pop(given.get("code", ""), None)  # a code is good once
        login = base64.b64decode(handler.headers.get("authorization", "").partition(" ")[2]).decode()
        digest = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        proven = asked is not None and asked["code_challenge"] == _encoded(digest)
        if asked is None or not proven or login != f"{CLIENT_ID}:{SECRET}":
            _answer(handler, 400, {"error": "invalid_grant"})
            return
        assert asked["redirect_uri"] == given["redirect_uri"]
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": "ann",
            "exp": now + 300,
            "iat": now,
            "nonce": asked["nonce"],
            **self.claims,
        }
        token = self._signed({name: value for name, value in claims.items() if value is not None})
        _answer(handler, 200, {"access_token": "opaque", "token_type": "Bearer", "id_token": token})

    def _signed(self, claims: dict[str, Any]) -> str:
        if isinstance(self.signs_with, RSAKey):
            return jwt.encode(
                {"alg": self.algorithm, "kid": self.signs_with.kid}, claims, self.signs_with, [self.algorithm]
            )
        parts = [_encoded(json.dumps(each).encode()) for each in ({"alg": "HS256", "kid": "first"}, claims)]
        signature = hmac.digest(self.signs_with, ".".join(parts).encode(), "sha256")
        return ".".join([*parts, _encoded(signature)])


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _answer(handler: BaseHTTPRequestHandler, status: int, body: dict[str, Any]) -> None:
    encoded = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(encoded)))
    handler.end_headers()
    handler.wfile.write(encoded)
