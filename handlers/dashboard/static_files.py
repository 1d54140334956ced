"""The pages' own style and scripts. Browsers ask each time whether their copy is still right: no release is mixed."""

from pathlib import Path

from fastapi import APIRouter, Request, Response

from handlers.http.conditional import digest

_FOLDER = Path(__file__).parent / "assets"
_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript"}


def asset_routes() -> APIRouter:
    """A route for each file; all of them are read once."""
    router = APIRouter(prefix="/assets", include_in_schema=False)
    for file in sorted(_FOLDER.iterdir()):
        _add(router, file)
    return router


def _add(router: APIRouter, file: Path) -> None:
    content, media_type = file.read_bytes(), _MEDIA_TYPES[file.suffix]
    etag = f'"{digest(content)}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}

    @router.get(f"/{file.name}")
    async def asset(request: Request) -> Response:
        if etag in request.headers.get("If-None-Match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)
