"""See what loops, connections and the server do: `trace()` and the doctor."""

from asyncdb_nb.diagnostics.doctor import Diagnosis, examine
from asyncdb_nb.diagnostics.finding import Finding, Level
from asyncdb_nb.diagnostics.timeline import Trace, trace

__all__ = ["Diagnosis", "Finding", "Level", "Trace", "examine", "trace"]
