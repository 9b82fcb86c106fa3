"""What the page of a phone loads beside itself: what it computes with, and the authority that it may trust."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from cutlayer.errors import CutlayerError
from cutlayer.live.runtime import Runtime
from cutlayer.live.trust import AUTHORITY

_TYPES = {".mjs": "text/javascript", ".wasm": "application/wasm"}


def routes() -> list[Route]:
    """The routes of what a phone loads; `app.state` has `runtime`, and `authority`, which may be None."""
    return [Route("/runtime/{name}", _runtime), Route(f"/{AUTHORITY}", _authority)]


async def _runtime(request: Request) -> Response:
    """A file of the runtime, packed for those who take it so, and not again for those who have it."""
    runtime: Runtime = request.app.state.runtime
    name = request.path_params["name"]
    packed = "gzip" in request.headers.get("accept-encoding", "")
    try:
        found = await run_in_threadpool(runtime.file, name, packed)
    except CutlayerError as error:
        return PlainTextResponse(f"{error}\n", 503)
    if found is None:
        return PlainTextResponse("There is no such file.\n", 404)
    path, digest = found
    # One file, one tag for each of its two forms.
    headers = {"ETag": f'"{digest}{"-gzip" * packed}"', "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if packed:
        headers["Content-Encoding"] = "gzip"
    return FileResponse(path, media_type=_TYPES[path.suffixes[-2 if packed else -1]], headers=headers)


async def _authority(request: Request) -> Response:
    """The certificate of the authority, as phones take it."""
    authority: bytes | None = request.app.state.authority
    if authority is None:
        return PlainTextResponse("This room has no authority of its own; `cutlayer certs init` makes one.\n", 404)
    headers = {"Content-Disposition": f'attachment; filename="cutlayer-{AUTHORITY}"'}
    return Response(authority, media_type="application/x-x509-ca-cert", headers=headers)
