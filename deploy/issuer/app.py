"""The issuer as an ASGI app under `/issuer` of the one origin: discovery, keys, the list of people, tokens."""

import base64
import binascii
import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlencode, urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from deploy.issuer.codes import Codes
from deploy.issuer.people import PeopleList
from deploy.issuer.settings import IssuerSettings
from deploy.issuer.tokens import ACCESS_SECONDS, Signer
from shared.http.middleware import RelativeRedirects, SecurityHeaders
from shared.http.slow_requests import BodyTimeout
from shared.web.locale import choose_language
from shared.web.render import STATIC, Web

DEV_GRANT = "urn:medled:dev"
_CARRIED = ("client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "code_challenge",
            "code_challenge_method", "lang")  # fmt: skip
_LONGEST_SUBJECT = 320
_LOOPBACK = ("127.0.0.1", "localhost")


def create_issuer(settings: IssuerSettings) -> Starlette:
    """The issuer; the caller has made sure that this is not production."""
    issuer = _Issuer(settings)
    return Starlette(
        max_body_size=64 * 1024,
        middleware=[
            # It gives anybody a token: no page of another name that leads here may ask for one in a browser.
            Middleware(TrustedHostMiddleware, allowed_hosts=[urlsplit(settings.public_url).hostname or "", *_LOOPBACK]),
            Middleware(SecurityHeaders, public_url=settings.public_url, issuer=settings.issuer),
            Middleware(RelativeRedirects),
            Middleware(BodyTimeout, seconds=20),
        ],
        routes=[
            Mount(
                "/issuer",
                routes=[
                    Route("/.well-known/openid-configuration", issuer.discovery),
                    Route("/jwks", issuer.keys),
                    Route("/authorize", issuer.choose, methods=["GET"]),
                    Route("/authorize", issuer.chosen, methods=["POST"]),
                    Route("/token", issuer.token, methods=["POST"]),
                    Route("/logout", issuer.logout),
                    Route("/health/live", _alive),
                ],
            ),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
    )


async def _alive(_: Request) -> Response:
    return JSONResponse({"status": "alive"})


class _Issuer:
    def __init__(self, settings: IssuerSettings) -> None:
        self._settings = settings
        self._people = PeopleList(settings.issuer_people)
        self._signer = Signer(settings)
        self._codes = Codes()
        self._web = Web([Path(__file__).parent])

    async def discovery(self, _: Request) -> Response:
        """OpenID Connect Discovery 1.0, section 3."""
        issuer = self._settings.issuer
        return JSONResponse(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/authorize",
                "token_endpoint": f"{issuer}/token",
                "jwks_uri": f"{issuer}/jwks",
                "end_session_endpoint": f"{issuer}/logout",
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", DEV_GRANT],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
                "code_challenge_methods_supported": ["S256"],
                "scopes_supported": ["openid", "profile"],
                "claims_supported": ["iss", "sub", "aud", "exp", "iat", "nonce", "name"],
            }
        )

    async def keys(self, _: Request) -> Response:
        return JSONResponse(self._signer.key_set())

    async def choose(self, request: Request) -> Response:
        """The list of people to sign in as."""
        return self._refusal(request.query_params) or self._page(request, request.query_params)

    async def chosen(self, request: Request) -> Response:
        """Somebody was chosen: back to the portal with a code."""
        form = {name: str(value) for name, value in (await request.form()).items()}
        if refused := self._refusal(form):
            return refused
        subject = (form.get("sub") or form.get("other") or "").strip()
        if not subject or len(subject) > _LONGEST_SUBJECT:
            return self._page(request, form, is_missing=True)
        code = self._codes.give(
            subject,
            redirect_uri=form["redirect_uri"],
            challenge=form["code_challenge"],
            nonce=form.get("nonce") or None,
        )
        return self._back(form, code=code)

    def _refusal(self, asked: Mapping[str, str]) -> Response | None:
        """RFC 6749 section 4.1.2.1: to an unknown client or address nothing is ever sent."""
        if (asked.get("client_id"), asked.get("redirect_uri")) != (
            self._settings.oidc_client_id,
            self._settings.redirect_uri,
        ):
            return JSONResponse({"error": "invalid_request", "error_description": "unknown client or address"}, 400)
        if asked.get("response_type") != "code":
            return self._back(asked, error="unsupported_response_type")
        if "openid" not in asked.get("scope", "").split():
            return self._back(asked, error="invalid_scope")
        if not asked.get("code_challenge") or asked.get("code_challenge_method") != "S256":
            return self._back(asked, error="invalid_request")
        return None

    def _back(self, asked: Mapping[str, str], **result: str) -> Response:
        answer = {**result, "iss": self._settings.issuer}
        if "state" in asked:
            answer["state"] = asked["state"]
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", 303)

    def _page(self, request: Request, asked: Mapping[str, str], *, is_missing: bool = False) -> Response:
        language = choose_language(request, None)
        query = asked.get("q", "")[:100]
        people, found = self._people.find(query)
        carried = {name: asked[name] for name in _CARRIED if name in asked}
        html = self._web.html(
            "choose.html", language, people=people, found=found, query=query, carried=carried, is_missing=is_missing,
            navigation=[], current=None, signed_in_name=None,
            language_links=[
                (other, "?" + urlencode({**carried, "lang": other})) for other in ("sv", "en") if other != language
            ],
        )  # fmt: skip
        return HTMLResponse(html, 422 if is_missing else 200)

    async def token(self, request: Request) -> Response:
        """RFC 6749 section 4.1.3; and, since this is no production, a token for anybody without a browser."""
        form = {name: str(value) for name, value in (await request.form()).items()}
        if form.get("grant_type") == DEV_GRANT:
            if not form.get("sub"):
                return _token_error("invalid_request")
            return _tokens(self._signer.access_token(form["sub"]))
        if form.get("grant_type") != "authorization_code":
            return _token_error("unsupported_grant_type")
        if not self._is_client(request, form):
            return _token_error("invalid_client", 401)
        grant = self._codes.redeem(
            form.get("code", ""), redirect_uri=form.get("redirect_uri", ""), verifier=form.get("code_verifier", "")
        )
        if grant is None:
            return _token_error("invalid_grant")
        id_token = self._signer.id_token(grant.subject, self._people.name_of(grant.subject), grant.nonce)
        return _tokens(self._signer.access_token(grant.subject), id_token=id_token)

    def _is_client(self, request: Request, form: Mapping[str, str]) -> bool:
        client_id, secret = _basic(request.headers.get("authorization", ""))
        if client_id is None:
            client_id, secret = form.get("client_id"), form.get("client_secret")
        expected = self._settings.oidc_client_secret
        return client_id == self._settings.oidc_client_id and (
            expected is None or secrets.compare_digest((secret or "").encode(), expected.get_secret_value().encode())
        )

    async def logout(self, request: Request) -> Response:
        """There is no session here to end; back to where the portal wants the person, if that is the portal."""
        goal = request.query_params.get("post_logout_redirect_uri", "")
        origin = self._settings.public_url.rstrip("/")
        return RedirectResponse(goal if goal == origin or goal.startswith(f"{origin}/") else f"{origin}/", 303)


def _basic(header: str) -> tuple[str | None, str | None]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None, None
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", None
    return unquote(client_id), unquote(secret)


def _tokens(access_token: str, **more: str) -> Response:
    answer = {"access_token": access_token, "token_type": "Bearer", "expires_in": ACCESS_SECONDS, **more}
    return JSONResponse(answer)


def _token_error(error: str, status: int = 400) -> Response:
    return JSONResponse({"error": error}, status)
