"""Whatever keys, names and addresses an API has, the source means them; what cannot be read is refused."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.core.errors import CatalogError, Refused
from catalog.provider_api import Counted, Image, Links
from catalog.scaffold import __main__ as scaffold
from catalog.scaffold.__main__ import write
from catalog.scaffold.fields import Fields
from catalog.scaffold.new import NewProvider
from catalog.scaffold.paging import Address, Paging, address
from catalog.scaffold.recorded import Shape
from catalog.scaffold.source import formatted, source
from catalog.tests.providers.mapped import record_of
from catalog.tests.scaffold.test_scaffold import CC_BY, ITEMS, URL, made, provider_in, provider_of, pull
from catalog.tests.values import present

WILD = st.text(st.characters() | st.sampled_from("\"'\\{}$\n\r\0.#%\ud800\u2028"), min_size=1, max_size=12)


@settings(max_examples=30, deadline=None)
@given(title=WILD, path=WILD, key=WILD, param=WILD, value=WILD)
def test_source_compiles_and_means_the_same_values(title, path, key, param, value):
    number, page, file, rights, tags, text = (f"{letter}{key}" for letter in "npfrtd")
    fields = Fields(
        foreign_identifier=(number,),
        foreign_landing_url=(page, key, 0),
        url={"image": (file, key)},
        license=(rights,),
        title=(key,),
        tags=(tags,),
        tag_name=key,
        meta_data=[text],
    )
    url = Address(f"https://example.org/{path}", {param: value}, {}, [f"{param}1", f"{param}2"])
    paging = Paging(items=path, total=key, param=param, first=0, beside={"site": path})
    new = NewProvider(f"Zzz {title}", url.endpoint, ("image",))
    source_ = source(new, Shape(paging, fields, {}, []), url, guessed=True)
    assert formatted(source_) == source_
    cls = provider_of(source_)
    assert {name: str(sent) for name, sent in cls.params.items()} == url.params
    assert present(cls.key).param == f"{param}1"
    pages = cls.pages
    assert isinstance(pages, Counted)
    assert (pages.url, pages.items, pages.total) == (url.endpoint, path, key)
    assert (pages.param, pages.beside) == (param, paging.beside)
    raw = {number: 17, page: {key: ["p"]}, file: {key: "f"}, rights: CC_BY, key: "k"}
    raw |= {tags: [{key: "t"}], text: 7}
    record = record_of(Image, cls().record(raw))
    assert (record.foreign_identifier, record.foreign_landing_url, record.url) == (17, "p", "f")
    assert (record.title, record.tags, record.meta_data) == ("k", ["t"], {text: 7})


@settings(max_examples=10, deadline=None)
@given(host=st.text("ab\"'\\{}.$%", min_size=1))
def test_an_address_without_fields_compiles(host):
    new = NewProvider("Zzz", f"https://{host}", ("image", "audio"))
    compile(source(new, Shape(Paging(), Fields(), {}, []), address(new.url), guessed=False), "x", "exec")


@pytest.mark.parametrize(
    "key",
    [
        "@odata.nextLink",
        "a.b",
        'ti"tle',
        "it's",
        "a\nb",
        "back\\slash",
        "dot.\\",
        "{id}",
        "$name",
        "",
        "ключ",
        "12",
    ],
)
@pytest.mark.parametrize("place", ["list", "above", "item", "beside"])
def test_a_provider_with_a_wild_key_runs(key, place, tmp_path):
    body = {
        "list": {"total": 900, key: ITEMS},
        "above": {"meta": {"total": 900}, key: {key: ITEMS}},
        "item": {"total": 900, "works": [{**item, key: {key: f"u{item['id']}"}} for item in ITEMS]},
        "beside": {"total": 900, key: {"iiif": "https://iiif.example.com"}, "works": ITEMS},
    }[place]
    (tmp_path / "page.json").write_bytes(orjson.dumps(body))
    folder = tmp_path / "made_up_museum"
    if not key and place in ("list", "above"):
        with pytest.raises(Refused, match="no recorded page holds a list of objects: the response has"):
            write(made(url=URL), folder, [tmp_path / "page.json"])
        assert not folder.exists()
        return
    write(made(url=URL), folder, [tmp_path / "page.json"])
    assert pull(folder).counts["image"].written == 2


def test_the_next_page_of_odata_is_followed(tmp_path):
    body = {"@odata.count": 9, "value": ITEMS, "@odata.nextLink": f"{URL}?$skiptoken=9"}
    (tmp_path / "page.json").write_bytes(orjson.dumps(body))
    folder = tmp_path / "made_up_museum"
    write(made(url=URL), folder, [tmp_path / "page.json"])
    pages = provider_in(folder).pages
    assert isinstance(pages, Links)
    assert (pages.following, pages.total) == (r"@odata\.nextLink", r"@odata\.count")
    assert pull(folder).counts["image"].written == 2


@pytest.fixture
def folder(tmp_path):
    """Return the folder of a provider that is not written yet."""
    return tmp_path / "made_up_museum"


def page(content: bytes, tmp_path):
    file = tmp_path / "page.json"
    file.write_bytes(content)
    return file


GOOD = orjson.dumps({"works": ITEMS})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", r"page\.json is empty; save the response of the API again"),
        (b" \n", r"page\.json is empty"),
        (b"<html>", r"page\.json cannot be read as JSON: .*; save the body of one response"),
        (b'{"id":1}\n{"id":2}', r"page\.json cannot be read as JSON: Extra data"),
        (b"[" * 102 + b"]" * 102, r"page\.json cannot be read as JSON: nested deeper than 100"),
        (b"[" * 9_000 + b"]" * 9_000, r"page\.json cannot be read as JSON: nested deeper than"),
        (
            '{"works": [{"title": "é"}]}'.encode("latin1"),
            r"page\.json is not in UTF-8: invalid .* at byte 22; convert it, for example by iconv",
        ),
        (b"17", "no recorded page holds a list of objects: the response is of type int"),
        (b"[{}]", "no recorded page holds a list of objects: the response is a list of 1"),
        (b'{"works": [{}, {}]}', "no recorded page holds a list of objects: the response has `works`"),
    ],
)
def test_a_page_that_cannot_be_read_is_refused(content, problem, folder, tmp_path):
    with pytest.raises(Refused, match=problem):
        write(made(url=URL), folder, [page(content, tmp_path)])
    assert not folder.exists()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-le"])
def test_json_in_another_encoding_of_unicode_is_read(encoding, folder, tmp_path):
    write(made(url=URL), folder, [page(GOOD.decode().encode(encoding), tmp_path)])
    assert pull(folder).counts["image"].written == 2


def test_lone_surrogates_are_replaced(folder, tmp_path):
    content = GOOD.replace(b'"title":"', rb'"\udc00":"x\ud800","title":"\ud83d')
    write(made(url=URL), folder, [page(content, tmp_path)])
    assert pull(folder).counts["image"].written == 2


def recording(**changes):
    """Return a recording.json of one page, with changes to its one interaction."""
    request = {"method": "GET", "url": URL, "params": {}}
    response = {"status": 200, "headers": {}, "body_file": "body.json"}
    return {"provider": "x", "interactions": [{"request": request, "response": response, **changes}]}


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (b"", "Input data was truncated"),
        (b"\xe9", "malformed"),
        ([], "Expected `object`, got `array`"),
        ({"works": ITEMS}, "missing required field `provider`"),
        ({"provider": "x"}, "missing required field `interactions`"),
        ({"provider": "x", "interactions": {}}, "Expected `array`, got `object` - at `$.interactions`"),
        (recording(request=None), "Expected `object`, got `null` - at `$.interactions[0].request`"),
        (recording(response={"status": "ok"}), "Expected `int`, got `str`"),
        (
            recording(response={"status": 200, "headers": {}, "body_file": "gone.json"}),
            "names the body file gone.json (interaction 0), which is missing",
        ),
    ],
)
@pytest.mark.parametrize("named", ["folder", "file"])
def test_a_malformed_recording_is_refused(document, problem, named, folder, tmp_path):
    file = tmp_path / "recording.json"
    file.write_bytes(document if isinstance(document, bytes) else orjson.dumps(document))
    with pytest.raises(Refused) as refused:
        write(made(url=URL), folder, [tmp_path if named == "folder" else file])
    said = str(refused.value)
    assert problem in said
    assert str(file) in said
    assert "record again by ./just catalog record, and rename a page of that name" in said
    assert not folder.exists()


@pytest.mark.parametrize("error", [RuntimeError("no space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("stage", ["write_recording", "expect"])
def test_nothing_half_made_stays(error, stage, folder, tmp_path, monkeypatch):
    def fail(*args):
        assert folder.exists()
        raise error

    monkeypatch.setattr(scaffold, "FOLDER", tmp_path)
    monkeypatch.setattr(scaffold, stage, fail)
    with pytest.raises(type(error)):
        scaffold.main("Made-Up Museum", URL, None, [page(GOOD, tmp_path)])
    assert not folder.exists()


def test_a_provider_whose_guesses_do_not_run_stays_to_be_corrected(folder, tmp_path, monkeypatch):
    def fail(name):
        raise CatalogError("its pages hold no items")

    monkeypatch.setattr(scaffold, "FOLDER", tmp_path)
    monkeypatch.setattr(scaffold, "expect", fail)
    with pytest.raises(CatalogError, match="is made, but does not run yet"):
        scaffold.main("Made-Up Museum", URL, None, [page(GOOD, tmp_path)])
    assert (folder / "provider.py").is_file()


def test_a_license_is_never_guessed(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scaffold, "FOLDER", tmp_path)
    items = [{**item, "rights": "All rights reserved"} for item in ITEMS]
    with pytest.raises(
        CatalogError, match="no value of an item is the address or the name of a license, and none is"
    ):
        scaffold.main("Made-Up Museum", URL, None, [page(orjson.dumps({"works": items}), tmp_path)])
    assert "license" in next(line for line in capsys.readouterr().err.splitlines() if "not found:" in line)
    assert (folder / "provider.py").is_file()


def test_a_refusal_that_looks_like_markup_is_printed(tmp_path, capsys):
    file = tmp_path / "page[/b].json"
    file.parent.mkdir()
    file.write_bytes(b"")
    with pytest.raises(SystemExit):
        scaffold.main("Made-Up Museum", URL, None, [file])
    assert "page[/b].json is empty" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("title", "url", "problem"),
    [
        ("Zzz\0", URL, "has a character that cannot be printed"),
        ("Zzz\ud800", URL, "has a character that cannot be printed"),
        ("Zzz", f"{URL}\n", "is not the URL of an API"),
        ("Zzz", f"{URL} x", "is not the URL of an API"),
        ("Zzz", "https://me:hunter2@example.org/", "holds a user name or password"),
        ("Zzz", "https://\uff1a.org", "is not the URL of an API"),
        ("Zzz", "https://[::1", "is not the URL of an API"),
        ("Zzz", "https://a.org:99999/x", "is not the URL of an API"),
        ("Zzz", 'https://a"b.org/x', "is not the URL of an API"),
    ],
)
def test_names_and_addresses_that_nobody_means_are_refused(title, url, problem):
    assert problem in present(NewProvider(title, url, ("image",)).problem())


def test_only_secret_parameters_of_the_address_are_not_kept():
    found = address(f"{URL}?keyword=a&author=b&monkey=c&pageToken=d&Api-Key=e&pwd=f&client_secret=g&sig=h")
    assert found.params == {"keyword": "a", "author": "b", "monkey": "c", "pageToken": "d"}
    assert found.secrets == ["Api-Key", "pwd", "client_secret", "sig"]
