"""
The sample domain: workflows, their runs and tasks, made up by a simulation or loaded from an event log.

Its tables live in a schema of their own, `workflows`, so they never meet the tables of the database they are put in.
"""

from asyncdb_nb.workflows.event_log.load import EventLog, load_event_log
from asyncdb_nb.workflows.event_log.unload import unload_event_log
from asyncdb_nb.workflows.flow import Flow
from asyncdb_nb.workflows.models import SCHEMA, Run, Status, Task, Workflow, create_tables, drop_tables
from asyncdb_nb.workflows.repository import WorkflowRepository
from asyncdb_nb.workflows.sample.seed import Seeded, ensure_sample, seed_workflows

__all__ = [
    "SCHEMA",
    "EventLog",
    "Flow",
    "Run",
    "Seeded",
    "Status",
    "Task",
    "Workflow",
    "WorkflowRepository",
    "create_tables",
    "drop_tables",
    "ensure_sample",
    "load_event_log",
    "seed_workflows",
    "unload_event_log",
]
