"""Catalog → API database → search index: copy, documents, tag policy, indexes, promotion."""
