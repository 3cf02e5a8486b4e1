"""DAGs.md, made from what the factory knows of each DAG."""
