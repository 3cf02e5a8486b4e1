"""The rule of sizes, durations and rates."""

from collections.abc import Mapping
from typing import Any

from catalog.cleaning.rule import Cleaned, Rule
from catalog.core.columns import INTEGERS
from catalog.ingestion.cleaning import MINIMUM, number_for

COLUMNS = tuple(sorted(INTEGERS))


def _clean(row: Mapping[str, Any]) -> Cleaned:
    found = Cleaned()
    for column in COLUMNS:
        if column in row:
            found.set(row, column, number_for(column, row[column])[0])
    return found


NUMBERS_RULE = Rule(
    "numbers",
    "widths, heights, sizes and rates that are not positive, and durations and positions that are negative, "
    "which mean that the number is unknown",
    COLUMNS,
    (),
    lambda columns: " or ".join(f"{name} < {MINIMUM[name]}" for name in columns),
    _clean,
)
