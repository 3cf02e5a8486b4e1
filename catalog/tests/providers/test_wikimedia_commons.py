"""Batches of Wikimedia Commons: continuation, merging, and those that never become complete."""

from catalog.providers.wikimedia_commons.provider import (
    MAX_ANSWERS,
    Batches,
    WikimediaCommons,
    sound_facts,
    title,
)


class Api:
    """Answers from a function of the parameters, counting requests."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def get_json(self, url, params, **_):
        self.asked.append(dict(params))
        return self.answer(params)


PARAMS = {"prop": "imageinfo|globalusage", "iiprop": "url|metadata", "gaistart": 1}


def file(number, usage=0, **more):
    return {"pageid": number, "globalusage": [{"n": n} for n in range(usage)], **more}


def test_a_batch_in_several_answers_is_merged():
    def answer(params):
        if "gucontinue" not in params:
            return {
                "continue": {"gucontinue": "a|1", "continue": "||imageinfo"},
                "query": {"pages": {"1": file(1, 2, imageinfo=["i"])}},
            }
        return {
            "batchcomplete": "",
            "continue": {"gaicontinue": "next"},
            "query": {"pages": {"1": file(1, 1), "2": file(2)}},
        }

    api = Api(answer)
    page = Batches().fetch(api, {"continue": {}}, PARAMS)
    assert [len(f.get("globalusage", [])) for f in page.items] == [3, 0]
    assert page.items[0]["imageinfo"] == ["i"]
    assert page.next == {"continue": {"gaicontinue": "next"}}
    assert api.asked[1] == {**PARAMS, "gucontinue": "a|1", "continue": "||imageinfo"}


def test_stale_tokens_are_not_sent_again():
    """MediaWiki's rule: the original parameters and the latest `continue`, nothing older."""
    steps = iter([
        {"continue": {"gucontinue": "a"}, "query": {"pages": {"1": file(1)}}},
        {"continue": {"iicontinue": "b"}, "query": {"pages": {"1": file(1)}}},
        {"batchcomplete": "", "query": {"pages": {"1": file(1)}}},
    ])  # fmt: skip
    api = Api(lambda _: next(steps))
    assert Batches().fetch(api, {"continue": {"gaicontinue": "x"}}, PARAMS).next is None
    assert [sorted(set(a) - set(PARAMS)) for a in api.asked] == [
        ["gaicontinue"],
        ["gucontinue"],
        ["iicontinue"],
    ]


def test_a_batch_that_never_completes_is_asked_again_without_what_keeps_it_open():
    def answer(params):
        if "globalusage" in params["prop"]:
            return {
                "continue": {"gucontinue": "for ever", "continue": "||imageinfo"},
                "query": {"pages": {"1": file(1, 1)}},
            }
        return {
            "batchcomplete": "",
            "continue": {"gaicontinue": "next"},
            "query": {"pages": {"1": {"pageid": 1, "imageinfo": ["i"]}}},
        }

    api = Api(answer)
    page = Batches().fetch(api, {"continue": {"gaicontinue": "here"}}, PARAMS)
    assert len(api.asked) == MAX_ANSWERS + 1
    assert api.asked[-1]["gaicontinue"] == "here"
    assert api.asked[-1]["prop"] == "imageinfo"
    assert page.items == [{"pageid": 1, "imageinfo": ["i"], "usage_so_far": MAX_ANSWERS}]
    assert page.next == {"continue": {"gaicontinue": "next"}}


def test_a_day_without_files_ends():
    assert Batches().fetch(Api(lambda _: {"batchcomplete": ""}), {"continue": {}}, PARAMS).next is None


def test_the_counted_usage_is_kept():
    info = {
        "mediatype": "BITMAP", "url": "https://upload.wikimedia.org/x.jpg", "descriptionshorturl": "https://commons.wikimedia.org/?curid=1",
        "extmetadata": {"LicenseUrl": {"value": "https://creativecommons.org/licenses/by/4.0"}},
    }  # fmt: skip
    record = WikimediaCommons().record(
        {"pageid": 1, "title": "File:X.jpg", "imageinfo": [info], "usage_so_far": 100}
    )
    assert record.meta_data["global_usage_count"] == 100
    assert record.title == "X"


def test_wav_and_ogg_tell_their_facts_in_different_places():
    def named(**pairs):
        return [{"name": k, "value": v} for k, v in pairs.items()]

    wav = {
        "metadata": named(
            audio=named(streams=[{"name": 0, "value": named(sample_rate=48000, bitrate=768000, channels=1)}])
        )
    }
    assert sound_facts(wav) == {"sample_rate": 48000, "bitrate": 768000, "channels": 1}
    assert sound_facts({"metadata": None}) == sound_facts({}) == {}


def test_titles():
    assert title("File:A.b.JPEG") == "A.b"
    assert title("Sound.wav") == "Sound"
    assert title(None) is None
