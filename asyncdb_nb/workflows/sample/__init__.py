"""A made-up company, and the history that the tables are filled with."""
