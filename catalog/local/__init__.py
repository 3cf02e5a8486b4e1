"""The stack on one machine: PostgreSQL, OpenSearch, Airflow and their supervisor; demo and doctor."""
