"""
One file for each family of types: all that is known of uuid is in `uuid`.

A family's `KINDS` say what a column of PostgreSQL becomes: its Arrow type and pandas dtypes, how its bytes are read
and written, one value at a time and many, what a value of the driver's becomes, which Python values a column takes,
which classes of SQLAlchemy and Python mean it, how a value is written as a literal, and what the documentation says.
The order is that of the documentation; a range stands after what its bounds are.
"""

from __future__ import annotations

from asyncdb_nb.dataframes.type_families import (
    arrays,
    binary_strings,
    booleans,
    dates_and_times,
    floats,
    geometric,
    hstore,
    integers,
    intervals,
    json,
    network,
    numeric,
    python_processed,
    ranges,
    rows,
    system,
    text,
    uuid,
)
from asyncdb_nb.dataframes.type_families.kind import KINDS

for _family in (
    booleans,
    integers,
    floats,
    numeric,
    text,
    binary_strings,
    dates_and_times,
    intervals,
    uuid,
    json,
    network,
    geometric,
    hstore,
    arrays,
    ranges,
    rows,
    system,
    python_processed,
):
    KINDS.update((kind.name, kind) for kind in _family.KINDS)
