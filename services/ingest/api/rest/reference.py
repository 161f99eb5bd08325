"""/docs: the interactive API reference, and its document, in the brand of the request's host. The
scripts are served from this process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import APIRouter, FastAPI, Response
from fastapi import Request as Incoming
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles

from kernel.brand import Brand
from services.ingest.api.rest_base import json_response, request_of

FOLDER = Path(fastapi_offline.__file__).parent / "static"
FILES = "/docs/files"
OPENAPI = "/openapi.json"


def add_reference_pages(app: FastAPI, document: Callable[[Brand], dict[str, Any]]) -> None:
    app.mount(FILES, StaticFiles(directory=FOLDER))
    router = APIRouter(include_in_schema=False)

    @router.get(OPENAPI)
    async def read_document(incoming: Incoming) -> Response:
        return json_response(document(request_of(incoming).brand))

    @router.get("/docs")
    async def read_page(incoming: Incoming) -> Response:
        return get_swagger_ui_html(
            openapi_url=OPENAPI,
            title=request_of(incoming).brand.name,
            swagger_js_url=f"{FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{FILES}/swagger-ui.css",
            swagger_favicon_url=f"{FILES}/favicon.png",
        )

    app.include_router(router)
