"""A database as an object: sessions, repositories, frames."""
