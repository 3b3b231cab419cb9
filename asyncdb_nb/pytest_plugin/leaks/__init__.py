"""Find what a test left open, close it, and name the test."""
