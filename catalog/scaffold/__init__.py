"""`./just add-provider` and `./just expect`: a new provider, and the rows that its recording yields."""
