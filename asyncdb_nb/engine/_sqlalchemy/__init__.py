"""
The seam to SQLAlchemy: the one place that touches its private names.

`pool` is about pools, `execution` about what happens on a connection, `statements` about statements and results.
"""
