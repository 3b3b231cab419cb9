"""Event logs: CSV files loaded into the database, and deleted from it."""
