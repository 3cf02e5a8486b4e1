"""Documents that are generated from the code: DAGs.md, and tables of the README."""
