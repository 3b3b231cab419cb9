"""See what loops, connections and the server do: `trace()` and the doctor."""
