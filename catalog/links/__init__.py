"""Which links of the catalog are gone: polite requests, and what follows from them."""
