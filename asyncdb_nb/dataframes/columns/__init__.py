"""One column of a frame, from values to Arrow and pandas."""
