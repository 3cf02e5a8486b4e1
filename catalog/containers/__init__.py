"""What the image runs: `init`, secrets and health checks.

The local stack prepares Airflow's database with the same code, and has the same list of sensitive terms.
"""
