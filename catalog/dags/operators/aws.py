"""AWS as tasks use it."""

from typing import Any

from catalog.core.settings import AWS_RDS_CONN_ID, AWS_RDS_POKE_INTERVAL
from catalog.dags.operators.variables import environment

POKE = environment(AWS_RDS_POKE_INTERVAL)  # seconds


def rds() -> Any:
    """boto3's client of RDS, through the connection `aws_default` or what AWS_RDS_CONN_ID names.

    The provider's hook, because its operators and sensors would be imported whenever DAG files are parsed.
    """
    from airflow.providers.amazon.aws.hooks.rds import RdsHook

    return RdsHook(aws_conn_id=environment(AWS_RDS_CONN_ID)).conn
