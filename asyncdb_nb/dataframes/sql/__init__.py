"""SQL text as a user types it: its tokens, its binds, and the values for them."""
