"""Every kind of error on the project's own synthetic records: one thing changed, and it is wrong."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from rapidfuzz.distance import Levenshtein

from iimedgpt import chain, clinical, io
from iimedgpt.config import RunConfig
from iimedgpt.preferences import leakage
from iimedgpt.preferences.contexts import ContextBuilder
from iimedgpt.preferences.contraindications import contraindications
from iimedgpt.preferences.edits import ErrorContext, Refusal
from iimedgpt.preferences.errors import ERRORS, Edited, ErrorChooser, _table
from iimedgpt.preferences.filters import answer_key
from iimedgpt.run import execute
from iimedgpt.text import fold
from iimedgpt.types import Conversation, PreferencePair

Made = dict[str, list[tuple[Conversation, ErrorContext, str, str]]]
WHOLE_ANSWER = "wrong_patient"  # the one kind that is no small edit


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Conversation]:
    folder = tmp_path_factory.mktemp("synthetic")
    tree = {"name": "r", "runs_dir": str(folder), "records": {"sources": [{"reader": "synthetic", "n_max": 160}]}}
    run = RunConfig.model_validate(tree)
    io.write_text(folder / "secret", "0f" * 32)  # ids decide which errors are drawn: the same in every run
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IIMEDGPT_SECRET_FILE", str(folder / "secret"))
        for name in ("records", "instructions", "mixture"):
            execute(chain.stage_named(name), run)
    rows = io.read_jsonl(run.run_dir / "mixture" / "train.jsonl", Conversation)
    return [row for row in rows if row.record_id]


@pytest.fixture(scope="module")
def made(items: list[Conversation]) -> Made:
    """Per kind: item, context, wrong answer, table row."""
    contexts = ContextBuilder(items)
    found: Made = {name: [] for name in ERRORS}
    for item in items:
        context = contexts.build(item)
        for name, rule in ERRORS.items():
            if not rule.is_for(item.task, context.language):
                continue
            edited = rule.make(item.response, context, random.Random(f"{item.conversation_id}:{name}"))
            if isinstance(edited, str):
                edited = Edited(edited)
            if not isinstance(edited, Refusal):
                found[name].append((item, context, edited.text, edited.row))
    return found


@pytest.mark.parametrize("name", ERRORS)
def test_every_kind_is_made_of_synthetic_records_and_never_a_no_op(name: str, made: Made) -> None:
    assert len(made[name]) >= 4
    for item, _, wrong, _ in made[name]:
        assert answer_key(wrong) != answer_key(item.response)
        if name != WHOLE_ANSWER:
            assert abs(len(wrong) - len(item.response)) <= 0.2 * len(item.response)


@pytest.mark.parametrize("name", [name for name in ERRORS if name != WHOLE_ANSWER])
def test_exactly_one_thing_is_changed(name: str, made: Made) -> None:
    """All changed places hold the same old and the same new words; a swap of sides is its own undoing."""
    for item, _, wrong, _ in made[name]:
        if name == "side_swapped":
            assert re.sub("[左右]", "", wrong) == re.sub("[左右]", "", item.response)
            continue
        blocks = [op for op in Levenshtein.opcodes(item.response, wrong) if op.tag != "equal"]
        first, last = blocks[0], blocks[-1]
        old = item.response[first.src_start : last.src_end]
        if len(old) <= 60 and "\n" not in old and item.response.count(old) == 1 and len(blocks) <= 12:
            continue  # one place
        changes = Counter(
            (item.response[op.src_start : op.src_end], wrong[op.dest_start : op.dest_end]) for op in blocks
        )
        assert len(changes) <= 4, (name, changes)  # one name at several places, aligned by its letters


def test_a_dropped_negation_asserts_what_was_denied(made: Made) -> None:
    negation = re.compile("无|否认|没有|未|不伴|阴性|[-－—](?=[)）])")
    for item, _, wrong, _ in made["negation_dropped"]:
        assert len(negation.findall(wrong)) == len(negation.findall(item.response)) - 1


def test_a_dose_is_ten_times_another_one(made: Made) -> None:
    number = re.compile(r"\d+(?:\.\d+)?")
    for item, _, wrong, _ in made["dose_x10"]:
        before, after = number.findall(item.response), number.findall(wrong)
        different = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
        assert len(different) == 1
        assert float(different[0][1]) == pytest.approx(10 * float(different[0][0]))


def test_a_contraindicated_drug_is_one_by_the_table_and_was_nowhere(made: Made) -> None:
    by_name = {row.name: row for row in contraindications()}
    for item, context, wrong, row in made["drug_contraindicated"]:
        assert by_name[row].is_met(context.visible)
        came_in = [drug for drug in by_name[row].drugs if drug in wrong and drug not in item.response]
        assert len(came_in) >= 1
        assert all(drug not in context.visible for drug in came_in)


@pytest.mark.parametrize("name", ["drug_swapped", "department_replaced", "examination_replaced", "finding_invented"])
def test_a_replacement_is_of_a_group_that_nobody_named(name: str, made: Made) -> None:
    table = {"drug_swapped": "drugs", "department_replaced": "departments", "examination_replaced": "examinations"}
    groups = _table(table.get(name, "findings"))
    for item, context, wrong, _ in made[name]:
        texts = item.response + context.visible
        came_in = [entry for entry in groups if entry in wrong and entry not in item.response]
        assert any(entry not in texts for entry in came_in)


def test_a_replaced_diagnosis_stands_nowhere_in_record_or_answer(made: Made) -> None:
    for item, context, wrong, _ in made["diagnosis_replaced"]:
        assert item.disease is None or fold(item.disease) != fold(wrong)
        assert any(name in wrong and name not in item.response + context.visible for name in context.alternatives)


def test_a_warning_left_out_leaves_no_advice_to_come_back_there(made: Made) -> None:
    urgent = re.compile("立即|及时|尽快|尽早|随时")
    for item, _, wrong, _ in made["red_flag_omitted"]:
        assert len(urgent.findall(wrong)) == len(urgent.findall(item.response)) - 1


def test_another_patients_fact_is_not_in_this_record(made: Made) -> None:
    for item, context, wrong, _ in made["wrong_patients_fact"]:
        strange = set(clinical.numbers(wrong)) - set(clinical.numbers(item.response))
        assert strange
        assert any(fact not in clinical.numbers(context.visible) for fact in strange)


def test_overconfidence_loses_a_hedge(made: Made) -> None:
    hedge = re.compile("考虑|疑似|疑诊|拟诊|待排|可能|除外|排除|鉴别|[?？]")
    for item, _, wrong, _ in made["overconfident"]:
        assert "确诊" in wrong or "完全排除" in wrong or len(hedge.findall(wrong)) < len(hedge.findall(item.response))


def test_the_chooser_says_for_each_kind_how_often_and_why_not(items: list[Conversation]) -> None:
    contexts, chooser = ContextBuilder(items), ErrorChooser("0")
    n_made = sum(len(chooser.make(item.response, item.task, contexts.build(item), 1)) for item in items)
    assert set(chooser.counts) == set(ERRORS)
    assert all(counts.total() == len(items) for counts in chooser.counts.values())
    assert sum(counts["made"] for counts in chooser.counts.values()) == n_made
    reasons = {reason for counts in chooser.counts.values() for reason in counts}
    assert reasons <= {"made", "not_needed", "not_for_this_task", *(refusal.value for refusal in Refusal)}


def test_length_and_style_alone_do_not_tell_chosen_from_rejected(items: list[Conversation]) -> None:
    contexts, chooser = ContextBuilder(items), ErrorChooser("0")
    pairs = [
        PreferencePair(
            pair_id=f"{item.conversation_id}:{error.name}",
            prompt=item.prompt,
            chosen=item.response,
            rejected=error.text,
            source="rule",
            group_id=item.group_id,
            split="train",
        )
        for item in items
        for error in chooser.make(item.response, item.task, contexts.build(item), 1)
    ]
    found = leakage.measure(pairs)
    assert len(pairs) > 500
    assert 0.4 < found["length"]["value"] < 0.6, found
    assert 0.4 < found["style"]["value"] < 0.65, found
