"""Looking at data: what a table holds, why a statement is slow, how tables belong together."""
