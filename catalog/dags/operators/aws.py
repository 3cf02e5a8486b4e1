"""AWS as tasks use it."""

import os
from typing import Any

from catalog.dags.operators.variables import environment
from catalog.settings import AWS_RDS_POKE_INTERVAL

POKE = environment(AWS_RDS_POKE_INTERVAL)  # seconds


def rds() -> Any:
    """boto3's client of RDS, through the connection `aws_default` or what AWS_RDS_CONN_ID names.

    The provider's hook, because its operators and sensors would be imported whenever DAG files are parsed.
    """
    from airflow.providers.amazon.aws.hooks.rds import RdsHook

    return RdsHook(aws_conn_id=os.environ.get("AWS_RDS_CONN_ID", "aws_default")).conn
