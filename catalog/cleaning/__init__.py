"""Cleans rows of the catalog that other programs wrote: to what ingestion writes for the same values."""
