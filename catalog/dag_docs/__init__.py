"""Documents that are generated from the code: DAGs.md, and tables in docs/."""
