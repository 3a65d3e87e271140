"""OpenID Connect: signing in at a provider that is found by discovery, by code flow with PKCE.

Authlib makes the requests and checks the claims, joserfc the signatures; both come with the extra ``oidc``.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from authlib.oauth2.base import OAuth2Error
from authlib.oauth2.client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import get_well_known_url
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from tidegauge.domain.single_sign_on import Asked, Claimed
from tidegauge.errors import NotSignedInError, UnavailableError

_log = logging.getLogger(__name__)

#: With a key that only the provider has: an id_token may not choose "none", or our own client secret.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_TIMEOUT = 10.0
_FRESH = 3600.0  # seconds that what a provider says of itself is kept
_KEYS_PAUSE = 10.0  # seconds between two looks for keys that are not known
_LEEWAY = 60  # seconds that clocks may differ
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass
class _Kept:
    """What was fetched, and when by a monotonic clock."""

    value: Any = None
    at: float = float("-inf")


class _Client(OAuth2Client):  # type: ignore[misc]  # Authlib has no types
    """Authlib's client over httpx, which its own integration no longer supports."""

    def _fetch_token(self, url: str, body: str = "", headers: Any = None, auth: Any = None, **_: Any) -> Any:
        url, headers, body = auth.prepare("POST", url, dict(headers), body)
        return self.parse_response_token(self.session.post(url, headers=headers, content=body))


class Provider:
    """One provider.

    Args:
        issuer: its URL, as it calls itself.
        client_id: by which it knows this cluster.
        client_secret: of this cluster; empty for a public client.
        scopes: asked for, with spaces.
        groups_claim: name of the claim with the groups of a person.
        transport: in place of the network, for tests of failures.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str = "",
        scopes: str = "openid",
        groups_claim: str = "groups",
        transport: httpx.BaseTransport | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._scopes = scopes if "openid" in scopes.split() else f"openid {scopes}".strip()
        self._groups_claim = groups_claim
        self._http = httpx.Client(timeout=_TIMEOUT, follow_redirects=False, transport=transport)
        self._monotonic = monotonic
        self._metadata, self._keys = _Kept(), _Kept()

    def close(self) -> None:
        self._http.close()

    def begin(self, redirect_uri: str) -> Asked:
        """Return where to send a browser, and what has to be kept until it comes back.

        Raises UnavailableError where the provider does not answer, or not as one does.
        """
        metadata = self._discover()
        nonce, verifier, state = (secrets.token_urlsafe(32) for _ in range(3))
        client = self._client(metadata, redirect_uri)
        url, _ = client.create_authorization_url(
            metadata["authorization_endpoint"], state=state, code_verifier=verifier, nonce=nonce
        )
        return Asked(url, state, nonce, verifier)

    def finish(self, code: str, redirect_uri: str, nonce: str, verifier: str) -> Claimed:
        """Exchange a code for who somebody is.

        Raises NotSignedInError where the provider refuses the code, or its answer does not hold;
        UnavailableError where it does not answer.
        """
        metadata = self._discover()
        client = self._client(metadata, redirect_uri)
        try:
            token = client.fetch_token(
                metadata["token_endpoint"],
                grant_type="authorization_code",
                code=code,
                redirect_uri=redirect_uri,
                code_verifier=verifier,
            )
        except httpx.HTTPError as error:
            raise self._away(error) from error
        except (OAuth2Error, ValueError) as error:
            raise self._refused("it refuses the code", error) from error
        claims = self._verified(metadata, token, nonce)
        if self._groups_claim not in claims and "userinfo_endpoint" in metadata:
            claims = {**self._userinfo(metadata, token, str(claims["sub"])), **claims}
        return Claimed(
            issuer=self.issuer,
            subject=str(claims["sub"]),
            name=_first(claims, "preferred_username", "email", "name"),
            groups=_groups(claims.get(self._groups_claim)),
        )

    def _client(self, metadata: Mapping[str, Any], redirect_uri: str) -> _Client:
        known = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        usual = "client_secret_basic" if "client_secret_basic" in known else "client_secret_post"
        return _Client(
            self._http,
            client_id=self._client_id,
            client_secret=self._client_secret or None,
            token_endpoint_auth_method=usual if self._client_secret else "none",
            scope=self._scopes,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
        )

    def _verified(self, metadata: Mapping[str, Any], token: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        """Return the claims of an id_token, once its signature and all that it says of itself hold."""
        raw = token.get("id_token")
        if not isinstance(raw, str):
            raise self._refused("its answer has no id_token")
        options = {
            "iss": {"essential": True, "value": self.issuer},
            "aud": {"essential": True, "value": self._client_id},
        }
        params = {"nonce": nonce, "client_id": self._client_id, "access_token": token.get("access_token")}
        try:
            decoded = self._decoded(metadata, raw)
            claims = CodeIDToken(decoded.claims, decoded.header, options, params)
            claims.validate(now=int(time.time()), leeway=_LEEWAY)
        except (JoseError, ValueError) as error:
            raise self._refused("its id_token does not hold", error) from error
        return dict(claims)

    def _decoded(self, metadata: Mapping[str, Any], raw: str) -> jwt.Token:
        """Check a signature; keys that are not known may have come since they were fetched."""
        age = self._monotonic() - self._keys.at
        try:
            return jwt.decode(raw, self._key_set(metadata, _FRESH), algorithms=_ALGORITHMS)
        except (JoseError, ValueError):
            if age < _KEYS_PAUSE:
                raise
            return jwt.decode(raw, self._key_set(metadata, 0.0), algorithms=_ALGORITHMS)

    def _userinfo(
        self, metadata: Mapping[str, Any], token: Mapping[str, Any], subject: str
    ) -> dict[str, Any]:
        """Return what the provider says of the person beside the id_token."""
        found = self._get(
            metadata["userinfo_endpoint"], {"Authorization": f"Bearer {token.get('access_token', '')}"}
        )
        if found.get("sub") != subject:
            raise self._refused("it tells of somebody else than signed in")
        return found

    def _discover(self) -> Mapping[str, Any]:
        now = self._monotonic()
        if now - self._metadata.at > _FRESH:
            found = self._get(get_well_known_url(self.issuer, external=True))
            if found.get("issuer") != self.issuer:
                raise UnavailableError(
                    f"The provider at {self.issuer} calls itself {str(found.get('issuer'))[:200]!r}; set "
                    "oidc_issuer to exactly that."
                )
            wrong = [name for name in _ENDPOINTS if not _is_safe(found.get(name), self.issuer)]
            if wrong:
                raise UnavailableError(f"The provider at {self.issuer} gives no https URL for {wrong[0]}.")
            self._metadata = _Kept(found, now)
        metadata: Mapping[str, Any] = self._metadata.value
        return metadata

    def _key_set(self, metadata: Mapping[str, Any], fresh: float) -> KeySet:
        now = self._monotonic()
        if now - self._keys.at > fresh:
            self._keys = _Kept(KeySet.import_key_set(self._get(metadata["jwks_uri"])), now)  # type: ignore[arg-type]
        found: KeySet = self._keys.value
        return found

    def _get(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        try:
            answer = self._http.get(url, headers=headers)
            answer.raise_for_status()
            value = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise self._away(error) from error
        if not isinstance(value, dict):
            raise self._away(TypeError("no JSON object"))
        return value

    def _away(self, error: Exception) -> UnavailableError:
        _log.warning("The provider %s does not answer as one does: %s", self.issuer, error)
        return UnavailableError(
            "The provider of sign-ins does not answer; try again soon, or sign in with a password or a token."
        )

    def _refused(self, why: str, error: Exception | None = None) -> NotSignedInError:
        _log.warning("A sign-in at %s was refused: %s (%s)", self.issuer, why, error)
        return NotSignedInError("The provider's answer does not hold; sign in again from the beginning.")


def _is_safe(url: Any, issuer: str) -> bool:
    """Tell whether a URL is one to send secrets to: over TLS, or as plain as the issuer on this machine."""
    return isinstance(url, str) and (url.startswith("https://") or issuer.startswith("http://"))


def _first(claims: Mapping[str, Any], *names: str) -> str:
    return next((str(claims[name]) for name in names if claims.get(name)), "")


def _groups(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(str(item) for item in value) if isinstance(value, list) else ()
