"""Recordings as tables: Parquet of other tools, plain CSV, counts; and routing in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from recordings import SHAPE, TINY, json_lines, make_trace, write_csv, write_parquet

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import parse
from prefetch_sim.sim.setup.inputs import load
from prefetch_sim.traces.format import DECODE, PREFILL, Trace, TraceError, read_trace, write_trace
from prefetch_sim.traces.importers import FORMATS, import_trace
from prefetch_sim.traces.importers.tidy import UNPHASED
from prefetch_sim.traces.models.catalogue import shape
from prefetch_sim.traces.validate import validate


def test_moe_beyond_with_predictions_has_no_batches(tmp_path: Path) -> None:
    rows = ['1,0,"[0, 1]","[0, 2]"', '1,1,"[1, 2]","[1, 2]"', '2,0,"[2, 3]","[2, 3]"']
    header = "Layer ID,Token,Activated Expert IDs,Predicted Expert IDs"
    path = tmp_path / "predicted.csv"
    path.write_text("\n".join([header, *rows, '2,1,"[0, 3]","[0, 1]"']))
    trace = import_trace(path, model=SHAPE)
    assert trace.requests == [(0, 0, 2)]
    assert trace.experts.tolist() == [[[0, 1], [2, 3]], [[1, 2], [0, 3]]]
    assert trace.predictions["moe-beyond"].experts[1].tolist() == [[1, 2], [0, 1]]
    assert trace.token_id is None  # a number of the token is no token


def test_another_parquet_is_explained_without_a_circle(tmp_path: Path) -> None:
    pq.write_table(pa.table({"token": [1, 2], "indices": [[0, 1], [2, 3]]}), tmp_path / "o.parquet")
    with pytest.raises(TraceError, match="Parquet, but no trace of this format"):
        import_trace(tmp_path / "o.parquet")
    with pytest.raises(TraceError, match="not a routing trace; of a trace that another tool wrote"):
        read_trace(tmp_path / "o.parquet")


def test_a_trace_that_pandas_wrote_again(tmp_path: Path) -> None:
    trace = make_trace(SHAPE, [(2, 2), (0, 3)], seed=3)
    trace.experts[0, 1] = -1
    trace.weights = np.where(trace.experts < 0, 0, 0.5).astype(np.float16)
    write_trace(tmp_path / "a.parquet", trace)
    frame = pd.read_parquet(tmp_path / "a.parquet")
    frame.sample(frac=1, random_state=1).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(TraceError, match="does not say its model"):
        import_trace(tmp_path / "b.parquet")
    again = import_trace(tmp_path / "b.parquet", model=SHAPE)
    assert sorted(last - first for _, first, last in again.requests) == [3, 4]
    order = np.lexsort((again.position, again.request_id))
    np.testing.assert_array_equal(again.experts[order], trace.experts)
    assert again.weights is not None
    np.testing.assert_array_equal(again.weights[order], trace.weights)


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.list_(pa.uint8())),
        pa.large_list(pa.large_list(pa.int64())),
        pa.list_(pa.list_(pa.int16(), 2)),
        pa.list_(pa.list_(pa.int32(), 2), 2),
    ],
    ids=str,
)
def test_lists_of_any_kind(kind: Any, tmp_path: Path) -> None:
    trace = make_trace(SHAPE, [(2, 2)], seed=4)
    trace.experts[1, 1] = -1
    write_parquet(tmp_path / "t.parquet", trace)
    table = pq.read_table(tmp_path / "t.parquet")
    sets = pa.array(table.column("experts").to_pylist(), kind)
    at = table.schema.get_field_index("experts")
    pq.write_table(table.set_column(at, "experts", sets), tmp_path / "t.parquet")
    np.testing.assert_array_equal(
        import_trace(tmp_path / "t.parquet", model=SHAPE).experts, trace.experts
    )


def test_states_are_explained(tmp_path: Path) -> None:
    write_trace(tmp_path / "part-00000.parquet", make_trace(SHAPE, [(0, 2)], seed=1))
    np.save(tmp_path / "part-00000.gate_input.npy", np.zeros((2, 2, 8), np.float16))
    with pytest.raises(TraceError, match="is a trace of this format already"):
        import_trace(tmp_path)
    with pytest.raises(TraceError, match="states beside a captured trace; the trace is its folder"):
        import_trace(tmp_path / "part-00000.gate_input.npy", model=SHAPE)


@pytest.mark.parametrize("form", ["{} {}", '"[{}, {}]"', "{};{}", "{},{}"])
def test_plain_csv(form: str, tmp_path: Path) -> None:
    rows = [f"a,{at},{layer},{form.format(at, layer + 2)}" for at in (0, 1) for layer in (0, 1)]
    (tmp_path / "t.csv").write_text("\n".join(["Request, Position, Layer, Experts", *rows]))
    trace = import_trace(tmp_path / "t.csv", model=TINY)
    assert trace.experts.tolist() == [[[0, 2], [0, 3]], [[1, 2], [1, 3]]]
    assert trace.phase.tolist() == [DECODE] * 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,1,1,0 4", "line 3: expert 4 out of range 0..3 of tiny"),
        ("a,1,1,0", "line 3: 1 experts, expected 2"),
        ("a,1,1,0 x", "line 3: expert 'x' is not a whole number in 0..999999999"),
        ("a,x,1,0 1", "line 3: position 'x' is not a whole number in 0..999999999"),
        ("a,1,1,0 -1", "line 3: expert '-1' is not a whole number in 0..999999999"),
        ("a,1", "line 3: 2 fields, expected 4"),
        ("a,0,0,0 1", "line 3: the same token and layer again"),
        ("a,1,1,0 1", "request 'a', position 1: no experts of layer 0"),
    ],
)
def test_malformed_csv(row: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"request,position,layer,experts\na,0,0,0 1\n{row}\n")
    with pytest.raises(TraceError) as caught:
        import_trace(tmp_path / "t.csv", model=TINY)
    assert str(caught.value) == f"{tmp_path / 't.csv'}: {message}"


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_what_stands_between_columns(sign: str, tmp_path: Path) -> None:
    lines = ["request,position,layer,phase,experts", "a,0,0,prefill,0 1", "a,0,1,prefill,1 2"]
    (tmp_path / "t.csv").write_text("\n".join(lines).replace(",", sign))
    assert import_trace(tmp_path / "t.csv", model=TINY).experts.tolist() == [[[0, 1], [1, 2]]]


def test_a_column_each_beside_a_list(tmp_path: Path) -> None:
    """Weights as experts; what says the same twice is taken, and no order or column is guessed."""

    def imported(header: str, *rows: str) -> Trace:
        (tmp_path / "t.csv").write_text(f"request,position,layer,{header}\n" + "\n".join(rows))
        return import_trace(tmp_path / "t.csv", model=TINY)

    both = "expert_0,expert_1,weight_1,weight_0,experts"
    trace = imported(both, "a,0,0,1,3,0.25,0.5,1 3", "a,0,1,,,,,")
    assert trace.experts.tolist() == [[[1, 3], [-1, -1]]]
    assert trace.weights is not None
    assert trace.weights.tolist() == [[[0.5, 0.25], [0, 0]]]
    with pytest.raises(TraceError, match=r"2: experts \[3, 1\], but \[1, 3\] in expert_0, \.\.\."):
        imported("expert_0,expert_1,experts", "a,0,0,1,3,3 1")
    with pytest.raises(TraceError, match=r"2: weights \[1.0, 0.0\], but \[1.0, 0.5\] in weight_0"):
        imported("weight_0,weight_1,weights,experts", "a,0,0,1,0.5,1 0,3 1")
    for kind in ("expert", "weight"):
        with pytest.raises(TraceError, match=f"line 2: no {kind}_1, but {kind}_2"):
            imported(f"{kind}_0,{kind}_2,experts", "a,0,0,1,2,1 2")


def test_the_csv_s_columns_in_other_files(tmp_path: Path) -> None:
    """Parquet with lists or a column an expert, CSV with these; names of columns in any case."""
    trace = make_trace(TINY, [(1, 2), (2, 0)], seed=8)
    write_csv(tmp_path / "t.csv", trace)
    rows = pd.read_csv(tmp_path / "t.csv")
    sets = rows["experts"].str.split(" ", expand=True).astype(int)
    apart = pd.concat([rows.drop(columns="experts"), sets.add_prefix("expert_")], axis=1)
    apart.to_csv(tmp_path / "apart.csv", index=False)
    apart.rename(columns=str.title).to_parquet(tmp_path / "apart.parquet")
    rows["experts"] = [list(map(int, text.split())) for text in rows["experts"]]
    rows.to_parquet(tmp_path / "lists.parquet")
    for name in ("apart.csv", "apart.parquet", "lists.parquet"):
        read = import_trace(tmp_path / name, model=TINY)
        np.testing.assert_array_equal(read.experts, trace.experts)
        np.testing.assert_array_equal(read.phase, trace.phase)
    rows.rename(columns={"request": "sequence"}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(
        TraceError, match=r"its columns are sequence,.* and plain CSV has request too"
    ):
        import_trace(tmp_path / "other.parquet", model=TINY)
    line = {"request": 0, "layer": 0, "experts": [0, 1]}
    json_lines(tmp_path / "t.jsonl", line | {"position": 0}, line)
    with pytest.raises(TraceError, match="line 2: no 'position'"):
        import_trace(tmp_path / "t.jsonl", model=TINY)


@pytest.mark.parametrize("one", [{"token_id": 7}, {"phase": "prefill"}, {"weights": [0.5, 0.5]}])
@pytest.mark.parametrize("first", [True, False])
def test_a_column_that_some_rows_lack_is_refused(
    one: dict[str, Any], first: bool, tmp_path: Path
) -> None:
    """Whichever row comes last: of phases it would say what the file has."""
    rows: list[dict[str, Any]] = [
        {"request": 0, "position": 0, "layer": at, "experts": [0, 1]} for at in (0, 1)
    ]
    rows[not first].update(one)
    json_lines(tmp_path / "t.jsonl", *rows)
    (name,) = one
    with pytest.raises(TraceError, match=f"line 2: '{name}' is given in some records, not in oth"):
        import_trace(tmp_path / "t.jsonl", model=TINY)


def test_keys_of_json_lines_are_read_in_any_case(tmp_path: Path) -> None:
    line = {"Request": 0, "POSITION": 0, "Experts": [0, 1], "Phase": "prefill"}
    json_lines(tmp_path / "t.jsonl", line | {"Layer": 0}, line | {"layer": 1})
    assert import_trace(tmp_path / "t.jsonl", model=TINY).phase.tolist() == [PREFILL]
    json_lines(tmp_path / "t.jsonl", line | {"Layer": 0, "layer": 1})
    with pytest.raises(TraceError, match="line 1: 'layer' twice"):
        import_trace(tmp_path / "t.jsonl", model=TINY)


@pytest.mark.parametrize("text", ['{"rows": [1,2,3], "x": 4}\n', "Once, twice, and a third time\n"])
def test_what_is_no_table_is_told_no_columns(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(TraceError) as caught:
        import_trace(tmp_path / "t.txt", model=TINY)
    assert "its columns are" not in str(caught.value)


def test_columns_of_other_names_are_told_beside_those_wanted(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("req;position;layer;expert_ids\na;0;0;0 1\n")
    with pytest.raises(TraceError) as caught:
        import_trace(tmp_path / "t.csv", model=TINY)
    assert str(caught.value) == (
        f"{tmp_path / 't.csv'}: format not recognised: its columns are "
        "req,position,layer,expert_ids, and plain CSV has request, experts too; write a CSV of "
        "request,position,layer,experts (docs/trace-format.md)"
    )


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        (4, "the file has 4 layers, mixtral-8x7b has 32 that route"),
        (33, "line 34: layer 32 is none of the routers of mixtral-8x7b: the file has 33 layers, the"
         " model 32 that route"),
    ],
)  # fmt: skip
def test_layers_are_counted_first(layers: int, says: str, tmp_path: Path) -> None:
    rows = [f"a,0,{layer},0 1" for layer in range(layers)]
    (tmp_path / "t.csv").write_text("\n".join(["request,position,layer,experts", *rows]))
    with pytest.raises(TraceError) as caught:
        import_trace(tmp_path / "t.csv", model=shape("mixtral-8x7b"))
    assert str(caught.value) == f"{tmp_path / 't.csv'}: {says}"


def test_counts_are_no_trace(tmp_path: Path) -> None:
    (tmp_path / ".coli_usage").write_text("-1 2 4\n-2 1 99\n0 1 17\n")
    (tmp_path / "counts.csv").write_text("layer,expert,count\n0,1,17\n")
    for name in (".coli_usage", "counts.csv"):
        with pytest.raises(
            TraceError, match=r"counts how often .* takes it as cache.static.counts"
        ):
            import_trace(tmp_path / name, model=TINY)


@pytest.mark.parametrize("given", [["none"], ["none", "previous-token"], [{"name": "none"}]])
def test_none_in_a_list_of_predictors_is_nothing(given: Any) -> None:
    tree = {"trace": "mini-gpt-oss", "predictor": given}
    named = [choice.name for choice in parse(tree, "run.yaml").predictor]
    assert named == [name for name in given if name == "previous-token"]


def test_from_arrays() -> None:
    experts = make_trace(TINY, [(0, 3)], seed=1).experts
    trace = Trace.from_arrays(TINY, experts)
    assert trace.requests == [(0, 0, 3)]
    assert trace.phase.tolist() == [DECODE] * 3
    several = Trace.from_arrays(TINY, experts.tolist(), requests=["a", "a", "b"], prompt=[1, 0])
    assert several.requests == [(0, 0, 2), (1, 2, 3)]
    assert several.position.tolist() == [0, 1, 0]
    assert several.phase.tolist() == [PREFILL, DECODE, DECODE]
    with pytest.raises(TraceError, match="experts has shape"):
        Trace.from_arrays(TINY, experts[:, :1])
    with pytest.raises(TraceError, match="expert 9 out of range"):
        validate(Trace.from_arrays(TINY, np.full((1, 2, 2), 9)))
    with pytest.raises(TraceError, match="experts is float64, expected whole numbers"):
        Trace.from_arrays(TINY, experts / 1)
    with pytest.raises(TraceError, match="3 prompts for 1 requests"):
        Trace.from_arrays(TINY, experts, prompt=[1, 1, 1])
    with pytest.raises(TraceError, match="request 'a' again"):
        Trace.from_arrays(TINY, experts, requests=["a", "b", "a"])


def test_writers_write_what_is_read_elsewhere(tmp_path: Path) -> None:
    """The plain CSV that the error of an unknown format asks for."""
    trace = make_trace(TINY, [(1, 2), (2, 0)], seed=8)
    write_csv(tmp_path / "t.csv", trace)
    read = import_trace(tmp_path / "t.csv", model=TINY)
    np.testing.assert_array_equal(read.experts, trace.experts)
    np.testing.assert_array_equal(read.phase, trace.phase)


def test_colibri_counts_choose_static_experts(tmp_path: Path) -> None:
    """Layers numbered as in the model, whose first has no router; experts unnamed were not used."""
    write_trace(tmp_path / "t.parquet", make_trace(SHAPE, [(0, 2)], seed=1))
    usage = tmp_path / ".coli_usage"
    static = {"popular": {"experts": 2}, "counts": str(usage)}
    tree = {"trace": str(tmp_path / "t.parquet"), "cache": {"capacity": "50%", "static": static}}
    usage.write_text("-1 3 8\n-2 1 99\n1 3 17\n2 5 9\n2 4 1\n")
    assert load(parse(tree, "run.yaml")).static == (3, 8 + 5)
    usage.write_text("-1 2 8\n1 3 17\n0 5 9\n")
    assert load(parse(tree, "run.yaml")).static == (5, 8 + 3)
    for text, message in {
        "-1 4 8\n": "line 1: 4 layers of 8 experts, the model has 2 MoE layers of 8",
        "-1 3 8\n0 1 1\n": "line 2: there is no expert 1 of layer 0 used 1",
        "-1 3 8\n1 8 1\n": "line 2: there is no expert 8 of layer 1 used 1",
        "-1 3 8\n1 x 1\n": "line 2: expected layer, expert and count, not '1 x 1'",
        "-1 \n": "line 1:  layers of  experts, the model has",
    }.items():
        usage.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load(parse(tree, "run.yaml"))


PAGE = (Path(__file__).parents[1] / "docs/trace-format.md").read_text(encoding="utf-8")


def test_the_page_names_every_importer() -> None:
    table = PAGE.partition("| `--format` |")[2].partition("\n\n")[0]
    first = [row.split("|")[1] for row in table.splitlines()[2:]]
    named = [name.strip(" `") for cell in first for name in cell.split(",")]
    assert sorted(named) == sorted(FORMATS)


def test_the_pages_csv_is_read(tmp_path: Path) -> None:
    text = next(block for block in PAGE.split("```") if block.startswith("\nrequest,position"))
    (tmp_path / "t.csv").write_text(text.strip())
    trace = import_trace(tmp_path / "t.csv", model=TINY)
    assert trace.experts.tolist() == [[[3, 1], [0, 2]], [[1, 3], [2, 0]]]
    assert trace.phase.tolist() == [PREFILL, DECODE]


def test_a_table_without_phases_says_so(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("request,position,layer,experts\n0,0,0,1 2\n0,0,1,0 1\n")
    assert import_trace(table, model=TINY).meta.recorded["notes"] == UNPHASED
    write_csv(table, make_trace(TINY, [(1, 2)], seed=8))
    assert "notes" not in import_trace(table, model=TINY).meta.recorded
