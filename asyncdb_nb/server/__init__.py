"""The embedded server: a real PostgreSQL without an installation."""
