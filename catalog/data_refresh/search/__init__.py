"""Indexes of the search engine: filled from the API's tables, checked, and made live."""
