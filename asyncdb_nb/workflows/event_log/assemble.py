"""
Make runs and tasks out of events, on the server.

The events lie in a temporary table. A case becomes a run. An activity becomes a task: its completion, together with its
start where the log has one, as a column or as an event of its own. The first completion of an activity ends its first
start that is still open (in the same case); a completion without a start is a task of its own, a start without a
completion is a task that is still running. Of events of one activity in the same moment, starts come first: a log that
counts whole seconds lists them in any order.

    queued_at     when the tasks before it in its case had ended; for the first task of a case, and where they overlap,
                  its own start (or completion, where the start is unknown)
    started_at    its start; unknown where the log records completions only
    finished_at   its completion

A task has `attempt` 2 and more where its activity was there before in the case: a retry, or rework. A run has failed if
the last attempt at any of its activities failed; it is running while a task is; else it ended as its last task did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

EVENTS = "asyncdb_nb_events"
_TASKS = "asyncdb_nb_tasks"

# ruff: noqa: S608  the statements below are put together from constants

_CREATE_EVENTS = f"""
create temporary table {EVENTS} (
    line bigint, case_id text, step text, at timestamptz, start_at timestamptz, phase text,
    error text, worker text, cost numeric(12, 4), context jsonb
) on commit drop
"""

_ATOMIC = f"""
select line, case_id, step, case phase when 'start' then at else start_at end as started_at,
    case when phase <> 'start' then at end as finished_at, phase, error, worker, cost, context
from {EVENTS} where phase <> 'ignore'
"""

_PAIRED = f"""
select min(line) as line, case_id, step,
    coalesce(min(at) filter (where opens), min(start_at)) as started_at,
    max(at) filter (where not opens) as finished_at,
    coalesce(max(phase) filter (where not opens), 'start') as phase,
    max(error) filter (where not opens) as error,
    (array_agg(worker order by opens) filter (where worker is not null))[1] as worker,
    max(cost) as cost,
    (array_agg(context order by opens) filter (where context is not null))[1] as context
from (  -- a start and its end get the same number; an end without a start gets its negative line
    select *, case
        when opens then starts
        when orphans > lag(orphans, 1, 0::bigint) over so_far then -line
        else ends - orphans end as pair
    from (  -- how many ends had no start to end, up to here
        select *, greatest(0, max(ends - starts) over so_far) as orphans
        from (
            select *, phase = 'start' as opens,
                count(*) filter (where phase = 'start') over so_far as starts,
                count(*) filter (where phase <> 'start') over so_far as ends
            from {EVENTS} where phase <> 'ignore'
            window so_far as (partition by case_id, step order by at, phase <> 'start', line)
        ) counted
        window so_far as (partition by case_id, step order by at, phase <> 'start', line)
    ) balanced
    window so_far as (partition by case_id, step order by at, phase <> 'start', line)
) numbered
group by case_id, step, pair
"""

_CREATE_TASKS = f"""
create temporary table {_TASKS} on commit drop as
select *,
    row_number() over in_case as position,
    row_number() over in_step as attempt,
    lead(line) over in_step is null as is_last_attempt,
    least(began, max(finished_at) over (in_case rows between unbounded preceding and 1 preceding)) as queued_at,
    case phase when 'start' then 'running' when 'complete' then 'succeeded' when 'cancel' then 'cancelled'
        else 'failed' end as status
from (select *, coalesce(started_at, finished_at) as began from (%s) tasks) dated
window in_case as (partition by case_id order by began, line),
    in_step as (partition by case_id, step order by began, line)
"""

_INSERT_RUNS = """
insert into {schema}.run (workflow_id, case_id, status, retries, cost, queued_at, started_at, finished_at)
select :workflow_id, case_id,
    case when bool_or(status = 'running') then 'running'
        when bool_or(status = 'failed' and is_last_attempt) then 'failed'
        when (array_agg(status order by position desc))[1] = 'cancelled' then 'cancelled'
        else 'succeeded' end,
    count(*) filter (where attempt > 1), sum(cost), min(queued_at), (array_agg(started_at order by position))[1],
    case when not bool_or(status = 'running') then max(finished_at) end
from {tasks} group by case_id order by min(line)
"""

_INSERT_TASKS = """
insert into {schema}.task (run_id, position, step, attempt, status, worker, error, cost, context,
    queued_at, started_at, finished_at)
select run.id, position, step, attempt, task.status, worker, task.error, task.cost, task.context,
    task.queued_at, task.started_at, task.finished_at
from {tasks} task join {schema}.run on run.workflow_id = :workflow_id and run.case_id = task.case_id
order by run.id, position
"""


async def create_events(connection: AsyncConnection) -> None:
    """Create the temporary table of events; it goes with the transaction, if not with `assemble`."""
    await connection.execute(text(_CREATE_EVENTS))


async def assemble(connection: AsyncConnection, schema: str, workflow_id: int, paired: bool) -> None:
    """
    Make the runs and tasks of one workflow, and drop the events.

    Args:
        connection: The connection on which the events were loaded.
        schema: Where the tables are, as SQL takes its name.
        workflow_id: Whose runs they are.
        paired: Whether starts and completions are events of their own.
    """
    await connection.execute(text(_CREATE_TASKS % (_PAIRED if paired else _ATOMIC)))
    await connection.execute(text(f"drop table {EVENTS}"))
    await connection.execute(text(f"analyze {_TASKS}"))
    for table, insert in (("run", _INSERT_RUNS), ("task", _INSERT_TASKS)):
        await connection.execute(text(insert.format(schema=schema, tasks=_TASKS)), {"workflow_id": workflow_id})
        await connection.execute(text(f"analyze {schema}.{table}"))
    await connection.execute(text(f"drop table {_TASKS}"))
