"""The exercises of the lessons: what each asks for, and how its answer is examined."""

from __future__ import annotations

from asyncdb_nb.lessons.exercises import (
    event_loops,
    logs,
    processes,
    results,
    stopping,
    test_suites,
    unit_of_work,
    which_pool,
    workflows,
)
from asyncdb_nb.lessons.exercises.exercise import Exercise

EXERCISES: dict[str, Exercise] = {
    "01.1": results.DEAREST_OWNERS,
    "02.1": event_loops.THREE_LOOPS,
    "03.1": event_loops.ASK_TWICE,
    "04.1": stopping.PATIENCE,
    "04.2": stopping.ENOUGH,
    "05.1": results.REGIONS,
    "05.2": results.TO_THE_LAST_DIGIT,
    "06.1": workflows.FULLEST_NIGHT,
    "06.2": workflows.DOING_IT_TWICE,
    "06.3": workflows.OWN_PICTURE,
    "07.1": unit_of_work.OWN_REPOSITORY,
    "07.2": unit_of_work.UNIT_OF_WORK,
    "08.1": test_suites.A_TEST_THAT_CAN_FAIL,
    "09.1": logs.SOMEBODY_ELSES_FILE,
    "09.2": logs.WAYS_THROUGH,
    "10.1": which_pool.A_PING,
    "10.2": which_pool.CHOOSE,
    "11.1": processes.COMMON_WAYS,
    "11.2": processes.AGAIN,
}
