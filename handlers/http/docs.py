"""The contracts to read: `/docs`, `/openapi.json`, `/asyncapi`, `/asyncapi.json`. Nothing is loaded from elsewhere.

The viewers' scripts come from the packages `fastapi-offline` (Swagger UI) and `asyncapi-viewer`, of which only these
files are used. They are third-party code, so both pages are sandboxed: they have an opaque origin, and with it neither
cookies nor storage nor an answer of the API. What they load is shared with every origin instead; it is public.
"""

import json
from collections.abc import Callable
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse

_SWAGGER = Path(str(distribution("fastapi-offline").locate_file("fastapi_offline/static")))
_ASYNCAPI = Path(str(distribution("asyncapi-viewer").locate_file("asyncapi_viewer/static")))

_FILES = {
    "swagger-ui.js": (_SWAGGER / "swagger-ui-bundle.js", "text/javascript"),
    "swagger-ui.css": (_SWAGGER / "swagger-ui.css", "text/css"),
    "asyncapi-viewer.js": (_ASYNCAPI / "asyncapi-viewer.iife.js", "text/javascript"),
}
_TEXTS = {
    "docs.js": (
        # nothing could be sent from a sandboxed page, so it has no "Try it out"
        (
            'SwaggerUIBundle({url: "openapi.json", dom_id: "#contract", deepLinking: true, validatorUrl: null, '
            "supportedSubmitMethods: []});\n"
        ),
        "text/javascript",
    ),
    "page.css": ("body { margin: 0; }\n", "text/css"),
    "favicon.svg": (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 2 2"><circle cx="1" cy="1" r="1" fill="#266"/></svg>\n',
        "image/svg+xml",
    ),
}
# the two ways in which a page of another origin may have something: loaded as a part, and read by its scripts
_ASSET = {"Cross-Origin-Resource-Policy": "cross-origin", "Cache-Control": "public, max-age=86400"}
_DOCUMENT = {"Access-Control-Allow-Origin": "*"}
# Swagger UI draws with inline styles and images in data: addresses
_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def contract_routes(openapi: Callable[[], dict[str, Any]], asyncapi: Callable[[], dict[str, Any]]) -> APIRouter:
    """The routes of the contracts.

    Args:
        openapi: returns the OpenAPI document; called once, at the first request.
        asyncapi: returns the AsyncAPI document; called once, at the first request.
    """
    router = APIRouter(include_in_schema=False)

    @cache
    def openapi_text(prefix: str) -> str:
        # behind a prefix that the server knows of, the paths begin there
        servers = {"servers": [{"url": prefix}]} if prefix else {}
        return json.dumps(openapi() | servers)

    @cache
    def asyncapi_text() -> str:
        return json.dumps(asyncapi())

    @router.get("/docs")
    async def docs() -> HTMLResponse:
        return _page("The HTTP contract", '<div id="contract"></div>', ["swagger-ui.js", "docs.js"], ["swagger-ui.css"])

    @router.get("/asyncapi")
    async def asyncapi_page() -> HTMLResponse:
        viewer = '<asyncapi-viewer src="asyncapi.json" sidebar></asyncapi-viewer>'
        return _page("The contract of the bus", viewer, ["asyncapi-viewer.js"], [])

    @router.get("/asyncapi.json")
    async def asyncapi_document() -> Response:
        return Response(asyncapi_text(), media_type="application/json", headers=_DOCUMENT)

    @router.get("/openapi.json")
    async def openapi_document(request: Request) -> Response:
        # behind a prefix, clients have to know it
        return Response(
            openapi_text(request.scope.get("root_path", "").rstrip("/")),
            media_type="application/json",
            headers=_DOCUMENT,
        )

    @router.get("/assets/{name}")
    async def asset(name: str) -> Response:
        if name in _FILES:
            path, media_type = _FILES[name]
            return FileResponse(path, media_type=media_type, headers=_ASSET)
        if name in _TEXTS:
            text, media_type = _TEXTS[name]
            return Response(text, media_type=media_type, headers=_ASSET)
        raise HTTPException(404)

    return router


def _page(title: str, body: str, scripts: list[str], styles: list[str]) -> HTMLResponse:
    """A page that loads its parts from `/assets`; the addresses are relative, so that it works behind a prefix."""
    links = "".join(f'<link rel="stylesheet" href="assets/{name}">' for name in [*styles, "page.css"])
    # deferred: they run in their order when the page is there
    loads = "".join(f'<script defer src="assets/{name}"></script>' for name in scripts)
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title} - Order service</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="assets/favicon.svg">{links}{loads}</head><body>{body}</body></html>'
    )
    return HTMLResponse(html, headers={"Content-Security-Policy": _POLICY})
