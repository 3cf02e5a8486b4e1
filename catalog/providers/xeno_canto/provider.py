"""xeno-canto: recordings of birds, insects, bats, frogs and other animals under Creative Commons licenses.

Each recording has its own license, most of which exclude commercial use and many also adaptations. Recordings
of species that are protected from disturbance have no public file and are skipped. About a million
recordings are listed by their catalog numbers; with a date, only those uploaded since that day are pulled.
https://xeno-canto.org/explore/api
"""

from catalog.provider_api import (
    ApiKey,
    Audio,
    Client,
    Counted,
    Provider,
    Rate,
    Raw,
    RecordResult,
    RoundParams,
    Window,
    compact,
    dig,
    license_from_url,
    milliseconds,
    missing,
    tags_of,
)

EVERYTHING = "nr:1-99999999"  # a search needs a condition; this is a range of catalog numbers


class XenoCanto(Provider):
    name = "xeno_canto"
    catalog_names = {"audio": "xenocanto"}
    since = True
    rate = Rate(per_second=1)
    key = ApiKey("API_KEY_XENO_CANTO", "key", "https://xeno-canto.org/account")
    params = {"per_page": 500}  # the maximum of the API
    pages = Counted(
        "https://xeno-canto.org/api/3/recordings", items="recordings", pages="numPages", total="numRecordings"
    )

    def rounds(self, client: Client, window: Window | None) -> list[RoundParams]:
        return [{"query": f"{EVERYTHING} since:{window.day}" if window else EVERYTHING}]

    def record(self, raw: Raw) -> RecordResult:
        number, landing, file = raw.get("id"), raw.get("url"), raw.get("file")
        license_ = license_from_url(raw.get("lic"))
        if skip := missing(identifier=number, landing_url=landing, file=file, license=license_):
            return skip
        species = " ".join(filter(None, (raw.get("gen"), raw.get("sp"), raw.get("ssp"))))
        common = raw.get("en")
        return Audio(
            foreign_identifier=number,
            foreign_landing_url=landing,
            url=file,
            license=license_,
            filetype=str(raw.get("file-name") or "").rpartition(".")[2].lower() or None,
            duration=milliseconds(raw.get("length")),
            sample_rate=raw.get("smp"),
            title=f"{common} ({species})" if common and species else common or species,
            creator=raw.get("rec"),
            thumbnail=dig(raw, "sono", "med"),
            tags=tags_of(common, [species], raw.get("grp"), raw.get("type")),
            meta_data=self._meta_data(raw),
        )

    @staticmethod
    def _meta_data(raw: Raw) -> Raw:
        """Return what is said about the place, the animal and the recording; "" means that nothing is."""
        found = compact(
            raw,
            *("date", "time", "uploaded", "sex", "stage", "method"),
            country="cnt",
            place="loc",
            latitude="lat",
            longitude="lon",
            elevation="alt",
            quality="q",
            remarks="rmk",
        )
        found["background"] = ", ".join(tags_of(raw.get("also")))
        return {key: value for key, value in found.items() if value != ""}
