"""MediaWiki's continuation: reads a batch of files in as many responses as it takes.

A request names a set of files (the generator) and the data to return (the properties). A response says
whether the batch is complete; its `continue` holds the parameters of the next request.
https://www.mediawiki.org/wiki/API:Continue
"""

from functools import partial

from catalog.provider_api import (
    Check,
    Client,
    Cursor,
    Fatal,
    Json,
    JsonObject,
    Page,
    Paginator,
    Params,
    UnexpectedResponse,
    describe,
    dig,
    has,
    once_more,
    values_at,
)

ENDPOINT = "https://commons.wikimedia.org/w/api.php"
MAX_RESPONSES = 100  # per batch, before it is requested again without the property that keeps it open
MANY = 500  # uses of a file, from which further ones hardly change its popularity
_GENERATOR = frozenset(("continue", "gaicontinue"))  # keys of `continue` that belong to no property
Files = dict[str, JsonObject]  # data of each file, by page id


class Batches(Paginator):
    """Pages that are one batch of files each.

    The cursor is MediaWiki's `continue` object. It is sent with the original parameters, without values of
    earlier `continue` objects. No total is announced, so the response that ends the last batch is requested
    twice: its `continue` may be missing by mistake.
    """

    url = ENDPOINT
    own_params = ("continue", "gaicontinue", "gucontinue", "iicontinue")

    def start(self, params: Params) -> Cursor:
        return {"continue": {key: params[key] for key in self.own_params if key in params}}

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        """Read the complete batch at the cursor; a batch without files can still name the next one.

        Args:
            client: Sends the requests.
            cursor: The `continue` object.
            params: The original parameters.

        Raises:
            UnexpectedResponse: The batch does not become complete.
        """
        files: Files = {}
        once: Files = {}  # of responses that were requested again, whose repetitions may hold less
        asked, token, responses = dict(params), dict(cursor["continue"]), 0
        while True:
            sent, checked = {**asked, **token}, _checked(files, token, asked)
            ask = partial(client.get_json, ENDPOINT, sent, check=checked)
            body = ask()
            if "continue" not in body and (again := once_more(ask)):
                once, body = joined(once, dig(body, "query", "pages") or {}), again
            merge(files, dig(body, "query", "pages") or {})
            following, responses = dig(body, "continue") or {}, responses + 1
            if "batchcomplete" in body or not (files or following.keys() - _GENERATOR):
                found = joined(once, files).values()
                return Page(list(found), {"continue": following} if following else None)
            token = following
            if responses >= MAX_RESPONSES:
                asked, token, responses = _less(asked, following), dict(cursor["continue"]), 0
                _forget_usage(files, dig(body, "query", "pages") or {})


def merge(files: Files, more: Files) -> None:
    """Merge the data of another response: lists of usage are extended, everything else is replaced."""
    for page_id, page in more.items():
        known = files.setdefault(page_id, {})
        usage = [*known.get("globalusage", ()), *page.get("globalusage", ())]
        known.update(page)
        if usage:
            known["globalusage"] = usage


def joined(files: Files, more: Files) -> Files:
    """Return the data of two responses to the same request; where both have some, those of the second."""
    return files | {page_id: files.get(page_id, {}) | page for page_id, page in more.items()}


def check(body: Json) -> None:
    """Check the parts that every response of MediaWiki has.

    Raises:
        Fatal: MediaWiki does not know a parameter or value, and has ignored it.
        UnexpectedResponse: A part is missing or malformed.
    """
    for text in _warnings(body):
        if "nrecognized" in text:
            raise Fatal(f"MediaWiki ignored a part of the request: {text[:300]}")
    if not any(has(body, key) for key in ("query", "continue", "batchcomplete")):
        raise UnexpectedResponse(
            f"neither `query` nor `continue` nor `batchcomplete` is there; {describe(body)}"
        )
    for page in values_at(body, "query.pages").values() if has(body, "query") else ():
        if not isinstance(page, dict):
            raise UnexpectedResponse("a page of `query.pages` is not an object")
        if not all(isinstance(page.get(key, []), list) for key in ("imageinfo", "globalusage")):
            raise UnexpectedResponse("`imageinfo` or `globalusage` of a page is not a list")
    if has(body, "continue"):
        token = values_at(body, "continue")
        if not token or not all(isinstance(value, str | int) for value in token.values()):
            raise UnexpectedResponse("`continue` does not say how to continue")


def _checked(files: Files, token: JsonObject, asked: Params) -> Check:
    """Build the check of a response.

    Args:
        files: The data of the batch that were read before.
        token: The `continue` object of the request.
        asked: The other parameters of the request.
    """
    properties = str(asked.get("prop", "")).split("|")

    def checked(body: Json) -> None:
        check(body)
        known = [*files.values(), *(dig(body, "query", "pages") or {}).values()]
        following = dig(body, "continue") or {}
        if "batchcomplete" in body:
            if known and not any(page.get("imageinfo") for page in known):
                raise UnexpectedResponse(f"the batch has {len(known)} files, but no `imageinfo` of any")
            if known and "globalusage" in properties and not any("globalusage" in page for page in known):
                raise UnexpectedResponse(f"the batch has {len(known)} files, but no `globalusage` of any")
            if not known and not following and token.get("gaicontinue"):
                raise UnexpectedResponse(f"no file came, but {token['gaicontinue']} should be the next one")
        elif not following:
            raise UnexpectedResponse(
                f"the batch is not complete, and nothing says how to continue; {describe(body)}"
            )
        elif known and _next_batch(token, following):
            raise UnexpectedResponse(
                "the response continues with the next batch, but this one is not complete"
            )

    return checked


def _next_batch(token: JsonObject, following: JsonObject) -> bool:
    """Return whether `following` leads to other files than `token`, or continues no property."""
    at, then = token.get("gaicontinue"), following.get("gaicontinue")
    return not following.keys() - _GENERATOR or (at is not None and then is not None and at != then)


def _less(asked: JsonObject, following: JsonObject) -> JsonObject:
    """Remove the property that keeps a batch open. Raises UnexpectedResponse if it cannot be determined."""
    less = dict(asked)
    if "gucontinue" in following:
        less["prop"] = "imageinfo"
    if "iicontinue" in following:
        less["iiprop"] = str(less.get("iiprop", "")).replace("|metadata", "")
    if less == asked:
        raise UnexpectedResponse(
            f"a batch is not complete after {MAX_RESPONSES} responses; it continues at {following}"
        )
    return less


def _forget_usage(files: Files, last: Files) -> None:
    """Replace the lists of usage by the lengths that are known, before the batch is requested again.

    MediaWiki lists the usage of one file after the other. A file without any so far may not have been
    reached, and the list of one in the last response may go on.

    Args:
        files: The data of the batch.
        last: What the last response has of them.
    """
    for page_id, file in files.items():
        counted, goes_on = len(file.pop("globalusage", ())), bool(dig(last, page_id, "globalusage"))
        if counted and (counted >= MANY or not goes_on):
            file["usage_so_far"] = max(counted, file.get("usage_so_far", 0))


def _warnings(body: Json) -> list[str]:
    """Return the messages of `warnings`, an object of modules with the message under `*`."""
    warnings = dig(body, "warnings")
    if not isinstance(warnings, dict):
        return []
    return [f"{module}: {dig(warning, '*') or warning}" for module, warning in warnings.items()]
