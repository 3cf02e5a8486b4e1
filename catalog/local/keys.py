"""The keys of the local stack: their values, and whether the APIs accept them."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from catalog.core.secrets import Secret
from catalog.core.settings import CONTACT_EMAIL, PRIVATE_HOSTS
from catalog.ingestion.credentials import ApiKey
from catalog.ingestion.key_check import Answer, ask
from catalog.ingestion.provider import Provider
from catalog.ingestion.registry import provider_classes
from catalog.local.variables import value_of


def answers(stored: Mapping[str, str]) -> Iterator[tuple[ApiKey, type[Provider], Answer]]:
    """Ask each API whose key is set whether it accepts the key; all at once, as each has its own limits.

    Args:
        stored: The stored Variables by name; see `value_of`.
    """
    contact, _ = CONTACT_EMAIL.decode(value_of(CONTACT_EMAIL.name, stored))
    private_hosts, _ = PRIVATE_HOSTS.decode(value_of(PRIVATE_HOSTS.name, stored))
    with ThreadPoolExecutor() as pool:
        asked = [
            (key, cls, pool.submit(ask, cls, Secret(value), contact=contact, private_hosts=private_hosts))
            for cls in provider_classes()
            if (key := cls.key) and (value := value_of(key.variable, stored))
        ]
        for key, cls, answer in asked:
            yield key, cls, answer.result()
