"""Client for the parts of GitHub's REST API that the catalog uses (https://docs.github.com/en/rest)."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import requests

from catalog.core.errors import Fatal, Retry, UnexpectedResponse
from catalog.core.jsontypes import Json, JsonObject
from catalog.core.secrets import Secret
from catalog.core.setting_values import GITHUB_API
from catalog.core.settings import GITHUB_API_KEY, GITHUB_API_URL
from catalog.ingestion.library_errors import is_unsent
from catalog.ingestion.retries import retry_after
from catalog.ingestion.sessions import KeyedSession

TIMEOUT = 30  # seconds
UNTIL_RESET = 60.0  # seconds to wait if GitHub limits the rate and names no time


class GitHub:
    """A client of GitHub's REST API.

    Args:
        token: Access token; without one, only public data can be read.
        base: Address of the API; differs for an enterprise server.
        clock: Returns the current Unix time, in seconds.
    """

    def __init__(
        self, token: Secret | None = None, base: str = GITHUB_API, clock: Callable[[], float] = time.time
    ) -> None:
        self._base, self._session, self._clock = base.rstrip("/"), KeyedSession(), clock
        self._session.headers.update({"Accept": "application/vnd.github+json", "User-Agent": "media-catalog"})
        if token:
            self._session.headers["Authorization"] = f"Bearer {token.reveal()}"

    def call(self, method: str, path: str, **options: Any) -> Json:
        """Send a request and return the decoded response.

        Args:
            method: HTTP method.
            path: Path below the API's address, such as `repos/owner/name/issues/1`.
            **options: Further arguments of `requests.Session.request`.

        Returns:
            The decoded JSON; None if the response has no body.

        Raises:
            Retry: GitHub is unreachable, answers with a server error, or limits the rate; with `retry_after`
                in seconds if GitHub names a time.
            Missing: The resource does not exist, or the token cannot read it.
            UnexpectedResponse: The body is not JSON.
            Fatal: Any other error.
        """
        return self._request(method, f"{self._base}/{path.lstrip('/')}", **options)[0]

    def pages(self, path: str, **params: str) -> list[Json]:
        """Return the items of all pages of a list.

        Args:
            path: Path below the API's address.
            **params: Query parameters.

        Raises:
            UnexpectedResponse: A page is not a list, or leads back to one that was read.
            CatalogError: As for `call`.
        """
        found, asked = list[Json](), set[str]()
        url: str | None = f"{self._base}/{path.lstrip('/')}"
        options: JsonObject = {"params": {"per_page": 100, **params}}
        while url:
            if url in asked:
                raise UnexpectedResponse(f"GitHub's pages of {path} lead back to one that was read.")
            asked.add(url)
            items, url = self._request("GET", url, **options)
            if not isinstance(items, list):
                raise UnexpectedResponse(f"GitHub's answer to GET {path} is not a list.")
            found += items
            options = {}  # the link to the next page includes the parameters
        return found

    def dispatch(self, repository: str, workflow: str, inputs: dict[str, str], ref: str = "main") -> None:
        """Start a run of a workflow. Each request that GitHub accepts starts another one.

        Args:
            repository: `owner/name`.
            workflow: File name of the workflow.
            inputs: Inputs of the workflow.
            ref: Branch or tag whose version of the workflow runs.

        Raises:
            Retry: There is no run: GitHub is unreachable, or limits the rate.
            Fatal: The request is refused, or nobody knows whether there is a run: GitHub does not answer, or
                answers with a server error.
        """
        path = f"{self._base}/repos/{repository}/actions/workflows/{workflow}/dispatches"
        try:
            self._request("POST", path, json={"ref": ref, "inputs": inputs})
        except Unclear as error:
            raise Fatal(
                f"{error}. It may have started the workflow all the same: look at the runs of {workflow} in "
                f"{repository}, and clear this task only if there is none."
            ) from None

    def newest_tag(self, owner: str, package: str) -> str:
        """Return a tag of the newest tagged version of a container package, other than `latest`.

        GitHub documents no order of the list, so the time at which a version was created decides.

        Raises:
            Fatal: No version has such a tag.
            UnexpectedResponse: A version with such a tag does not say when it was created.
            CatalogError: As for `call`.
        """
        tagged: dict[datetime, str] = {}
        for version in self.pages(f"orgs/{owner}/packages/container/{package}/versions"):
            if wanted := [tag for tag in _tags(version) if tag != "latest"]:
                try:
                    created = datetime.fromisoformat(version["created_at"]).astimezone(UTC)
                except (KeyError, TypeError, ValueError):
                    text = f"GitHub does not say when version {wanted[0]} of {owner}/{package} was created."
                    raise UnexpectedResponse(text) from None
                tagged.setdefault(created, wanted[0])
        if not tagged:
            text = f"no version of the package {owner}/{package} has a tag besides `latest`; publish one."
            raise Fatal(text)
        return tagged[max(tagged)]

    @property
    def hosts(self) -> set[str]:
        """Hosts of the API and of its pages: `api.github.com` and `github.com`; one host of most servers."""
        host = urlsplit(self._base).hostname or ""
        return {host, host.removeprefix("api.")}

    def _request(self, method: str, url: str, **options: Any) -> tuple[Json, str | None]:
        """Return the decoded response and the URL of the next page."""
        if not url.startswith(f"{self._base}/"):  # the token goes to no other host
            raise Fatal("GitHub's answer leads to another host; not followed.")
        path = url.removeprefix(self._base).partition("?")[0]
        try:
            # A redirect may turn a write into a GET, whose answer would be taken for that of the write.
            answer = self._session.request(
                method, url, timeout=TIMEOUT, allow_redirects=method == "GET", **options
            )
        except requests.RequestException as error:
            kind = Retry if is_unsent(error) else Unclear
            raise kind(f"GitHub does not answer: {type(error).__name__}") from None
        text = f"GitHub answered {answer.status_code} to {method} {path}"
        if answer.status_code >= 500:
            raise Unclear(text, retry_after(answer.headers))
        if (wait := self._limited(answer)) is not None:
            raise Retry(text, wait)
        if answer.status_code in (404, 410):
            raise Missing(path)
        if not 200 <= answer.status_code < 300:
            raise Fatal(text + _remedy(answer))
        try:
            found = answer.json() if answer.content else None
        except ValueError:
            raise UnexpectedResponse(f"GitHub's answer to {method} {path} is not JSON.") from None
        return found, answer.links.get("next", {}).get("url")

    def _limited(self, answer: requests.Response) -> float | None:
        """Return the seconds to wait if GitHub limits the rate; None if it does not.

        See "Exceeding the rate limit" in GitHub's documentation: the primary limit names the time when it is
        reset, the secondary one a wait or nothing.
        """
        if answer.status_code not in (403, 429):
            return None
        headers = answer.headers
        if (wait := retry_after(headers)) is not None:
            return wait
        if headers.get("x-ratelimit-remaining") == "0":
            reset = headers.get("x-ratelimit-reset", "")
            return max(float(reset) - self._clock(), 0.0) + 1 if reset.isdecimal() else UNTIL_RESET
        is_secondary = answer.status_code == 429 or b"rate limit" in answer.content.lower()
        return UNTIL_RESET if is_secondary else None


class Unclear(Retry):
    """GitHub has perhaps done what it was asked to do."""


class Missing(Fatal):
    """A resource that does not exist, or that the token cannot read; GitHub answers 404 to both.

    A deleted issue is 410.
    """

    def __init__(self, path: str) -> None:
        super().__init__(f"GitHub knows no {path}, or the token may not see it.")


def _remedy(answer: requests.Response) -> str:
    """Return what to do about a refusal that concerns the token; "" for others."""
    if 300 <= answer.status_code < 400:
        return (
            f": the address of the API leads elsewhere; correct it ({GITHUB_API_URL.name}, or STAGING_DEPLOY)"
        )
    if answer.status_code == 401:
        return f": {GITHUB_API_KEY.name} is wrong, or has expired; give it a new token"
    if answer.status_code == 403:
        # Of fine-grained tokens; several alternatives are separated by semicolons.
        needed = answer.headers.get("x-accepted-github-permissions", "")
        named = f" (it needs {needed})" if needed else ""
        return f": {GITHUB_API_KEY.name} is missing, or lacks a right{named}; see the DAG in DAGs.md"
    return ""


def _tags(version: Json) -> list[str]:
    """Return the tags of a version of a package; a version may have none."""
    try:
        tags = version["metadata"]["container"]["tags"]
    except (KeyError, TypeError):
        return []
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
