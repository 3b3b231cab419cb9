"""Give each test a clean database."""
