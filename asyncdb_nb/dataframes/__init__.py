"""Statement or results → DataFrame, exact for every type."""
