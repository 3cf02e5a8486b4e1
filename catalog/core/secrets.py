"""Secrets: how their names are recognized, values that print as ***, and their removal from messages."""

import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Iterator
from itertools import pairwise

from catalog.core import redaction
from catalog.core.named_values import is_ordinary, named_values

_MAX_READ = 1 << 20  # bytes of a body that an excerpt is taken from
_MAX_NAMED = 4_000  # characters of a secret after its name, such as a token

# `APIKey`, `apiKey` and `api_key` consist of the words `api` and `key`.
_WORD = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET_WORDS = frozenset(
    """
    apikey appkey authkey accesskey secretkey wskey apitoken accesstoken authtoken passphrase passcode pwd
    auth oauth authorization authentication credential credentials signature sig hmac bearer jwt clientid
    appid sessionid cookie cookies
    """.split()
)
_SECRET_ENDS = ("password", "passwd", "secret", "passwords", "secrets")  # `sslpassword`
_IDENTIFIED = frozenset("client app application session".split())  # before `id`
# `key` and `token` are secret, except in names such as `sort_key` and `nextPageToken`.
_HARMLESS = frozenset(
    """
    page next prev previous continuation resumption resume skip sync cursor sort order group primary foreign
    license such
    """.split()
)
# Names that end so are of something else, as `token_count`, `auth_type` and `KeyError`.
_HARMLESS_ENDS = frozenset(
    "count error exception warning violation type status url uri file path string expires expiry".split()
)

_QUERY = re.compile(r"\?[^\s\"')]*")
# Up to the last `@`, because a password may contain any character.
_USER_INFO = re.compile(
    r"""
    (?<=://)
    (?! user:password@ )              # an example
    (?! (?<=s3://) [\w-]+ @ )         # in an address of object storage, a connection of Airflow
    (?! (?: (?:[\w-]+\.)+ [\w-]+ | localhost ) (?: :\d+ )? [/?\#"'<>,)\]}|\s] )  # a host without user
    (?P<user_info> \S{0,2000} ) @
    """,
    re.VERBOSE,
)
# Secrets that are known by their form: private keys of PEM, OpenPGP and SSH, webhooks and tokens of Slack,
# user and password in an address without a scheme or as an argument of curl, tokens of GitHub, keys of Google
# and of AWS.
_FORMS = re.compile(
    r"""
    -{4,5} [ +]? BEGIN [\s+] (?:[A-Z0-9]+[\s+])* PRIVATE [\s+] KEY (?:[\s+]BLOCK)? [ +]? -{4,5}
        (?P<pem> .*? ) (?= -{4,5} [ +]? END | \Z )
    | (?i: hooks\.slack(?:-gov)?\.com ) (?: :\d+ )? / \w+ / (?P<webhook> [\w/+-]+ )
    | /services/ (?P<path> T[A-Z0-9]+ / B[A-Z0-9]+ / \w{8,} )
    | (?<!:) // (?! user:password@ ) (?P<login> [^\s/@:"'<>]{1,200} : [^\s/@"'<>]{1,200} ) @ (?=[\w\[])
    | (?<![\w-]) (?: -u | --(?:proxy-)?user ) (?:[ \t]|=) ["']? (?! \d+:\d+ (?![\w:]) )  # no numbers of users
        (?P<argument> [^\s:"']{1,200} : [^\s"']{1,2000} )
    | \b (?P<prefixed>
          xox[a-z]-[\w-]{10,} | xapp-[\w-]{10,} | gh[a-z]_\w{30,} | github_pat_\w{30,} | AIza[\w-]{30,}
          | A[KS]IA[A-Z0-9]{16}
      ) \b
    """,
    re.VERBOSE | re.DOTALL,
)
# JWT: `e` is `{` in Base64. The whole word is taken at once, because the time is to be linear.
_HEADER_BEGINS = r"\be[wy]"
_WEB_TOKEN = re.compile(
    rf"(?<![\w-])(?P<word>(?=[\w-]*?{_HEADER_BEGINS})[\w-]++)(?=(?P<rest>(?:\.[\w-]*+){{2,4}}))", re.ASCII
)
_MIN_KNOWN = 8  # characters; shorter passwords occur in words by chance


def is_secret(name: str) -> bool:
    """Return whether a parameter, header or setting is secret, judging by the words of its name.

    >>> [name for name in ("api_key", "X-Api-Key", "accessToken", "sig", "client_id") if not is_secret(name)]
    []
    >>> [name for name in ("keyword", "author", "monkey", "pageToken", "sort_key", "id") if is_secret(name)]
    []
    """
    words = [word.lower() for word in _WORD.findall(name)]
    if words and words[-1] in _HARMLESS_ENDS:
        return False
    if not _SECRET_WORDS.isdisjoint([*words, "".join(words)]):
        return True
    if any(word.endswith(_SECRET_ENDS) for word in words):
        return True
    if any(first in _IDENTIFIED and second == "id" for first, second in pairwise(words)):
        return True
    return not {"key", "token"}.isdisjoint(words) and _HARMLESS.isdisjoint(words)


def without_secrets(text: str) -> str:
    """Return a message without known secrets, user and password of URLs, and the values of secret names.

    The message may quote what others have written, in any of the forms that `named_values` describes, and
    with the escapes that `redaction` decodes.

    >>> without_secrets("postgresql://me:pw@host/db failed, password=pw, limit=3")
    'postgresql://***@host/db failed, password=*** limit=3'
    >>> without_secrets('{"api_key": "abc", "page": 4}, X-Api-Key: abc123')
    '{"api_key": "***", "page": 4}, X-Api-Key: ***'
    """
    text = _known_words(_known(text))
    # As it is written first: an escaped space is a part of a password.
    text = redaction.mask_spans(text, _found(text))
    return redaction.mask_decoded(text, _found)


def _found(text: str) -> Iterator[redaction.Span]:
    """Yield the spans of secrets that are recognized by their names, their places or their forms."""
    for match in _USER_INFO.finditer(text):
        if match["user_info"] != redaction.MASK:
            yield match.span("user_info")
    for match in _FORMS.finditer(text):
        yield match.span(match.lastgroup or 0)
    for match in _WEB_TOKEN.finditer(text):
        if (start := _header(match["word"])) is not None:
            yield match.start() + start, match.end("rest")
    yield from named_values(text, is_secret)


def _header(word: str) -> int | None:
    """Return where the header of a token begins in a word; None if there is none.

    It names its algorithm; see RFC 7515. Four characters are three bytes, so four decodings tell about all
    beginnings.
    """
    pieces = (word[place:] for place in range(4))
    last = [urlsafe_b64decode(piece[: len(piece) // 4 * 4]).rfind(b'"alg"') for piece in pieces]
    starts = (match.start() for match in re.finditer(_HEADER_BEGINS, word, re.ASCII))
    return next((start for start in starts if last[start % 4] >= start // 4 * 3), None)


def remember(value: str) -> None:
    """Have `without_secrets` remove a secret of this process wherever it occurs, in whatever form.

    One that is short, or consists of words or digits, as `postgres`, is removed only as a whole word; short
    words and numbers not at all, because a message would be unreadable without them.
    """
    if len(value) >= _MIN_KNOWN and not (is_ordinary(value) or value.isdigit()):
        _known.add([Secret(value)])
    elif len(value) >= _MIN_KNOWN or not is_ordinary(value):
        _known_words.add([Secret(value)])


def without_queries(text: str) -> str:
    """Return a message without the queries of URLs, which may hold keys."""
    return _QUERY.sub(f"?{redaction.MASK}", text)


class Secret:
    """The value of a secret; prints as ***. Call `reveal()` only to make a request."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return redaction.MASK

    __str__ = __repr__


class Redactor:
    """Replaces secrets in text by `***`, in plain or encoded form; see `redaction`.

    Args:
        secrets: The secrets.
        cut: Replace their beginnings, too. Not for passwords that may begin with a word of any message.
        whole: Replace them only where no letter or digit is beside them.
    """

    def __init__(self, secrets: Iterable[Secret] = (), *, cut: bool = True, whole: bool = False) -> None:
        self._cut, self._whole = cut, whole
        self._values: list[str] = []
        self._forms: frozenset[str] = frozenset()
        self.add(secrets)

    def add(self, secrets: Iterable[Secret]) -> None:
        """Hide these secrets, too."""
        new = {value for secret in secrets if (value := secret.reveal())} - set(self._values)
        self._values = sorted(new.union(self._values), key=len, reverse=True)
        self._forms = self._forms.union(*map(redaction.forms, new))

    def __call__(self, text: str) -> str:
        if not self._values:
            return text
        if not self._whole:
            for value in self._values:
                text = text.replace(value, redaction.MASK)
        return redaction.mask(text, self._forms, cut=self._cut, whole=self._whole)

    def excerpt(self, text: str | bytes, size: int) -> str:
        """Return the beginning of a text or body that others have written; secrets are removed first.

        So none is cut in half. They are those that are known here, and all that `without_secrets` recognizes.

        Args:
            text: The text or body; at most 1 MiB of a body is read.
            size: Maximum length of the result, in characters.
        """
        if isinstance(text, bytes):
            text = text[:_MAX_READ].decode("utf-8", "replace")
        return without_secrets(self(text)[: size + _MAX_NAMED])[:size]


_known = Redactor(cut=False)  # the secrets that this process has read
_known_words = Redactor(cut=False, whole=True)  # those that may be a part of other words
