"""The application: who may see it, and the routes of all pages."""

from pathlib import Path
from urllib.parse import quote

from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from catalog.plugins.airflow_address import base_url
from catalog.plugins.dashboard import explore, health, providers, refresh, runbook
from catalog.plugins.dashboard.rendering import Page

HEADINGS = {
    403: "You may not see this",
    404: "There is no such page",
    422: "Something in the address is wrong",
    503: "This page cannot be made now",
}
# A user must be logged in and may read DAGs; pages show only runs of DAGs that the user may read.
app = FastAPI(
    dependencies=[Depends(requires_access_dag("GET"))], docs_url=None, redoc_url=None, openapi_url=None
)
for pages in (health, providers, explore, refresh, runbook):
    app.include_router(pages.router)
app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))


@app.exception_handler(HTTPException)
async def refuse(request: Request, problem: HTTPException) -> Response:
    """Redirect browsers without login to the login page and back; show them other problems as a page.

    Airflow's own route redirects to the page of its auth manager. URLs start with Airflow's public base URL.
    """
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"detail": problem.detail}, problem.status_code)
    if problem.status_code == 401:
        base = base_url()
        shown = request.url.path.removeprefix(request.scope.get("root_path", ""))
        query = f"?{request.url.query}" if request.url.query else ""
        back = quote(f"{base}/catalog{shown}{query}", safe="")
        return RedirectResponse(f"{base}/api/v2/auth/login?next={back}", 302)
    return _problem(problem.status_code, str(problem.detail))


@app.exception_handler(RequestValidationError)
async def explain(request: Request, problem: RequestValidationError) -> Response:
    """Name the parameters of an address that are wrong."""
    wrong = "; ".join(f"{error['loc'][-1]}: {error['msg']}" for error in problem.errors())
    return await refuse(request, HTTPException(422, wrong))


@app.exception_handler(Exception)
async def internal_error(request: Request, error: Exception) -> Response:
    """Say that a page could not be made; the server logs the error."""
    return _problem(500, f"{type(error).__name__}. The log of Airflow's API server has the details.")


def _problem(status: int, text: str) -> Response:
    heading = HEADINGS.get(status, "This page could not be rendered")
    return Page().render("problem.html", status, heading=heading, text=text, log_in=status == 403)
