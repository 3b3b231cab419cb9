"""A view in a kernel: controls where somebody looks, answers beside cells, and the same table without anybody."""

from __future__ import annotations

from typing import Any

import pytest
from kernels import HANG, Kernel, needs_subshells
from waiting import wait_until

pytestmark = pytest.mark.keeps_connections

VIEW = "view = await db.view('select g as id from generate_series(1, 300) as g')\nview"


def comm_of(kernel: Kernel) -> str:
    """The name of the widget's comm."""
    return kernel.run("print(view._live._widget.comm.comm_id)").stdout.strip()


def ask(kernel: Kernel, comm: str, subshell: str | None = None, **asked: Any) -> None:
    """Ask as the browser does."""
    content = {"kind": "page", "first": 0, **asked}
    kernel.send("comm_msg", {"comm_id": comm, "data": {"method": "custom", "content": content}}, subshell)


def answer(kernel: Kernel, number: int) -> dict[str, Any]:
    """What the kernel sends to the browser in answer."""

    def heard() -> dict[str, Any] | None:
        message = kernel.client.get_iopub_msg(timeout=HANG)
        sent = message["content"].get("data", {}).get("content", {}) if message["msg_type"] == "comm_msg" else {}
        return sent if sent.get("number") == number and "heard" not in sent else None

    return wait_until(heard) or {}


@pytest.mark.second_tier
def test_the_browser_asks_and_the_kernel_answers(kernel: Kernel) -> None:
    shown = kernel.run(VIEW)
    ask(kernel, comm_of(kernel), number=1, sort=[0, True], filters={"0": "<= 250"}, first=100)

    assert shown.last.startswith("statement: more than 100 rows, 10 shown\nid\n1\n2")
    assert [row[0] for row in answer(kernel, 1)["rows"]] == [str(number) for number in range(150, 50, -1)]


@needs_subshells
def test_a_page_is_turned_while_a_cell_awaits(kernel: Kernel) -> None:
    """As JupyterLab asks, in a subshell; which ipykernel heeds or not, by its version."""
    kernel.run(VIEW)
    comm = comm_of(kernel)
    subshell = kernel.ask("create_subshell_request")["subshell_id"]
    cell = kernel.start("while view._live._task is None: await asyncio.sleep(0.01)\n'turned'")
    ask(kernel, comm, subshell, number=1, first=200)

    assert kernel.wait(cell).last == "'turned'"
    ask(kernel, comm, number=2, first=100)
    assert answer(kernel, 2)["first"] == 100
    assert kernel.ask("delete_subshell_request", subshell_id=subshell)["status"] == "ok"


def test_an_unattended_run_opens_no_widget(kernel: Kernel) -> None:
    """What runs notebooks by itself (nbclient, nbval, papermill) lets no cell ask for input; the table is the same."""
    shown = kernel.run(VIEW, allow_stdin=False)

    assert shown.last.startswith("statement: more than 100 rows")
    assert kernel.run("view._live is None").last == "True"


def test_without_anywidget_the_table_is_the_same(kernel: Kernel) -> None:
    kernel.run("import sys\nkept = {name: sys.modules.pop(name) for name in list(sys.modules) if 'anywidget' in name}")
    kernel.run("sys.modules['anywidget'] = None")
    shown = kernel.run(VIEW)
    html = kernel.run("print(view._repr_html_())").stdout
    live = kernel.run("view._live is None").last
    kernel.run("del sys.modules['anywidget']; sys.modules.update(kept)")

    assert shown.last.startswith("statement: more than 100 rows")
    assert html.count("<tr>") == 11
    assert live == "True"
