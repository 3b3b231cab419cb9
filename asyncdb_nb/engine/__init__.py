"""Everything at and below an engine: the pool, the connections, and what a connection string means."""
