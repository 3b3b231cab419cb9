"""The flow of a process as an object: what it shows, what it says that it hides, and its picture."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from pathlib import Path

import pytest

from asyncdb_nb import Database
from asyncdb_nb.workflows import WorkflowRepository, load_event_log
from asyncdb_nb.workflows.flow import Flow
from asyncdb_nb.workflows.flow_arrow import duration
from asyncdb_nb.workflows.flow_layout import place

PATHS = [["a", "b", "c"]] * 70 + [["a", "c"]] * 20 + [["a", "b", "b", "c"]] * 7 + [["a", "$x_{2}$", "a", "c"]] * 3


async def flow_of(db: Database, folder: Path, paths: list[list[str]]) -> Flow:
    lines = [
        f"{case},{step},2024-03-04 {position // 60:02}:{position % 60:02}"
        for case, path in enumerate(paths)
        for position, step in enumerate(path)
    ]
    (file := folder / "log.csv").write_text("\n".join(["case,activity,timestamp", *lines]))
    await load_event_log(db, file)
    async with db.session(readonly=True) as session:
        return await WorkflowRepository(session, schema="log").flow()


@pytest.fixture
async def flow(db: Database, tmp_path: Path) -> Flow:
    return await flow_of(db, tmp_path, PATHS)


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


async def test_a_flow_shows_the_fewest_arrows_and_says_how_many_runs_that_are(flow: Flow):
    assert flow.caption(0.5) == "70 % of runs shown (70 of 100): 4 of 8 arrows, 3 of 4 steps"
    assert flow.caption(0.9) == "90 % of runs shown (90 of 100): 5 of 8 arrows, 3 of 4 steps"
    assert flow.caption(0.91) == "97 % of runs shown (97 of 100): 6 of 8 arrows, 3 of 4 steps"
    assert flow.caption(1) == "100 % of runs shown (100 of 100): 8 of 8 arrows, 4 of 4 steps"
    assert flow.steps == {"a": 103, "c": 100, "b": 84, "$x_{2}$": 3}
    assert repr(flow) == "<Flow: 100 runs, 4 steps, 8 arrows. Next: .plot(), .frame(), print()>"
    assert flow.text(0.9).splitlines()[1:] == [
        "100  (begin) → a",
        "100  c → (end)",
        " 77  a → b  1 min",
        " 77  b → c  1 min",
        " 23  a → c  1 min",
    ]


async def test_the_runs_that_are_shown_are_those_with_all_their_arrows(db: Database, tmp_path: Path):
    """Against runs counted one by one; and each arrow belongs to a run that is shown whole."""
    draw = random.Random(2)
    paths = [draw.choices("abcde", [5, 4, 3, 2, 1], k=draw.randint(1, 6)) for _ in range(300)]
    pairs = [set(zip([None, *path], [*path, None], strict=True)) for path in paths]
    flow = await flow_of(db, tmp_path, paths)

    for coverage in (0.001, 0.1, 0.3, 0.5, 0.77, 0.9, 1):
        shown = {(arrow.source, arrow.target) for arrow in flow.shown(coverage)}
        whole = [each for each in pairs if each <= shown]
        assert f"({len(whole)} of 300)" in flow.caption(coverage)
        assert len(whole) >= coverage * 300
        assert shown == set().union(*whole)
    times = Counter(pair for path in paths for pair in zip([None, *path], [*path, None], strict=True))
    assert {(arrow.source, arrow.target): arrow.times for arrow in flow.arrows} == times


async def test_a_coverage_without_its_name_is_told_what_to_type(flow: Flow):
    """`flow.text(0.9)` takes it so; the first argument of `plot` is where to draw."""
    with pytest.raises(TypeError, match=r"not 0\.9\. Type: plot\(coverage=0\.9\)$"):
        flow.plot(0.9)  # type: ignore[arg-type]


@pytest.mark.parametrize("coverage", [0, -0.1, 1.01, float("nan")])
async def test_a_coverage_that_is_no_share_is_refused(flow: Flow, coverage: float):
    with pytest.raises(ValueError, match=r"above 0 and at most 1, such as 0\.9; not"):
        flow.plot(coverage=coverage)


async def test_the_frame_is_that_of_transitions_and_the_users_own(db: Database, flow: Flow):
    async with db.session(readonly=True) as session:
        transitions = await WorkflowRepository(session, schema="log").transitions()

    assert flow.frame().equals(transitions)
    changed = flow.frame()
    changed["times"] = 0
    assert flow.frame().equals(transitions)


async def test_the_picture_names_its_steps_and_says_what_it_hides(flow: Flow):
    """A step's name is written as it is, whatever matplotlib would make of it."""
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.close("all")  # of other tests
    most, everything = flow.plot(coverage=0.9), flow.plot(coverage=1, title="All of $it", dark=True)

    assert {"begin\n100", "a\n103", "b\n84", "c\n100", "end\n100"} <= set(texts(most))
    assert "$x_{2}$\n3" in texts(everything)
    assert not any("$x" in text for text in texts(most))
    assert "90 % of runs shown (90 of 100)" in most.get_xlabel()
    assert everything.get_title("left") == "All of $it"
    everything.figure.canvas.draw()
    assert flow._repr_png_().startswith(b"\x89PNG")
    assert len(plt.get_fignums()) == 2, "showing a flow leaves no figure behind"
    plt.close("all")


async def test_a_flow_of_nothing_can_be_shown(db: Database, flow: Flow):
    plt = pytest.importorskip("matplotlib.pyplot")
    async with db.session(readonly=True) as session:
        nothing = await WorkflowRepository(session, schema="log").flow(workflow="no such")

    assert str(nothing) == nothing.plot().get_xlabel() == "No run has a task."
    assert (nothing.runs, nothing.steps, nothing.arrows) == (0, {}, [])
    assert nothing._repr_png_().startswith(b"\x89PNG")
    plt.close("all")


def test_steps_of_a_layer_do_not_overlap_and_only_arrows_back_lead_upward():
    """Forty steps with loops of all kinds, placed in the same way each time."""
    draw = random.Random(7)
    steps = [f"s{i}" for i in range(40)]
    weights = {tuple(draw.choices(steps, k=2)): draw.randint(1, 99) for _ in range(90)}
    weights |= {(0, "s0"): 100, ("s39", 1): 100}

    layout = place(weights, 0, 1, 1.5, 0.3)

    assert layout == place(weights, 0, 1, 1.5, 0.3)
    at = sorted((depth, x) for x, depth in layout.at.values())
    assert all(x1 - x0 >= 1.5 for (d0, x0), (d1, x1) in itertools.pairwise(at) if d0 == d1)
    for (source, target), route in layout.routes.items():
        assert (route[0], route[-1]) == (layout.at[source], layout.at[target])
        assert (route[0][1] > route[-1][1]) == ((source, target) in layout.back)
        assert {abs(a[1] - b[1]) for a, b in itertools.pairwise(route)} == {1}
    assert set(layout.routes) == {edge for edge in weights if edge[0] != edge[1]}


def test_durations_are_written_as_people_say_them():
    said = [duration(seconds) for seconds in (0, 59, 60, 3599, 5400, 36000, 90000, 864000)]
    assert said == ["0 s", "59 s", "1 min", "60 min", "1.5 h", "10 h", "1.0 d", "10 d"]
