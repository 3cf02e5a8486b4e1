"""Made-up Flickr photos, reproducible from a seed.

Each has eleven tags and a description of 24 words, every tenth with HTML, quotes and line breaks.
"""

import random
from collections.abc import Iterator
from typing import Any

Photo = dict[str, Any]  # JSON
WORDS = [
    f"{a}{b}"
    for a in ("sun", "river", "old", "stone", "high", "birk", "meer", "glas", "rot", "ljus")
    for b in ("a", "en", "ish", "berg", "way", "é", "tal")
]


SIZES = (("l", "_b", 1024), ("m", "", 500), ("s", "_m", 240), ("t", "_t", 100))


def photo(number: int, rng: random.Random) -> Photo:
    """Return a photo as Flickr's API describes it."""
    words = rng.choices(WORDS, k=24)
    description = " ".join(words)
    if number % 10 == 0:
        description = (
            f'<b>{words[0]}</b> said: "{description}"\n\n<a href="https://example.org/{number}">more</a>'
        )
    owner, secret = f"{10_000_000 + rng.randrange(50_000)}@N0{number % 8}", f"{rng.getrandbits(40):010x}"
    base = f"https://live.staticflickr.com/65535/{50_000_000_000 + number}_{secret}"
    return {
        "id": str(50_000_000_000 + number),
        "owner": owner,
        "secret": secret,
        "server": "65535",
        "farm": 66,
        "license": str((1, 2, 3, 4, 5, 6, 9, 10)[number % 8]),
        "title": " ".join(rng.choices(WORDS, k=4)).title(),
        "ispublic": 1,
        "isfriend": 0,
        "isfamily": 0,
        "ownername": " ".join(rng.choices(WORDS, k=2)),
        "description": {"_content": description},
        "dateupload": str(1_581_292_800 + number % 86_400),
        "datetaken": "2020-02-09 15:54:37",
        "datetakengranularity": "0",
        "datetakenunknown": "0",
        "views": str(rng.randrange(5000)),
        "content_type": "0",
        "tags": " ".join(rng.sample(WORDS, k=11)),
        "o_width": "3178",
        "o_height": "4932",
        **{f"url_{size}": f"{base}{suffix}.jpg" for size, suffix, _ in SIZES},
        **{f"{side}_{size}": pixels for size, _, pixels in SIZES for side in ("width", "height")},
    }


def photos(count: int, start: int = 0, seed: int = 7) -> Iterator[Photo]:
    rng = random.Random(seed)
    return (photo(start + n, rng) for n in range(count))
