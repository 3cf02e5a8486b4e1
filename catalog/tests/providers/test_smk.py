"""SMK: offsets, and a total that is held against what came."""

from catalog.providers.smk.provider import Smk
from catalog.tests.providers.site import Pulled, Site
from catalog.tests.values import present


def work(n):
    return {
        "id": f"{n}_object",
        "object_number": f"KMS{n}",
        "image_native": f"https://api.smk.dk/api/v1/download/{n}.jpg",
        "rights": "https://creativecommons.org/publicdomain/zero/1.0/",
    }


def smk(works, cap=2000, found=None):
    def answer(method, url, params):
        at = int(params["offset"])
        shown = works[at : at + min(cap, int(params["rows"]))]
        return {"offset": at, "found": len(works) if found is None else found, "items": shown}

    return Site(answer)


def test_a_search_that_is_cut_short_is_not_whole_and_keeps_what_came(tmp_path):
    pulled = Pulled(Smk(), smk([work(1)], found=45_000), tmp_path)
    assert "1 of 45,000 announced items came" in present(pulled.error)
    assert not pulled.manifest.complete
    assert pulled.ids() == ["1_object"]


def test_a_server_that_gives_fewer_than_are_asked_for_costs_requests_and_no_works(tmp_path):
    site = smk([work(n) for n in range(10)], cap=4)
    pulled = Pulled(Smk(), site, tmp_path)
    assert pulled.whole
    assert len(pulled.rows) == 10
    assert [params["offset"] for _, _, params, _ in site.asked] == ["0", "4", "8", "10"]
