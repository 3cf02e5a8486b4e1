"""Internet Archive: music of netlabels under Creative Commons licenses, one record for each track.

The search lists releases, each of which has a license; a further request returns the files of a release.
Files that were made from the same original, such as an MP3 file from a FLAC file, are one track. Releases
that were withdrawn are skipped. https://archive.org/developers/
"""

from datetime import timedelta
from urllib.parse import quote

from catalog.provider_api import (
    Audio,
    AudioSet,
    Client,
    Provider,
    Rate,
    Raw,
    RecordResult,
    Skip,
    Tokens,
    audio_files,
    compact,
    dig,
    license_from_url,
    missing,
)
from catalog.providers.internet_archive.releases import (
    SITE,
    audio_file,
    described,
    many,
    named,
    position,
    tracks,
)

FIELDS = "identifier,title,creator,licenseurl,subject,downloads,publicdate"


class InternetArchive(Provider):
    name = "internet_archive"
    catalog_names = {"audio": "internetarchive"}
    category = "music"
    rate = Rate(per_second=1)
    pull_timeout = timedelta(days=4)  # tens of thousands of releases, each with a request
    deletion_reasons = ("withdrawn",)
    popularity = "downloads"
    params = {
        "q": "collection:netlabels AND mediatype:audio AND licenseurl:http*",
        "fields": FIELDS,
        "count": 100,  # the minimum; a page of releases takes a minute or two
    }
    pages = Tokens(
        f"{SITE}/services/search/v1/scrape", items="items", param="cursor", following="cursor", total="total"
    )

    def detail(self, raw: Raw, client: Client) -> Raw:
        if not raw.get("identifier") or license_from_url(raw.get("licenseurl")) is None:
            return raw  # not kept in any case
        body = client.get_json(f"{SITE}/metadata/{quote(raw['identifier'], safe='')}", check=described)
        return {**raw, "withdrawn": dig(body, "is_dark") is True, "files": dig(body, "files")}

    def record(self, raw: Raw) -> RecordResult:
        identifier = raw.get("identifier")
        if skip := missing(identifier=identifier):
            return skip
        license_ = license_from_url(raw.get("licenseurl"))
        if license_ is None:
            return Skip("no Creative Commons license")
        if raw.get("withdrawn"):
            return Skip("withdrawn")
        landing = f"{SITE}/details/{quote(identifier, safe='')}"
        creator = "; ".join(many(raw, "creator")) or None
        release = AudioSet(
            title=raw.get("title"),
            foreign_landing_url=landing,
            thumbnail=f"{SITE}/services/img/{quote(identifier, safe='')}",
            creator=creator,
            foreign_identifier=identifier,
        )
        return [
            Audio(
                foreign_identifier=f"{identifier}/{name}",
                foreign_landing_url=landing,
                license=license_,
                **audio_files(*(audio_file(identifier, file) for file in files)),
                title=named(files, "title") or name,
                creator=named(files, "artist") or named(files, "creator") or creator,
                thumbnail=release.thumbnail,
                audio_set=release,
                set_position=position(named(files, "track")),
                tags=many(raw, "subject"),
                meta_data=compact(raw, "downloads", "publicdate"),
            )
            for name, files in tracks(raw["files"]).items()
        ] or Skip("no audio file")
