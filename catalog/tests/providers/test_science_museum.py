"""Science Museum: a search of few pages, objects that no years reach, pages that are never answered."""

import re
from itertools import count, pairwise

import pytest

from catalog.core.errors import HttpStatus, Interrupted, Retry, UnexpectedResponse
from catalog.ingestion.records import Image
from catalog.ingestion.state import MemoryCheckpoint
from catalog.providers.science_museum import census
from catalog.providers.science_museum.census import MAX_OBJECTS, halves, is_inside, year_ranges
from catalog.providers.science_museum.provider import ScienceMuseum
from catalog.tests.providers.mapped import records_of
from catalog.tests.providers.site import Pulled, Site
from catalog.tests.values import present


def thing(n, dates=(), categories=("Engines",)):
    """An object with one image. dates: (from, to) of each date it has."""
    made = [{"value": "catalogue", "primary": True}]
    made += [{"from": str(a), "to": str(b), "value": f"{a}-{b}"} for a, b in dates]
    file = {"location": f"1/{n}/large.jpg", "format": "jpeg", "measurements": {}}
    medium = {
        "@admin": {"uid": f"i{n}"},
        "@processed": {"large": file},
        "legal": {"rights": [{"licence": "CC BY 4.0"}]},
    }
    attributes = {
        "creation": {"date": made},
        "category": [{"name": c, "value": f"SCM - {c}"} for c in categories],
        "multimedia": [medium],
    }
    return {"id": f"co{n}", "attributes": attributes, "links": {"self": f"https://example.org/co{n}"}}


class Museum(Site):
    """The search as the museum's source code has it.

    last_page: the last one given out; parts: objects that are counted but not listed; broken: an object whose
    pages cannot be made; cut: pages after which a result is said to end; ignores: parameters without effect.
    """

    def __init__(self, things, last_page=20, parts=0, broken=None, cut=None, ignores=(), top=20):
        super().__init__(self.search)
        self.things, self.last_page, self.parts = things, last_page, parts
        self.broken, self.cut, self.ignores, self.top, self.down = broken, cut, ignores, top, False

    def search(self, method, url, params):
        if self.down:
            return 503, {"message": "Service Unavailable"}
        params = {key: value for key, value in params.items() if key not in self.ignores}
        start, end = int(params.get("date[from]", 0)), int(params.get("date[to]", 0))
        page, size = int(params["page[number]"]), int(params["page[size]"])
        if start < 0 or end < 0 or page > self.last_page or size > 100:
            return 400, {"statusCode": 400, "error": "Bad Request"}
        found = [t for t in self.things if self.matches(t, start, end, params.get("categories"))]
        shown = found[page * size : (page + 1) * size]
        if self.broken and any(t["id"] == self.broken for t in shown):
            return 503, {"message": "Service Unavailable"}
        pages = -(-len(found) // size)
        more = page < (pages if self.cut is None else self.cut) - 1
        filters = {"category": [{"value": c, "count": 1} for c in self.names(found)]}
        meta = {"total_pages": pages, "count": {"type": {"all": len(found) + self.parts}}, "filters": filters}
        return {"data": shown, "links": {"next": "/search?…" if more else None}, "meta": meta}

    @staticmethod
    def matches(one, start, end, category):
        dates = [d for d in one["attributes"]["creation"]["date"] if "from" in d]
        names = [c["name"] for c in one["attributes"]["category"]]
        return (
            (not start or any(int(d["from"]) >= start for d in dates))
            and (not end or any(int(d["to"]) <= end for d in dates))
            and (category is None or bool({*names} & {*several(category)}))
        )

    def names(self, found):
        names = dict.fromkeys(c["name"] for t in found for c in t["attributes"]["category"])
        return list(names)[: self.top]

    def pages_asked(self):
        return [params for _, _, params, _ in self.asked if params["page[size]"] == "100"]


def several(value):
    """Values between commas; one that is part of a value is escaped."""
    return [part.replace(r"\,", ",") for part in re.split(r"(?<!\\),", value)]


def all_of(things):
    return {t["attributes"]["multimedia"][0]["@admin"]["uid"] for t in things}


CROWDED = [thing(n, [(1900 + n % 10, 1900 + n % 10)], ["Photographs"]) for n in range(2500)]


def test_year_ranges():
    ranges = list(year_ranges(1933))
    assert ranges[:4] == [(0, 200), (200, 1500), (1500, 1750), (1750, 1775)]
    assert ranges[-3:] == [(1915, 1925), (1925, 1930), (1930, 1933)]
    assert len(ranges) == 18
    assert all(a[1] == b[0] for a, b in pairwise(ranges))


@pytest.mark.parametrize(
    ("years", "parts"),
    [
        ((1900, 1910), [(1900, 1905), (1905, 1910)]),
        ((1900, 1902), [(1900, 1901), (1901, 1902)]),
        ((1900, 1901), [(1900, 1900), (1901, 1901)]),
        ((1900, 1900), []),
    ],
)
def test_halves(years, parts):
    assert halves(years) == parts


def test_everything_is_read_and_the_counts_prove_it(tmp_path):
    """Crowded years, and objects before the year 0, without a date, across ranges, in a shared year."""
    things = [
        *CROWDED,
        thing(9001, [(-300, -200)]),
        thing(9002),
        thing(9003, [(1890, 1910)], ["Art, Glass & Prints"]),
        thing(9004, [(1750, 1750)]),
        thing(9005, [(1780, 1781), (1850, 1851)]),
        thing(9006, [], ["Art, Glass & Prints", "Clocks"]),
    ]
    museum = Museum(things)
    pulled = Pulled(ScienceMuseum(), museum, tmp_path)
    assert set(pulled.ids()) == all_of(things)
    assert pulled.whole, pulled.error
    assert all(int(params["page[number]"]) <= 20 for params in museum.pages_asked())


def test_an_object_that_is_found_by_no_category_is_counted_and_told(tmp_path):
    things = [thing(1, [(1800, 1800)]), thing(2, [], []), thing(3, [(1700, 1900)], []), thing(4)]
    pulled = Pulled(ScienceMuseum(), Museum(things), tmp_path)
    assert set(pulled.ids()) == {"i1", "i4"}
    assert "2 of 3 objects that have no date, or one that spans several ranges, were not found" in present(
        pulled.error
    )


def test_an_object_in_several_categories_is_counted_once(tmp_path):
    things = [thing(1, [], ["Clocks", "Engines"]), thing(2, [], []), thing(3, [], ["Clocks", "Engines"])]
    pulled = Pulled(ScienceMuseum(), Museum(things), tmp_path)
    assert set(pulled.ids()) == {"i1", "i3"}
    assert "1 of 3 objects" in present(pulled.error)


def test_a_category_larger_than_what_is_given_out(tmp_path):
    things = [thing(n) for n in range(MAX_OBJECTS + 10)]
    pulled = Pulled(ScienceMuseum(), Museum(things), tmp_path)
    assert len(pulled.ids()) == MAX_OBJECTS
    assert f"10 of {MAX_OBJECTS + 10:,} objects" in present(pulled.error)


def test_a_category_that_is_refused_costs_itself_only(tmp_path):
    museum = Museum([thing(1, [], ["Clocks"]), thing(2)])

    def strict(method, url, params):
        if params.get("categories") == "Clocks":
            return 400, {"statusCode": 400}
        return museum.search(method, url, params)

    museum.answer = strict
    pulled = Pulled(ScienceMuseum(), museum, tmp_path)
    assert pulled.ids() == ["i2"]
    assert "page 0 of the category Clocks is refused" in present(pulled.error)
    assert "1 of 2 objects" in present(pulled.error)


def test_a_limit_that_came_down_halves_the_range(tmp_path):
    """A 400 past the first page is the limit, not a fault."""
    things = [*CROWDED, thing(9003, [(1890, 1910)])]
    museum = Museum(things, last_page=3)
    pulled = Pulled(ScienceMuseum(), museum, tmp_path)
    assert set(pulled.ids()) == all_of(things)
    assert pulled.whole, pulled.error
    assert max(int(params["page[number]"]) for params in museum.pages_asked()) == 4


def test_halving_tells_what_is_in_neither_half(tmp_path):
    things = [
        *(thing(n, [(1825, 1826)]) for n in range(250)),
        *(thing(n, [(1825, 1834)]) for n in range(250, 500)),
    ]
    pulled = Pulled(ScienceMuseum(), Museum(things, last_page=2), tmp_path)
    assert "the years 1825 to 1835: 250 of 500 objects are in neither half" in present(pulled.error)
    assert all_of(things[:250]) <= set(pulled.ids())


def test_a_single_year_that_holds_more_than_is_given_out(tmp_path):
    things = [thing(n, [(1999, 1999)]) for n in range(MAX_OBJECTS + 1)] + [thing(9001, [(1800, 1800)])]
    museum = Museum(things)
    pulled = Pulled(ScienceMuseum(), museum, tmp_path)
    assert len(pulled.ids()) == MAX_OBJECTS + 1
    assert max(int(params["page[number]"]) for params in museum.pages_asked()) == 20
    assert f"the years 1999 to 1999: {MAX_OBJECTS + 1:,} objects, of which only the first pages" in present(
        pulled.error
    )


def test_a_page_that_always_fails_costs_itself_only(tmp_path):
    things = [thing(n, [(1900 + n // 100, 1900 + n // 100)]) for n in range(500)]
    pulled = Pulled(ScienceMuseum(), Museum(things, broken="co150"), tmp_path)
    assert set(pulled.ids()) == all_of(things) - all_of(things[100:200])
    assert "page 1 of the years 1895 to 1905 is never answered, up to 100 objects are missing" in present(
        pulled.error
    )


def test_a_category_whose_only_page_always_fails_costs_itself_only(tmp_path):
    things = [*(thing(n) for n in range(100)), thing(200, [], ["Clocks"])]
    pulled = Pulled(ScienceMuseum(), Museum(things, broken="co200"), tmp_path)
    assert set(pulled.ids()) == all_of(things[:100])
    assert "page 0 of the category Clocks is never answered" in present(pulled.error)
    assert "1 of 101 objects" in present(pulled.error)


def test_an_api_that_is_down_is_no_page_to_pass_over(tmp_path):
    museum = Museum(CROWDED)

    def after_a_while(*args):
        museum.down = len(museum.asked) > 80
        return museum.search(*args)

    museum.answer = after_a_while
    with pytest.raises(Retry, match="gave up after 4 attempts: status 503"):
        Pulled(ScienceMuseum(), museum, tmp_path)


def test_a_refusal_of_the_first_page_is_a_fault(tmp_path):
    with pytest.raises(HttpStatus, match="status 400"):
        Pulled(ScienceMuseum(), Site(lambda *_: (400, {"statusCode": 400})), tmp_path)


def test_dates_that_have_no_effect(tmp_path):
    museum = Museum(CROWDED, ignores=("date[from]", "date[to]"))
    with pytest.raises(UnexpectedResponse, match="the years 0 to 200 hold all objects: dates are ignored"):
        Pulled(ScienceMuseum(), museum, tmp_path)
    assert len(museum.asked) < 10


def test_a_result_that_ends_early_is_held_against_its_pages(tmp_path):
    things = [thing(n, [(1800, 1800)]) for n in range(350)]
    pulled = Pulled(ScienceMuseum(), Museum(things, cut=2), tmp_path)
    assert "200 of 301 announced items came" in present(pulled.error)


def test_parts_that_are_counted_but_not_listed_are_no_shortfall_of_a_range(tmp_path):
    things = [thing(n, [(1800, 1800)]) for n in range(150)]
    pulled = Pulled(ScienceMuseum(), Museum(things, parts=7), tmp_path)
    assert set(pulled.ids()) == all_of(things)
    assert pulled.whole, pulled.error


@pytest.mark.parametrize("stop_after", [1, 14, 30])
def test_an_interrupted_pull_goes_on_to_the_same_end(tmp_path, stop_after):
    things = [thing(n, [(1790, 1810)], [f"Category {n % 4}"]) for n in range(300)] + [
        thing(9001, [(1800, 1800)])
    ]
    checkpoint, calls = MemoryCheckpoint(), count(1)
    with pytest.raises(Interrupted):
        Pulled(
            ScienceMuseum(),
            Museum(things),
            tmp_path,
            checkpoint=checkpoint,
            should_stop=lambda: next(calls) == stop_after,
        )
    pulled = Pulled(ScienceMuseum(), Museum(things), tmp_path, checkpoint=checkpoint)
    assert set(pulled.ids()) == all_of(things)
    assert pulled.whole, pulled.error


@pytest.mark.parametrize(
    ("dates", "before_zero", "inside"),
    [
        ([(1900, 1910)], False, True),
        ([(1890, 1910)], False, False),
        ([(-300, 100)], False, False),
        ([(-300, 100)], True, True),
        ([], True, False),
    ],
)
def test_what_lies_inside_a_range(dates, before_zero, inside):
    assert is_inside(thing(1, dates), [(0, 200), (1895, 1915)], before_zero=before_zero) is inside


def test_dates_of_odd_types_lie_nowhere():
    for dates in (None, "1900", [None, 5], {"from": [1900], "to": "c. 1900"}):
        assert not is_inside({"attributes": {"creation": {"date": dates}}}, [(0, 2000)], before_zero=True)
    assert census.year("9" * 30) is None


def test_the_thumbnail_is_of_the_same_image():
    """The API writes the address of the object's first image into `large_thumbnail` of another."""
    raw = thing(1)
    sizes = raw["attributes"]["multimedia"][0]["@processed"]
    sizes |= {
        "medium": {"location": "1/1/medium.jpg"},
        "large_thumbnail": {"location": "https://x.org/9.jpg"},
    }
    (image,) = records_of(ScienceMuseum().record(raw))
    assert isinstance(image, Image)
    assert image.thumbnail == "https://coimages.sciencemuseumgroup.org.uk/1/1/medium.jpg"
    del sizes["large"]
    sizes["medium_thumbnail"] = {"location": "1/1/small.jpg"}
    (image,) = records_of(ScienceMuseum().record(raw))
    assert isinstance(image, Image)
    assert image.thumbnail == "https://coimages.sciencemuseumgroup.org.uk/1/1/small.jpg"
