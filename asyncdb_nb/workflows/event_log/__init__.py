"""Event logs: CSV files in, and out again."""
