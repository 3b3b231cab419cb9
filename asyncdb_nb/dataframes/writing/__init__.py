"""
Frames and Arrow into PostgreSQL: by COPY in binary form, exactly, or not at all.

Rows are encoded by pgpq, which is exact for what it takes (numbers, texts, bytes, dates, times, decimals of up to 38
digits, one-dimensional arrays of these) and three times as fast as numpy. What it does not take, `type_families`
write: it gets those values as bytes, which it passes on.
"""
