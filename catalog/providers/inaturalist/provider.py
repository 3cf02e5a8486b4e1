"""iNaturalist: photographs of plants, animals and fungi, from the monthly open-data dump.

There is no API to ask: four files (photos, observations, taxa, observers) are loaded into tables of their
own, joined there, and brought into the catalog in batches of photo identifiers. Titles and tags are made of
the organism's names: its common names from the Catalogue of Life, and those of the groups it belongs to. A
photo that belongs to several observations is stored once. Photos of organisms that nobody has determined are
left out, and so are those without a license that the catalog accepts; both are counted.

The files come from the Variable `INATURALIST_DUMP` (`s3://inaturalist-open-data`), the names from
`CATALOGUE_OF_LIFE`. A run is skipped when the dump is the one that was loaded last. A run that failed goes
on, when it is cleared, at the batch it had come to. https://github.com/inaturalist/inaturalist-open-data
"""

from datetime import timedelta

from catalog.provider_api import Provider

FILES = ("photos", "observations", "taxa", "observers")  # of the dump: `<name>.csv.gz`


class INaturalist(Provider):
    name = "inaturalist"
    strings = {"image": "inaturalist"}
    dump = True
    schedule = "0 0 2 * *"
    category = "photograph"
    pull_timeout = load_timeout = timedelta(days=5)
