"""DAGs that get the OAuth2 tokens of providers and keep them valid."""

from airflow.sdk import task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from catalog.core.errors import CatalogError
from catalog.core.wording import join_first, meant_or_all
from catalog.dags.common import oauth2
from catalog.dags.dag_factory import catalog_dag
from catalog.ingestion.provider import Provider
from catalog.ingestion.registry import provider_classes

PROVIDERS = [cls for cls in provider_classes() if cls.oauth2]
LIST = "\n".join(f"- {cls.name.replace('_', ' ').title()}" for cls in PROVIDERS)
PAGES = "\n".join(f"- {cls.name}: <{cls.oauth2.authorize_url}>" for cls in PROVIDERS if cls.oauth2)

AUTHORIZATION = f"""
Exchanges authorization codes, which a person gets in a browser, for the first pair of tokens. It is needed
once for each provider, and again when the refresh token has expired.

1. Open the provider's page with `?response_type=code&client_id=…`, log in and allow access. The page then
   shows a code, which is valid for a few minutes and can be used once:

{PAGES}

2. Set the Variable `OAUTH2_AUTH_KEYS` to `{{"freesound": "<the code>"}}`. `OAUTH2_PROVIDER_SECRETS` must hold
   the credentials of the registered application: `{{"freesound": {{"client_id": "…", "client_secret":
   "…"}}}}`.
3. Trigger this DAG. It stores the tokens in `OAUTH2_ACCESS_TOKENS` and removes the code. Without a code it
   does nothing.

Providers:

{LIST}
"""
REFRESH = f"""
Renews the tokens twice a day, because refresh tokens expire too. A pull whose token expires renews it as
well; each checks whether the other has already done so. A provider without tokens is skipped:
`oauth2_authorization` gets the first ones, and new ones if the refresh token was revoked or has expired, in
which case the task fails.

Providers:

{LIST}
"""


@task(retries=0)
def authorize_providers() -> list[str]:
    """Return the providers whose code was exchanged. Tokens that were stored before a failure stay.

    Skipped if there is no code. Fails if a code is of no provider: it would expire unused.
    """
    done, failed = [], []
    others = sorted(oauth2.providers_with_code() - {cls.name for cls in PROVIDERS})
    for cls in PROVIDERS:
        try:
            if oauth2.authorize(cls):
                done.append(cls.name)
        except CatalogError as error:
            failed.append(f"{cls.name}: {error}")
    if failed:
        raise AirflowFailException(
            f"{'; '.join(failed)}. Codes are valid once and for minutes: get a new one. If the server was "
            "only busy, the code is still stored: clear this task at once."
        )
    if others:
        names = meant_or_all(others[0], [cls.name for cls in PROVIDERS])
        raise AirflowFailException(
            f"the Variable {oauth2.CODES.name} has a code of {join_first(others)}, which is no provider "
            f"here; {names}. Get a new code if it has expired."
        )
    if not done:
        raise AirflowSkipException(f"the Variable {oauth2.CODES.name} has no code.")
    return done


def refresh_task(cls: type[Provider]) -> None:
    @task(task_id=f"refresh__{cls.name}", retries=0)
    def refresh() -> None:
        try:
            renewed = oauth2.renew(cls)
        except CatalogError as error:
            raise AirflowFailException(
                f"{error}. If the refresh token is no longer valid, run oauth2_authorization with a new code."
            ) from None
        if renewed is None:
            raise AirflowSkipException(
                f"{cls.name} has no tokens yet; run oauth2_authorization to get the first ones."
            )

    refresh()


with catalog_dag("oauth2_authorization", "oauth", schedule=None, doc=AUTHORIZATION.strip(), example={}):
    authorize_providers()

with catalog_dag("oauth2_token_refresh", "oauth", schedule="0 */12 * * *", doc=REFRESH.strip()):
    for provider in PROVIDERS:
        refresh_task(provider)
