"""Fields of trigger forms that several DAGs share."""

from airflow.sdk import Param

from catalog.core.media import MEDIA_TYPES
from catalog.dags.common.conf import END

SUFFIX = r"^[a-z0-9][a-z0-9_-]{0,63}" + END  # of the name of an index
_DAY = r"^\d{4}-\d{2}-\d{2}" + END

REPLAY = Param(
    None,
    type=["null", "string"],
    minLength=1,
    title="Replay",
    description_md="Folder of a recording to answer from instead of the network; nothing is requested.",
)


def media_type_param() -> Param:
    return Param(type="string", enum=list(MEDIA_TYPES), title="Media type", description_md="Which media.")


def rows_params(table: str, rows: str) -> dict[str, Param]:
    """Return the fields that say which rows of which table.

    Args:
        table: Description of the table.
        rows: Description of the condition.
    """
    return {
        "table_name": Param(type="string", enum=list(MEDIA_TYPES), title="Table", description_md=table),
        "select_query": Param(type="string", pattern=r"^WHERE\s", title="Which rows", description_md=rows),
    }


def batch_size_param() -> Param:
    return Param(
        10_000,
        type="integer",
        minimum=1,
        maximum=1_000_000,
        title="Batch size",
        description_md="Rows in a batch.",
    )


def dry_run_param(about: str, *, default: bool = True) -> Param:
    """Return the field that lets a run change nothing.

    Args:
        about: What such a run does.
        default: Whether a run is one unless the conf says otherwise.
    """
    return Param(default, type="boolean", title="Dry run", description_md=about)


def provider_params(*, dated: bool = False, since: bool = False) -> dict[str, Param]:
    """Return the fields of a provider's form; none is required.

    Args:
        dated: A run pulls a day.
        since: A run pulls everything, or what was added since a day. Without both, no day can be given.
    """
    day = Param(
        None,
        type=["null", "string"],
        format="date",
        pattern=_DAY,
        title="Date",
        description_md="The UTC day to pull. Empty: the run's own day."
        if dated
        else "Pull only what was added since this UTC day. Empty: everything.",
    )
    return {
        **({"date": day} if dated or since else {}),
        "limit": Param(
            0,
            type="integer",
            minimum=0,
            maximum=10**12,
            title="Limit",
            description_md="Stop after this number of records. 0: no limit.",
        ),
        "initial_query_params": Param(
            None,
            type=["null", "object"],
            title="Start here",
            description_md='Query parameters of the first request, for example `{"page": 120}`; '
            "the pull continues from there.",
        ),
        "query_params_list": Param(
            None,
            type=["null", "array"],
            items={"type": "object"},
            title="Only these",
            description_md="A list of query parameters: one request for each, and nothing else.",
        ),
        "additional_query_params": Param(
            {},
            type=["null", "object"],
            title="Add to each request",
            description_md="Query parameters that are added to every request.",
        ),
        "skip_ingestion_errors": Param(
            False,
            type="boolean",
            title="Skip errors",
            description_md="Continue with the next page when one fails; failures are reported at the end.",
        ),
        "include_deleted": Param(
            False,
            type="boolean",
            title="Include deleted",
            description_md="Restore records that were deleted from the catalog.",
        ),
        "accept_shortfall": Param(
            False,
            type="boolean",
            title="Accept as whole",
            description_md="Count the pull as whole although it brings less than the API announces, or than "
            "is usual. For when an alert said that a pull is not whole, and you have found that the provider "
            "really has less now. Less than was reported is not accepted.",
        ),
        "replay": REPLAY,
    }
