"""Event loops: cleanup before a loop closes, `run()` from synchronous code, awaitables, Ctrl-C."""
