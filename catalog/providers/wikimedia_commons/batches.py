"""MediaWiki's continuation: a batch of files, asked about in as many answers as it takes.

A request names a set of files (the generator) and what to tell about them (the properties). An answer says
whether the batch is complete; its `continue` is what to send next.
https://www.mediawiki.org/wiki/API:Continue
"""

from collections.abc import Callable
from typing import Any

from catalog.core.errors import UnexpectedAnswer
from catalog.ingestion.answers import has, seen, values_at
from catalog.provider_api import Client, Cursor, Fatal, Page, Paginator, Params, dig

ENDPOINT = "https://commons.wikimedia.org/w/api.php"
MAX_ANSWERS = 100  # of one batch, before it is asked for without the property that keeps it open
_GENERATOR = frozenset(("continue", "gaicontinue"))  # keys of `continue` that are about no property
Files = dict[str, dict[str, Any]]  # what was told about each file, by the identifier of its page


class Batches(Paginator):
    """A batch of files a page.

    The cursor is MediaWiki's own `continue` object, which makes the request with the original parameters;
    nothing of an older one is sent again.
    """

    own_params = ("continue", "gaicontinue", "gucontinue", "iicontinue")

    def start(self, params: Params) -> Cursor:
        return {"continue": {key: params[key] for key in self.own_params if key in params}}

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        """The batch at the cursor, whole. A batch can hold no files and still name the next one.

        Raises:
            UnexpectedAnswer: The batch does not become complete.
            Beyond that, what the client raises.
        """
        files: Files = {}
        asked, token, answers = dict(params), dict(cursor["continue"]), 0
        while True:
            body = client.get_json(ENDPOINT, {**asked, **token}, check=_checked(files, token))
            merge(files, dig(body, "query", "pages") or {})
            following, answers = dig(body, "continue") or {}, answers + 1
            if "batchcomplete" in body or not (files or following.keys() - _GENERATOR):
                return Page(list(files.values()), {"continue": following} if following else None)
            token = following
            if answers >= MAX_ANSWERS:
                asked, token, answers = _less(asked, following), dict(cursor["continue"]), 0
                _forget_usage(files)


def merge(files: Files, more: Files) -> None:
    """Add what an answer tells about the files of the batch: lists of usage grow, all else is replaced."""
    for page_id, page in more.items():
        known = files.setdefault(page_id, {})
        usage = [*known.get("globalusage", ()), *page.get("globalusage", ())]
        known.update(page)
        if usage:
            known["globalusage"] = usage


def check(body: Any) -> None:
    """Raise when an answer is none of MediaWiki's, whatever it is about.

    Raises:
        Fatal: MediaWiki does not know a parameter or a value, and has answered without it.
        UnexpectedAnswer: The answer lacks what each one has, or holds it in another form.
    """
    for text in _warnings(body):
        if "nrecognized" in text:
            raise Fatal(f"MediaWiki left out a part of the question: {text[:300]}")
    if not any(has(body, key) for key in ("query", "continue", "batchcomplete")):
        raise UnexpectedAnswer(f"neither `query` nor `continue` nor `batchcomplete` is there; {seen(body)}")
    for page in values_at(body, "query.pages").values() if has(body, "query") else ():
        if not isinstance(page, dict):
            raise UnexpectedAnswer("a page of `query.pages` is not an object")
        if not all(isinstance(page.get(key, []), list) for key in ("imageinfo", "globalusage")):
            raise UnexpectedAnswer("`imageinfo` or `globalusage` of a page is not a list")
    if has(body, "continue"):
        token = values_at(body, "continue")
        if not token or not all(isinstance(value, str | int) for value in token.values()):
            raise UnexpectedAnswer("`continue` does not say how to go on")


def _checked(files: Files, token: dict[str, Any]) -> Callable[[Any], None]:
    """The check of an answer to a request with this token; files: what of the batch is known already."""

    def checked(body: Any) -> None:
        check(body)
        known = [*files.values(), *(dig(body, "query", "pages") or {}).values()]
        following = dig(body, "continue") or {}
        if "batchcomplete" in body:
            if known and not any(page.get("imageinfo") for page in known):
                raise UnexpectedAnswer(f"the batch has {len(known)} files, but no `imageinfo` of any")
            if not known and not following and token.get("gaicontinue"):
                raise UnexpectedAnswer(f"no file came, but {token['gaicontinue']} should be the next one")
        elif not following:
            raise UnexpectedAnswer(f"the batch is not complete, and nothing says how to go on; {seen(body)}")
        elif known and _next_batch(token, following):
            raise UnexpectedAnswer("the answer goes on to the next batch, but this one is not complete")

    return checked


def _next_batch(token: dict[str, Any], following: dict[str, Any]) -> bool:
    """Whether `following` is about other files than `token`, or about no property of the same ones."""
    at, then = token.get("gaicontinue"), following.get("gaicontinue")
    return not following.keys() - _GENERATOR or (at is not None and then is not None and at != then)


def _less(asked: dict[str, Any], following: dict[str, Any]) -> dict[str, Any]:
    """The parameters without what keeps the batch open. Raises UnexpectedAnswer when nothing known does."""
    less = dict(asked)
    if "gucontinue" in following:
        less["prop"] = "imageinfo"
    if "iicontinue" in following:
        less["iiprop"] = str(less.get("iiprop", "")).replace("|metadata", "")
    if less == asked:
        raise UnexpectedAnswer(
            f"a batch is not complete after {MAX_ANSWERS} answers; it goes on at {following}"
        )
    return less


def _forget_usage(files: Files) -> None:
    """Keep the number of usages counted so far; the batch is about to be asked for from its beginning."""
    for file in files.values():
        counted = len(file.pop("globalusage", ()))
        file["usage_so_far"] = max(counted, file.get("usage_so_far", 0))


def _warnings(body: Any) -> list[str]:
    """Texts of `warnings`: an object by module, each with its text under `*`."""
    warnings = dig(body, "warnings")
    if not isinstance(warnings, dict):
        return []
    return [f"{module}: {dig(warning, '*') or warning}" for module, warning in warnings.items()]
