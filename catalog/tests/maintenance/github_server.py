"""A server with the parts of GitHub's REST API that the catalog uses; tests set its state and read it."""

import re
from typing import Any
from urllib.parse import urlencode

import orjson
from werkzeug import Request, Response

PER_PAGE = 2  # whatever a client asks for, so that lists come in pages


class FakeGitHub:
    """The state of the server.

    Attributes:
        issues: State of an issue by repository (`owner/name`) and number.
        pulls: Pull requests by repository.
        events: Events by the number of the pull request.
        reviews: Reviews by the number of the pull request.
        comments: Comments by the number of the pull request; requests add and delete them.
        protection: Number of approvals that a branch requires; None if it requires none.
        calls: Method and path of each request.
        asked: Query of the last request for pull requests.
        account: The account of the token.
    """

    def __init__(self) -> None:
        self.issues: dict[tuple[str, int], str] = {}
        self.pulls: dict[str, list[dict[str, Any]]] = {}
        self.events: dict[int, list[dict[str, Any]]] = {}
        self.reviews: dict[int, list[dict[str, Any]]] = {}
        self.comments: dict[int, list[dict[str, Any]]] = {}
        self.protection: dict[str, int | None] = {"main": 1}
        self.calls: list[tuple[str, str]] = []
        self.asked: dict[str, str] = {}
        self.account = "the-bot"

    def __call__(self, request: Request) -> Response:
        self.calls.append((request.method, request.path))
        for pattern, answer in (
            (r"/repos/([^/]+/[^/]+)/issues/(\d+)$", self._issue),
            (r"/repos/([^/]+/[^/]+)/pulls$", self._pulls),
            (r"/repos/[^/]+/[^/]+/(?:issues|pulls)/(\d+)/(events|reviews|comments)$", self._list),
            (r"/repos/[^/]+/[^/]+/issues/comments/(\d+)$", self._delete),
            (r"/repos/[^/]+/[^/]+/branches/([^/]+)/protection$", self._protection),
            (r"/repos/[^/]+/[^/]+/branches/([^/]+)$", self._branch),
        ):
            if found := re.search(pattern, request.path):
                return answer(request, *found.groups())
        return Response("{}", 404)

    def _issue(self, _request: Request, repository: str, number: str) -> Response:
        state = self.issues.get((repository, int(number)))
        return json_response({"state": state}) if state else Response("{}", 404)

    def _pulls(self, request: Request, repository: str) -> Response:
        self.asked = dict(request.args)
        wanted = [
            p
            for p in self.pulls.get(repository, [])
            if p["base"]["ref"] == request.args.get("base", p["base"]["ref"])
        ]
        return _page(request, wanted)

    def _list(self, request: Request, number: str, what: str) -> Response:
        kept: list[dict[str, Any]] = getattr(self, what).setdefault(int(number), [])
        if request.method == "POST":
            made = {
                "id": 1000 + len(self.calls),
                "body": request.get_json()["body"],
                "user": {"login": self.account},
                "created_at": NOW,
            }
            kept.append(made)
            return json_response(made, 201)
        return _page(request, kept)

    def _delete(self, _request: Request, comment: str) -> Response:
        for kept in self.comments.values():
            kept[:] = [c for c in kept if c["id"] != int(comment)]
        return Response("", 204)

    def _branch(self, _request: Request, branch: str) -> Response:
        return json_response({"name": branch}) if branch == "main" else Response("{}", 404)

    def _protection(self, _request: Request, branch: str) -> Response:
        if branch not in self.protection:
            return Response("{}", 404)
        count = self.protection[branch]
        reviews = {"required_pull_request_reviews": {"required_approving_review_count": count}}
        return json_response({} if count is None else reviews)


NOW = "2024-03-15T00:00:05Z"


def json_response(value: Any, status: int = 200) -> Response:
    """Return a response with a JSON body."""
    return Response(orjson.dumps(value), status, content_type="application/json")


def _page(request: Request, items: list[dict[str, Any]]) -> Response:
    number = int(request.args.get("page", "1"))
    answer = json_response(items[PER_PAGE * (number - 1) : PER_PAGE * number])
    if len(items) > PER_PAGE * number:
        following = urlencode({**request.args, "page": number + 1})
        answer.headers["Link"] = f'<{request.base_url}?{following}>; rel="next"'
    return answer
