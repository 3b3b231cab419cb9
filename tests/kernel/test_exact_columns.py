"""An error of pandas for exact decimals or dates is followed by one line that names the columns and what to type."""

from __future__ import annotations

import pytest
from kernels import Kernel, KernelMaker
from tiers import few_of

pytestmark = pytest.mark.keeps_connections

OPTIONS = {"cost": 'numeric="float"', "day": 'dates="timestamp"'}


@pytest.fixture(scope="module")
def kernel(start_kernel: KernelMaker) -> Kernel:
    kernel = start_kernel("exact")
    reply = kernel.run(
        "import matplotlib; matplotlib.use('Agg')\nimport numpy as np, pandas as pd\nfrom asyncdb_nb import connect\n"
        "db = await connect()\n"
        "df = await db.frame('select date \\'2024-01-01\\' + g as day, g::numeric as cost, g as n "
        "from generate_series(1, 9) g')"
    )
    assert reply.status == "ok", reply
    return kernel


@pytest.mark.parametrize(
    ("code", "columns"),
    few_of(
        [
            ("df.plot(x='day', y='cost')", ["day", "cost"]),
            ("df['cost'].plot()", ["cost"]),
            ("df[['cost']].plot.box()", ["cost"]),
            ("df.resample('W', on='day').sum()", ["day", "cost"]),
            ("df['cost'].quantile(0.5)", ["cost"]),
            ("df['cost'] * 1.5", ["cost"]),
            ("df['day'] > '2024-01-03'", ["day"]),
            ("df['day'].between('2024-01-01', '2024-01-04')", ["day"]),
            ("df['day'].dt.to_period('M')", ["day"]),
            ("np.log(df['cost'])", ["cost"]),
            ("df['cost'].iloc[0] * 1.5", ["cost"]),
            ("def f():\n    return df['cost'].plot()\nf()", ["cost"]),
        ],
        2,
    ),
)
def test_scenario_83_the_columns_are_named_with_what_to_type(kernel: Kernel, code: str, columns: list[str]) -> None:
    reply = kernel.run(code)

    assert reply.status == "error"
    [line] = reply.stdout.splitlines()
    assert [name for name in OPTIONS if name in line.partition(". To plot")[0]] == sorted(columns)
    for name, option in OPTIONS.items():
        assert (option in line) == (name in columns)


@pytest.mark.second_tier
@pytest.mark.parametrize(
    "code",
    ["df['nothing']", "1 / 0", "df.plot(x='n', y='gone')", "int('x')", "df['n'] + [1, 2]", "None.plot()"],
)
def test_another_error_is_left_alone(kernel: Kernel, code: str) -> None:
    reply = kernel.run(code)

    assert reply.status == "error"
    assert reply.stdout == ""


def test_scenario_83_what_the_line_says_to_type_works(kernel: Kernel) -> None:
    said = kernel.run("df.plot(x='day', y='cost')").stdout
    assert 'await db.frame(..., numeric="float", dates="timestamp")' in said
    assert "`%%asql --numeric float --dates timestamp`" in said
    assert 'there already, `.astype("float64")` and `.astype("datetime64[us]")`.' in said
    assert "0   2024-01-02" in kernel.run("df['day'].astype('datetime64[us]').head(1)").last
    assert kernel.run("df['cost'].astype('float64').nlargest(1).item()").last == "9.0"

    reply = kernel.run(
        "%%asql --numeric float plottable = --dates timestamp\n"
        "select date '2024-01-01' + g as day, g::numeric as cost from generate_series(1, 9) g"
    )
    assert reply.status == "ok", reply
    assert kernel.run("plottable.plot(x='day', y='cost').lines[0].get_ydata().sum()").last.endswith("45.0)")
