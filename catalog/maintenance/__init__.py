"""Maintenance of the deployment: RDS snapshots, the staging database, pull requests and logs."""
