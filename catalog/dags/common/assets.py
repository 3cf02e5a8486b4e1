"""The data that the DAGs read and write, as Airflow's assets: the only place that names them.

Tasks declare assets as `inlets` and `outlets`, from which the UI draws the lineage. No DAG of the catalog is
scheduled by an asset. An asset gets an event only from a task that notes what it has written
(`note_written`), so a task that fails, is skipped, or finds nothing new leaves none, and DAGs of other
projects can be scheduled by these events. Names and URIs must not change: Airflow refuses a second asset with
the same name or URI, and fails the tasks that declare a refused one.
"""

from typing import cast

from airflow.sdk import Asset, BaseOperator, Context, get_current_context

from catalog.core.media import MEDIA_TYPES, MediaType

Value = int | str | bool | None


def _assets(group: str, about: str, suffix: str = "") -> dict[MediaType, Asset]:
    """Return an asset for each media type. Airflow does not interpret URIs whose scheme begins with `x-`."""
    return {
        media_type: Asset(
            f"{group}/{media_type}{suffix}",
            f"x-catalog://{group}/{media_type}{suffix}",
            group=group,
            extra={"about": about},
        )
        for media_type in MEDIA_TYPES
    }


CATALOG = _assets("catalog", "table of the catalog database")
POPULARITY = _assets("popularity", "constants of the providers, with which the records are scored")
API = _assets("api", "tables of the API database")
INDEX = _assets("index", "search index with all documents")
FILTERED = _assets("index", "search index without sensitive media", "-filtered")
DATASET = Asset(
    "dataset/catalog",
    "x-catalog://dataset/catalog",
    group="dataset",
    extra={"about": "versions of the dataset in object storage"},
)


def begin_without_events(context: Context) -> None:
    """Remove the outlets of the task that begins: Airflow creates an event for each when the task succeeds.

    The task is the copy that this attempt executes; the DAG keeps its outlets.
    """
    context["task"].outlets = []


def note_written(asset: Asset, **about: Value) -> None:
    """Note that the current task has written an outlet; its success then creates an event.

    Args:
        asset: The asset; one that the task does not declare as its outlet is ignored.
        about: What the event says, such as the provider and numbers of records.
    """
    context = get_current_context()
    task = cast(BaseOperator, context["task"])
    if asset in context["dag"].get_task(task.task_id).outlets:
        task.outlets = [*task.outlets, asset]
        context["outlet_events"][asset].extra = {
            key: value for key, value in about.items() if value is not None
        }
