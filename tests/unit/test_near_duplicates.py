"""Texts that nearly repeat one another are found, others are not, and nobody connected by them is parted."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iimedgpt.config import MixtureConfig
from iimedgpt.mixture.duplicates import cluster, components
from iimedgpt.mixture.known import Known, cluster_facts
from iimedgpt.mixture.split import split_together

WORDS = (
    "咳嗽", "发热", "胸闷", "头痛", "腹泻", "水肿", "心悸", "乏力", "皮疹", "黄疸",
    "3天", "1周", "伴", "无", "加重", "缓解", "夜间", "活动后", "受凉后", "进食后",
)  # fmt: skip


def text(seed: int, n_words: int = 80) -> str:
    rng = random.Random(seed)
    return "".join(rng.choice(WORDS) + chr(0x4E00 + rng.randrange(4000)) for _ in range(n_words))


def changed(source: str, n_chars: int) -> str:
    """The text with one run of so many characters replaced."""
    return source[:20] + "□" * n_chars + source[20 + n_chars :]


def test_near_repeats_get_the_number_of_the_first_and_others_their_own(tmp_path: Path) -> None:
    texts = [text(1), text(2), changed(text(1), 6), text(3), text(2), changed(text(3), 120)]
    assert cluster(texts, tmp_path) == [0, 1, 0, 3, 1, 5]
    assert list(tmp_path.iterdir()) == []


def test_empty_and_short_texts_are_texts_too(tmp_path: Path) -> None:
    assert cluster(["", "咳", "咳", ""], tmp_path) == [0, 1, 1, 0]
    assert cluster([], tmp_path) == []


def test_among_many_texts_the_planted_repeats_are_found(tmp_path: Path) -> None:
    texts = [text(seed) for seed in range(600)]
    texts += [changed(text(seed), 5) for seed in range(0, 600, 6)]
    found = cluster(texts, tmp_path)
    assert found[:600] == list(range(600))
    assert sum(label == seed for label, seed in zip(found[600:], range(0, 600, 6), strict=True)) >= 98


def test_owners_are_connected_through_clusters() -> None:
    pairs = [("a", 0), ("b", 1), ("c", 0), ("c", 2), ("d", 2), ("e", 5)]
    assert components(pairs) == {"a": "a", "b": "b", "c": "a", "d": "a", "e": "e"}


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    pairs=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=4, max_size=80), seed=st.integers(0, 99)
)
def test_no_patient_and_no_cluster_stands_on_two_sides(pairs: list[tuple[int, int]], seed: int) -> None:
    owned = [(f"p{patient}", label) for patient, label in pairs]
    first_of = components(owned)
    if len(set(first_of.values())) < 4:
        return
    config = MixtureConfig(test_frac=0.3, validation_frac=0.2)
    sides = split_together({patient: [] for patient in first_of}, first_of, config, seed).sides
    of_cluster: dict[int, set[str]] = {}
    for patient, label in owned:
        of_cluster.setdefault(label, set()).add(sides[patient])
    assert all(len(found) == 1 for found in of_cluster.values())
    assert sides.keys() == first_of.keys()


@pytest.mark.parametrize("seed", range(3))
def test_a_chain_of_repeats_hangs_together(tmp_path: Path, seed: int) -> None:
    chain = [text(seed, 200)]
    for step in range(5):
        chain.append(changed(chain[-1][7:], 5) + chr(0x5000 + step))
    labels = cluster(chain, tmp_path)
    assert all(a == b for a, b in pairwise(labels))


def test_the_facts_count_clusters_and_who_is_in_them() -> None:
    known = {f"r{n}": Known(patient, "l", label) for n, (patient, label) in enumerate([("a", 0), ("b", 0), ("b", 2)])}
    assert cluster_facts(known) == {"near_duplicates": {"n_clusters": 1, "n_records": 2, "n_patients": 2}}
