"""What people look at: health, providers, records, refreshes; read by the dashboard and by the command line.

The cost of each query is independent of the size of the catalog.
"""
