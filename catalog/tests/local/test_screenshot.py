"""The README's picture of the dashboard is of the present page."""

from catalog.local import screenshot


def test_the_picture_is_up_to_date():
    recorded = screenshot.RECORD.read_text("ascii").strip()
    assert recorded == screenshot.sources_digest(), "run ./just screenshot after ./just demo"
    assert screenshot.PICTURE.read_bytes().startswith(b"\x89PNG")
