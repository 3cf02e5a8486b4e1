"""What somebody asks for: whose labels these are, and from which confidence on they are wanted."""

from catalog.core.errors import Refused
from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.ingestion.registry import provider_classes

USUAL = "rekognition"


def check_provider(
    connection: Connection, provider: str, *, accept_new: bool = False, accept: str = '{"new_service": true}'
) -> None:
    """Refuse a provider of media, whose own tags would be replaced, and a service that is not known.

    Args:
        connection: Connection to the catalog database.
        provider: The service that made the labels.
        accept_new: It may be one of which no labels were merged before. A mistyped name looks like one: its
            labels would be added to those that they are to replace.
        accept: The conf of a run that does the same and accepts it.
    """
    names = {name for cls in provider_classes() for name in (cls.name, *cls.catalog_names.values())}
    stored = "select exists (select from image where provider = %s)"
    if provider in names or value(connection, stored, [provider]):
        raise Refused(
            f"provider: {provider} is a provider of media, whose own tags would be replaced; "
            "name the service that made the labels."
        )
    merged = (
        "select distinct provider from label_run"
        " where merging_since is not null or outcome ->> 'merged' = 'true'"
    )
    known = sorted({USUAL, *(name for (name,) in connection.execute(merged))})
    if provider not in known and not accept_new:
        raise Refused(
            f"provider: no labels of {provider} were merged before, but of {', '.join(known)}; correct it. "
            f"For the first labels of a service, trigger a run with the conf {accept}."
        )


def check_least(confidence: float) -> None:
    """Refuse a least confidence that was meant as one from 0 to 1, and would leave out nothing."""
    if 0 < confidence < 1:
        raise Refused(
            f"least_confidence: {confidence:g} of 100 leaves out hardly anything; if you mean "
            f"{confidence:.0%}, give {confidence * 100:g}."
        )
