"""Brooklyn: envelopes that report an error, details of another object or none, lists written as objects."""

import pytest

from catalog.core.errors import Retry
from catalog.ingestion.records import Image
from catalog.providers.brooklyn_museum.provider import OBJECTS, BrooklynMuseum
from catalog.tests.providers.mapped import records_of
from catalog.tests.providers.site import Pulled, Site

BY = '<a href="https://creativecommons.org/licenses/by/3.0/">BY</a>'


def listed(n):
    return {"id": n, "rights_type": {"description": BY}}


def details(n, **over):
    image = {"id": 10 * n, "largest_derivative_url": f"cdn.example.org/{n}.jpg"}
    return {"id": n, "title": f"Chair {n}", "images": [image], **over}


def success(data):
    return {"data": data, "errorCode": "0", "message": "Success."}


def brooklyn(numbers, objects=None):
    """objects: number → answer for its details, where it is not the ordinary one."""

    def answer(method, url, params):
        if url == OBJECTS:
            return success([listed(n) for n in list(numbers)[int(params["offset"]) :][:35]])
        number = int(url.rpartition("/")[2])
        return (objects or {}).get(number, success(details(number)))

    return Site(answer)


def pull(site, folder):
    return Pulled(BrooklynMuseum(), site, folder)


@pytest.mark.parametrize(
    "body",
    [
        {"data": [], "errorCode": "4.09", "message": "Error."},
        {"data": [], "errorCode": "0"},
        {"message": "Success.", "data": None},
        {"message": "Success.", "items": []},
        {},
        [],
    ],
)
def test_a_list_that_is_none(body, tmp_path):
    site = Site(lambda *_: body)
    with pytest.raises(Retry):
        pull(site, tmp_path)
    assert len(site.asked) == 1 + BrooklynMuseum.retries


@pytest.mark.parametrize(
    "answer",
    [
        success(details(99)),
        success({"id": 2, "title": "Chair 2"}),
        success(details(2, images=None)),
        success(details(2, images="none")),
        success(details(2, images=[])),
        success(details(2, images={})),
        success(details(2, images=[None])),
        success([]),
        success(None),
        {"data": details(2), "errorCode": "5", "message": "Error."},
        {"message": "Success."},
    ],
    ids="another no_images null text empty_list empty_object list_of_null list no_data error nothing".split(),
)
def test_details_that_are_none_of_the_object_cost_that_object(answer, tmp_path):
    """A reject, with its reason: never a quiet skip, and never the other objects."""
    pulled = pull(brooklyn([1, 2, 3], {2: answer}), tmp_path)
    assert pulled.ids() == ["10", "30"]
    assert pulled.counts.rejected == {"details failed: UnexpectedResponse": 1}


def test_an_object_that_is_listed_but_gone_is_left_out(tmp_path):
    gone = 404, {"data": "Not found.", "errorCode": "4.04", "message": "Error."}
    pulled = pull(brooklyn([1, 2, 3], {2: gone}), tmp_path)
    assert pulled.whole
    assert pulled.ids() == ["10", "30"]
    assert pulled.counts.skipped == {"object not found": 1}
    assert "object not found" in BrooklynMuseum.deletion_reasons


def test_details_that_fail_one_after_the_other_mean_that_the_api_is_down(tmp_path):
    failing = {n: (500, {"message": "Error."}) for n in range(3, 20)}
    with pytest.raises(Retry, match="status 500"):
        pull(brooklyn(range(1, 20), failing), tmp_path)


@pytest.mark.parametrize("images", [{"7": details(2)["images"][0]}, [*details(2)["images"], None, "none"]])
def test_images_of_other_shapes(images, tmp_path):
    pulled = pull(brooklyn([2], {2: success(details(2, images=images))}), tmp_path)
    assert pulled.ids() == ["20"]


@pytest.mark.parametrize("shape", [list, lambda sizes: {str(n): size for n, size in enumerate(sizes)}])
def test_sizes_of_both_shapes(shape):
    image = {
        **details(1)["images"][0],
        "largest_derivative": "4",
        "derivatives": shape(
            [{"size": 3, "width": 768, "height": 1024}, {"size": 4, "width": "1536", "height": 2048}]
        ),
    }
    (record,) = records_of(BrooklynMuseum().record({**listed(1), "detail": details(1, images=[image])}))
    assert isinstance(record, Image)
    assert (record.width, record.height) == ("1536", 2048)


def test_an_empty_page_in_the_middle_is_noticed(tmp_path):
    """The list announces nothing, so one more page is asked for behind an empty one."""
    honest = brooklyn(range(1, 80))

    def answer(method, url, params):
        return success([]) if params.get("offset") == "35" else honest.answer(method, url, params)

    with pytest.raises(Retry, match="offset 35 is empty, but offset 36 is not"):
        pull(Site(answer), tmp_path)
