"""The AWS clients of tasks."""

from typing import Any

from catalog.core.settings import AWS_RDS_CONN_ID, AWS_RDS_POKE_INTERVAL
from catalog.dags.common.settings import environment

POKE = environment(AWS_RDS_POKE_INTERVAL)  # seconds


def rds() -> Any:
    """Return boto3's client for RDS, through the connection that AWS_RDS_CONN_ID names.

    It comes from the provider's hook. The provider's operators would be imported whenever DAG files are
    parsed, and none of them renames an instance or restores one under a new name.
    """
    from airflow.providers.amazon.aws.hooks.rds import RdsHook

    return RdsHook(aws_conn_id=environment(AWS_RDS_CONN_ID)).conn
