"""Table 3 of a run, from what was seen of its stages and what their processes said."""

import copy

import pytest

from primage.errors import PrimageError
from primage.operations.study_table import Seen, processes_of, speedup_of, table_of

SEEN = {
    "local": Seen(submitted=10.0, ended=70.5, processes=({"began": 10.1, "ended": 70.2, "partitions": 128},)),
    "batch": Seen(submitted=100.0, ended=162.0),
    "HTC": Seen(submitted=200.0, ended=233.0, queue=1.5),
}
REPORT = {
    "processes": {
        "predictions-batch": [{"began": 100.5, "ended": 160.5, "partitions": 128}],
        "predictions-htc": [
            {"began": 200.9, "ended": 230.9, "partitions": 63},
            {"began": 201.5, "ended": 231.0, "partitions": 65},
        ],
    }
}


def test_execution_is_from_the_first_process_to_the_last_prediction_and_total_has_the_queue():
    table = table_of(SEEN, processes_of(REPORT))
    rows = ("container creation", "file transfers", "queue creation", "execution", "total")
    assert [table["local"][row] for row in rows] == [None, None, None, 60.1, 60.5]
    assert [table["batch"][row] for row in rows] == [0.5, 0.0, None, 60.0, 62.0]
    assert [table["HTC"][row] for row in rows] == [0.9, 0.0, 1.5, 30.1, 34.5]
    assert speedup_of(table) == {"execution": 1.99, "total": 1.8}


def test_what_an_interrupted_study_did_not_see_is_left_out():
    table = table_of({}, processes_of(REPORT))
    assert table["HTC"]["execution"] == 30.1
    assert table["HTC"]["total"] is None
    assert set(table["local"].values()) == {None}
    assert speedup_of(table) == {"execution": 1.99}


def broken(change):
    report = copy.deepcopy(REPORT)
    change(report["processes"]["predictions-htc"][0])
    return report


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"processes": 3},
        {"processes": {"predictions-htc": "all"}},
        broken(lambda process: process.update(began="now")),
        broken(lambda process: process.update(began=float("nan"))),
        broken(lambda process: process.update(ended=100.0)),
        broken(lambda process: process.update(partitions=-1)),
        broken(lambda process: process.update(run="rm")),
    ],
    ids=["nothing", "a number", "a word", "no time", "not a number", "backwards", "fewer than none", "more than asked"],
)
def test_a_report_that_says_nonsense_of_its_processes_is_refused(report):
    with pytest.raises(PrimageError, match="not one"):
        processes_of(report)
