"""Vocabulary of the Smithsonian's records: unit codes, and labels of names and descriptions.

The unit codes are those that the API lists, including archives, and FSG, which became NMAA.
"""

_UNITS = {
    "smithsonian_national_museum_of_natural_history": (
        "NMNHANTHRO NMNHBIRDS NMNHBOTANY NMNHEDUCATION NMNHENTO NMNHFISHES NMNHHERPS NMNHINV NMNHMAMMALS "
        "NMNHMINSCI NMNHPALEO"
    ),
    "smithsonian_anthropological_archives": "HSFA NAA",
    "smithsonian_anacostia_museum": "ACM ACMA",
    "smithsonian_cooper_hewitt_museum": "CHNDM CHSDM",
    "smithsonian_field_book_project": "FBR",
    "smithsonian_freer_gallery_of_art": "FSG",
    "smithsonian_asian_art_museum": "NMAA FSA",
    "smithsonian_gardens": "AAG HAC OFEO-SG",
    "smithsonian_hirshhorn_museum": "HMSG",
    "smithsonian_air_and_space_museum": "NASM NASMAC",
    "smithsonian_african_american_history_museum": "NMAAHC",
    "smithsonian_american_history_museum": "NMAH ACAH",
    "smithsonian_american_indian_museum": "NMAI NMAIA",
    "smithsonian_african_art_museum": "NMAfA EEPA",
    "smithsonian_portrait_gallery": "NPG",
    "smithsonian_postal_museum": "NPM NPMA",
    "smithsonian_zoo_and_conservation": "NZP",
    "smithsonian_american_art_museum": "SAAM SAAMPAIK",
    "smithsonian_archives_of_american_art": "AAA",
    "smithsonian_institution_archives": "SIA",
    "smithsonian_libraries": "SIL SILAF SILNMAHTL SLA_SRO",
    "smithsonian_ralph_rinzler_archive": "CFCHFOLKLIFE",
    "smithsonian_digitization_program": "OCIO_DPO3D",
    "smithsonian_institution": "SI",
}
SOURCES = {code: source for source, codes in _UNITS.items() for code in codes.split()}  # unit code → source

_RANKED = """
artist, artist/maker, attributed to, author, created_by, creator, created by, model maker, modeler, \
photographer, photograph by, written by
architect, designer, designed by, illustrator, illustrated by, cartoonist, weaver, composer, composed by, \
embroiderer, landscape architect, calligrapher, sculptor, jeweler, potter, ceramist
compiled by, engraver, etcher, maker, silversmith, producer, produced by, metal worker, carver, cartographer
print maker, painter, after, inventor, lithographer, attribution, former attribution
manufactured by, manufacturer, published by, publisher, editor
patentee
collector
"""
# label of a name → 0 (best) to 6
RANKS = {
    label: rank for rank, labels in enumerate(_RANKED.strip().splitlines()) for label in labels.split(", ")
}

DESCRIPTIONS = (
    "description",
    "summary",
    "caption",
    "notes",
    "description (brief)",
    "description (spanish)",
    "description (brief spanish)",
    "gallery label",
    "exhibition label",
    "luce center label",
    "publication label",
    "new acquisition label",
)
