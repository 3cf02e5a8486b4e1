"""Tables of the API's database: copied from the catalog's, or changed, and made live."""
