"""Text out of the HTML that providers put into descriptions and names."""

from lxml import html as lxml_html
from lxml.etree import ParserError

_PARSER = lxml_html.HTMLParser(no_network=True, remove_comments=True, remove_pis=True)


def _tree(markup: str) -> lxml_html.HtmlElement | None:
    try:
        return lxml_html.document_fromstring(
            markup.encode("utf-8", "ignore").decode().replace("\0", ""), parser=_PARSER
        )
    except (ParserError, ValueError):
        return None


def text_of(markup: object, between: str = " ") -> str | None:
    """The text nodes, trimmed and joined by `between`; None when there is no text, or `markup` is none."""
    if not isinstance(markup, str) or not markup:
        return None
    if "<" not in markup and "&" not in markup:
        return markup.strip() or None
    tree = _tree(markup)
    if tree is None:
        return None
    nodes = [text for node in tree.itertext() if (text := node.strip() if between else node)]
    return between.join(nodes).strip() or None


def links(markup: object) -> list[str]:
    """The addresses of all links, in order."""
    if not isinstance(markup, str) or "href" not in markup.lower():
        return []
    tree = _tree(markup)
    return [str(a.get("href")) for a in tree.iter("a") if a.get("href")] if tree is not None else []


def first_link(markup: object) -> str | None:
    """The address of the first link, or None."""
    return next(iter(links(markup)), None)
