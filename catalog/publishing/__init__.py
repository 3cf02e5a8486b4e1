"""The catalog as a dataset: Parquet files, their manifest, and how to query them."""
