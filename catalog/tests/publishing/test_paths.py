"""Each provider has a folder of its own, whatever its name."""

from hypothesis import given
from hypothesis import strategies as st

from catalog.publishing.paths import data_file, provider_folder, version_folder, version_number

NAMES = st.none() | st.text(st.characters(codec="utf-8") | st.sampled_from("aA/.=~%_- \\ıİſß"), max_size=80)


@given(st.sets(NAMES, max_size=20))
def test_each_provider_has_a_folder_of_its_own(names):
    folders = [provider_folder(name) for name in names]
    assert len({folder.casefold() for folder in folders}) == len(names)
    for folder in folders:
        assert folder.isascii()
        assert 0 < len(folder) <= 200
        assert folder == folder.lower()
        assert folder[0] not in "_."
        assert not set(folder) & set('/\\.=%?*[]{}" :')


def test_names_that_are_easily_confused():
    names = [
        None,
        "",
        "unknown",
        "null",
        "~null",
        "~empty",
        "empty",
        ".",
        "..",
        "a/b",
        "a=b",
        "A",
        "a",
        "ä",
        "_a",
        "__a",
        "~5fa",
    ]
    names += ["provider=x", "x" * 80, "é" * 80, "é" * 79 + "è", "😀" * 80]
    assert len({provider_folder(name) for name in names}) == len(names)
    assert provider_folder("smithsonian_institution") == "smithsonian_institution"
    assert data_file("image", "../x", 7, 0, "abc") == "image/~2e~2e~2fx/00007-000-abc.parquet"


def test_only_our_names_are_versions():
    assert version_number(version_folder(12)) == 12
    for name in ("v0", "v01", "V1", "v1x", "xv1", "v", "v-1", "v1\n", "1", "v\uff11"):
        assert version_number(name) is None
