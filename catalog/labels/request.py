"""What somebody asks for: whose labels these are, and from which confidence on they are wanted."""

from catalog.core.errors import Refused
from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.ingestion.registry import provider_classes


def check_provider(connection: Connection, provider: str) -> None:
    """Refuse a provider of labels that is one of media: its own tags would be replaced, now or later."""
    names = {name for cls in provider_classes() for name in (cls.name, *cls.catalog_names.values())}
    stored = "select exists (select from image where provider = %s)"
    if provider in names or value(connection, stored, [provider]):
        raise Refused(
            f"provider: {provider} is a provider of media, whose own tags would be replaced; "
            "name the service that made the labels."
        )


def check_least(confidence: float) -> None:
    """Refuse a least confidence that was meant as one from 0 to 1, and would leave out nothing."""
    if 0 < confidence < 1:
        raise Refused(
            f"least_confidence: {confidence:g} of 100 leaves out hardly anything; if you mean "
            f"{confidence:.0%}, give {confidence * 100:g}."
        )
