"""Decode the binary format of COPY into columns."""
