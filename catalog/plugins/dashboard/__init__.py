"""The dashboard: pages in Airflow's UI, behind Airflow's login, rendered on the server."""
