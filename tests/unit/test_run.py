"""Stages: complete when the manifest says so, skipped when nothing changed, counted to the row."""

from __future__ import annotations

from pathlib import Path

import pytest

from iimedgpt import io
from iimedgpt.config import RunConfig
from iimedgpt.errors import DataError, IIMedGPTError, StageNotReadyError
from iimedgpt.manifest import read_manifest
from iimedgpt.run import Stage, StageContext, execute, is_complete


def _config(root: Path, **values) -> RunConfig:
    return RunConfig.model_validate({"name": "t", "runs_dir": str(root), **values})


def _write(text: str):
    def run(ctx: StageContext) -> None:
        io.write_text(ctx.output("out.txt"), text)
        ctx.keep(2)
        ctx.drop("id-1", "too_short")

    return run


FIRST = Stage("records", ("records",), (), _write("one"))


def _copy(ctx: StageContext) -> None:
    io.write_text(ctx.output("copy.txt"), io.read_text(ctx.input("records", "out.txt")))
    ctx.keep()


SECOND = Stage("instructions", ("instructions",), ("records",), _copy)


def test_the_ledger_balances_and_reasons_are_kept_without_text(tmp_path: Path) -> None:
    manifest, has_run = execute(FIRST, _config(tmp_path))
    assert has_run
    assert manifest.n_in == manifest.n_kept + sum(manifest.n_dropped.values()) == 3
    assert (tmp_path / "t" / "records" / "dropped.jsonl").read_text() == '{"id":"id-1","reason":"too_short"}\n'


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    execute(FIRST, _config(tmp_path))
    assert execute(FIRST, _config(tmp_path))[1] is False
    assert execute(FIRST, _config(tmp_path), is_forced=True)[1] is True


def test_only_what_depends_on_a_changed_value_runs_again(tmp_path: Path) -> None:
    for stage in (FIRST, SECOND):
        execute(stage, _config(tmp_path))
    changed = _config(tmp_path, instructions={"min_response_chars": 3})
    assert execute(FIRST, changed)[1] is False
    assert execute(SECOND, changed)[1] is True
    elsewhere = _config(tmp_path, instructions={"min_response_chars": 3}, dpo={"beta": 0.2})
    assert execute(SECOND, elsewhere)[1] is False


def test_a_stage_whose_rerun_gave_the_same_output_spares_the_next(tmp_path: Path) -> None:
    for stage in (FIRST, SECOND):
        execute(stage, _config(tmp_path))
    execute(FIRST, _config(tmp_path), is_forced=True)
    assert execute(SECOND, _config(tmp_path))[1] is False
    other = Stage("records", ("records",), (), _write("two"))
    execute(other, _config(tmp_path), is_forced=True)
    assert execute(SECOND, _config(tmp_path))[1] is True


def test_a_touched_output_makes_the_stage_incomplete(tmp_path: Path) -> None:
    execute(FIRST, _config(tmp_path))
    (tmp_path / "t" / "records" / "out.txt").write_text("edited")
    assert not is_complete(FIRST, _config(tmp_path))


def test_a_damaged_manifest_makes_the_stage_incomplete(tmp_path: Path) -> None:
    execute(FIRST, _config(tmp_path))
    (tmp_path / "t" / "records" / "manifest.json").write_text("{")
    assert not is_complete(FIRST, _config(tmp_path))
    assert execute(FIRST, _config(tmp_path))[1] is True


def test_a_failing_stage_leaves_no_manifest_not_even_an_old_one(tmp_path: Path) -> None:
    execute(FIRST, _config(tmp_path))

    def fail(ctx: StageContext) -> None:
        raise DataError("bad")

    with pytest.raises(DataError):
        execute(Stage("records", ("records",), (), fail), _config(tmp_path), is_forced=True)
    assert read_manifest(tmp_path / "t" / "records") is None


def test_a_missing_stage_before_is_named_with_its_verb(tmp_path: Path) -> None:
    with pytest.raises(StageNotReadyError, match="needs stage 'records'") as caught:
        execute(SECOND, _config(tmp_path))
    assert caught.value.hint == "iimedgpt records RUN.toml"


def test_a_stage_that_runs_elsewhere_is_not_run_twice_at_once(tmp_path: Path) -> None:
    config = _config(tmp_path)

    def nested(ctx: StageContext) -> None:
        execute(FIRST, config, is_forced=True)

    with pytest.raises(IIMedGPTError, match="being run by another process"):
        execute(Stage("records", ("records",), (), nested), config)


def test_checkpoints_survive_an_interruption_but_not_a_change(tmp_path: Path) -> None:
    seen: list[bool] = []

    def run(ctx: StageContext) -> None:
        mark = ctx.directory / "checkpoints" / "checkpoint-1" / "x"
        seen.append(mark.exists())
        io.write_text(mark, "x")
        raise KeyboardInterrupt

    stage = Stage("sft", ("sft",), (), run)
    for config in (_config(tmp_path), _config(tmp_path), _config(tmp_path, sft={"rank": 2})):
        with pytest.raises(KeyboardInterrupt):
            execute(stage, config)
    assert seen == [False, True, False]


def test_what_an_interrupted_training_left_is_not_discarded_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def run(ctx: StageContext) -> None:
        for step in (5, 10):
            io.write_text(ctx.directory / "checkpoints" / f"checkpoint-{step}" / "x", "x")
        if ctx.config.sft.rank != 8:
            raise KeyboardInterrupt
        ctx.keep()

    stage = Stage("sft", ("sft",), (), run)

    def interrupt(is_forced: bool = False, **sft: float) -> str:
        caplog.clear()
        with pytest.raises(KeyboardInterrupt):
            execute(stage, _config(tmp_path, sft=sft), is_forced=is_forced)
        return caplog.text

    assert interrupt() == ""
    assert interrupt() == ""
    said = interrupt(rank=2, dropout=0.5)
    assert "sft: what an interrupted run left (10 training steps) is discarded" in said
    assert "changed since: sft.dropout, sft.rank" in said
    assert "--force was given" in interrupt(rank=2, dropout=0.5, is_forced=True)
    execute(stage, _config(tmp_path, sft={"rank": 8}))
    assert interrupt(rank=2) == ""  # that one was complete: nothing is lost


def test_a_cache_outlives_a_change_and_is_no_output(tmp_path: Path) -> None:
    seen: list[bool] = []

    def run(ctx: StageContext) -> None:
        seen.append(ctx.cache("x").exists())
        io.write_text(ctx.cache("x"), "x")
        ctx.keep()

    stage = Stage("sft", ("sft",), (), run)
    execute(stage, _config(tmp_path))
    manifest, _ = execute(stage, _config(tmp_path, sft={"rank": 2}))
    assert seen == [False, True]
    assert not [name for name in manifest.outputs if "x" in name]


def test_a_stage_that_keeps_nothing_fails_with_the_reasons(tmp_path: Path) -> None:
    def run(ctx: StageContext) -> None:
        ctx.drop("a", "empty")
        ctx.check_drops(1.0)

    with pytest.raises(DataError, match=r"kept nothing of 1 rows \(empty: 1\)"):
        execute(Stage("records", ("records",), (), run), _config(tmp_path))


def test_too_many_drops_fail_the_stage(tmp_path: Path) -> None:
    def run(ctx: StageContext) -> None:
        ctx.keep(1)
        for _ in range(3):
            ctx.drop("a", "empty")
        ctx.check_drops(0.5)

    with pytest.raises(DataError, match=r"dropped 3 of 4 rows \(empty: 3\) \(expected at most 50%\)"):
        execute(Stage("records", ("records",), (), run), _config(tmp_path))
