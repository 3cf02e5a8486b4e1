"""iNaturalist: photographs of plants, animals and fungi, from the monthly open-data dump.

Four files (photos, observations, taxa, observers) are loaded into tables of their own, joined, and loaded
into the catalog in batches of photo identifiers. Titles and tags consist of the organism's names: common
names from the Catalogue of Life, and the names of its higher taxa. A photo of several observations is stored
once. Photos of unidentified organisms, and photos without an accepted license, are skipped and counted.

Before anything is loaded, the dump is compared with the last whole one: it may have 5 % fewer photos at most,
and a sample of them must have observations, taxa, observers and licenses as usual, and must not lose the
common names that they have in the catalog.

The Variable `INATURALIST_DUMP` (`s3://inaturalist-open-data`) names the folder of the files,
`CATALOGUE_OF_LIFE` the archive of names. A run is skipped if the dump is the one that was loaded last. A
failed run resumes, when cleared, at the batch it had reached.
https://github.com/inaturalist/inaturalist-open-data
"""

from datetime import timedelta

from catalog.provider_api import Provider

FILES = ("photos", "observations", "taxa", "observers")  # of the dump: `<name>.csv.gz`


class INaturalist(Provider):
    name = "inaturalist"
    catalog_names = {"image": "inaturalist"}
    dump = True
    schedule = "0 0 2 * *"
    category = "photograph"
    max_shrinkage = 0.05  # a dump grows from month to month
    pull_timeout = load_timeout = timedelta(days=5)
