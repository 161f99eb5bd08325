"""/docs: the interactive API reference. Its scripts are served from this process."""

from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles

FOLDER = Path(fastapi_offline.__file__).parent / "static"
FILES = "/docs/files"


def add_reference_pages(app: FastAPI) -> None:
    app.mount(FILES, StaticFiles(directory=FOLDER))
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def read() -> Response:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=app.title,
            swagger_js_url=f"{FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{FILES}/swagger-ui.css",
            swagger_favicon_url=f"{FILES}/favicon.png",
        )

    app.include_router(router)
