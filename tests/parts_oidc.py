"""A real little provider of sign-ins by OpenID Connect, over HTTP, that can be told to misbehave."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tidegauge.links.processes import free_port

CLIENT, SECRET = "tidegauge", "the client's secret"


@dataclass
class Grant:
    challenge: str
    redirect_uri: str
    nonce: str


@dataclass
class OidcProvider:
    """``person`` is who signs in next; ``claims`` replace those of the id_token, None leaves one out."""

    issuer: str
    key: RSAKey
    person: dict[str, Any] = field(default_factory=lambda: {"sub": "1", "preferred_username": "ada"})
    claims: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    algorithm: str = "RS256"
    signed_by: Any = None  # another key than is published
    methods: tuple[str, ...] = ("client_secret_basic",)
    metadata: dict[str, Any] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/userinfo", self._userinfo),
                Route("/jwks", self._jwks),
            ]
        )

    async def _discovery(self, _: Request) -> Response:
        found = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/jwks",
            "token_endpoint_auth_methods_supported": list(self.methods),
        }
        return JSONResponse({**found, **self.metadata})

    async def _authorize(self, request: Request) -> Response:
        """Sign the person in at once, as a provider does who knows the browser."""
        asked = request.query_params
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(8)
        self.grants[code] = Grant(asked["code_challenge"], asked["redirect_uri"], asked["nonce"])
        back = urlencode({"code": code, "state": asked["state"], "iss": self.issuer})
        return RedirectResponse(f"{asked['redirect_uri']}?{back}", 302)

    async def _token(self, request: Request) -> Response:
        self.asked.append("token")
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        if not self._knows(request.headers.get("authorization", ""), form):
            return JSONResponse({"error": "invalid_client"}, 401)
        grant = self.grants.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if grant is None or (grant.challenge, grant.redirect_uri) != (challenge, form.get("redirect_uri")):
            return JSONResponse({"error": "invalid_grant"}, 400)
        return JSONResponse(
            {"access_token": "access", "token_type": "Bearer", "id_token": self._id_token(grant.nonce)}
        )

    def _knows(self, header: str, form: dict[str, str]) -> bool:
        if "client_secret_basic" in self.methods:
            return header == f"Basic {base64.b64encode(f'{CLIENT}:{SECRET}'.encode()).decode()}"
        return (form.get("client_id"), form.get("client_secret")) == (CLIENT, SECRET)

    def _id_token(self, nonce: str) -> str:
        now = int(time.time())
        usual = {"iss": self.issuer, "aud": CLIENT, "exp": now + 300, "iat": now, "nonce": nonce}
        claims = {**usual, **self.person, **self.claims}
        kept = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": self.algorithm, "kid": self.key.kid}
        return jwt.encode(header, kept, self.signed_by or self.key, algorithms=[self.algorithm])

    async def _userinfo(self, request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer access"
        return JSONResponse({"sub": self.person["sub"], **self.userinfo})

    async def _jwks(self, _: Request) -> Response:
        self.asked.append("jwks")
        return JSONResponse(KeySet([self.key]).as_dict(private=False))


def new_key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": secrets.token_hex(4)})


def shared_key() -> OctKey:
    """Return the client's secret as a key, by which a client that trusts the header would be fooled."""
    return OctKey.import_key(SECRET.ljust(32, "-"))


@contextlib.contextmanager
def oidc_provider() -> Iterator[OidcProvider]:
    """Run a provider."""
    port = free_port()
    provider = OidcProvider(f"http://127.0.0.1:{port}", new_key())
    server = uvicorn.Server(uvicorn.Config(provider.app(), host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield provider
    finally:
        server.should_exit = True
        thread.join()
