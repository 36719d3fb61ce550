"""What can be configured: one section a stage, every field with its type, bounds and meaning.

Files and layers are read by ``recipe``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from iimedgpt.exam_config import ExamsConfig as ExamsConfig
from iimedgpt.exam_config import ExamSet as ExamSet
from iimedgpt.judging_config import JudgingConfig as JudgingConfig
from iimedgpt.preference_config import EndpointConfig as EndpointConfig
from iimedgpt.preference_config import PairImport as PairImport
from iimedgpt.preference_config import PairsConfig as PairsConfig
from iimedgpt.preference_config import RankConfig as RankConfig
from iimedgpt.preference_config import SampleConfig as SampleConfig
from iimedgpt.sources import AgainstSource as AgainstSource
from iimedgpt.sources import Fraction as Fraction
from iimedgpt.sources import OtherSource as OtherSource
from iimedgpt.sources import RecordMapping as RecordMapping
from iimedgpt.sources import RecordReader as RecordReader
from iimedgpt.sources import RecordSource as RecordSource
from iimedgpt.sources import Section as Section


class RecordsConfig(Section):
    """Reading and de-identification."""

    sources: tuple[RecordSource, ...] = Field(
        default=(RecordSource(reader="synthetic", n_max=200),), min_length=1, description="sources, in order"
    )
    max_drop_frac: Fraction = Field(default=0.5, description="the stage fails when a larger share of rows is dropped")
    surrogates: Literal["typed", "consistent"] = Field(
        default="typed",
        description="what stands for an identifier: its type ([姓名]), or an invented value of its form, "
        "the same for a patient's same value",
    )
    max_text_chars: int = Field(
        default=20_000, gt=0, description="longest text of one event, in characters; longer ones drop the row"
    )
    engine: Literal["local", "ray"] = Field(
        default="local", exclude=True, description="who works (no part of the result): processes here, or a Ray cluster"
    )
    ray_address: str | None = Field(
        default=None, exclude=True, description="running Ray cluster, 'host:6379'; none starts one here, on loopback"
    )
    max_seconds: float = Field(
        default=5.0, gt=0.0, description="longest de-identification of one record, in seconds; then it is dropped"
    )
    max_leak_frac: Fraction = Field(
        default=0.01,
        description="the leak gate fails when a larger share of records held identifiers after de-identification "
        "(such records are dropped in any case)",
    )
    accept_leaks: str = Field(
        default="", description="the run's own name, to go on with records that have not passed the leak gate"
    )
    allow_english: bool = Field(
        default=False, description="read English records, of which de-identification misses more than of Chinese ones"
    )
    ner: str | None = Field(
        default=None,
        min_length=1,
        description="folder of a token-classification model of your own, which adds to what the rules find",
    )


class InstructionsConfig(Section):
    """The six clinical tasks and the rules of the timeline."""

    tasks: tuple[str, ...] = Field(
        default=("triage", "record", "examination", "diagnosis", "basis", "treatment"),
        min_length=1,
        description="names of the tasks to build",
    )
    tasks_dir: str | None = Field(
        default=None, description="folder with task files of one's own, laid over the packaged ones by name"
    )
    max_record_chars: int = Field(
        default=4_000,
        ge=100,
        description="visible record, in characters; oldest dialogue turns are cut first, decided per record",
    )
    max_response_chars: int = Field(default=1_500, ge=10, description="longest answer, in characters")
    min_response_chars: int = Field(default=2, ge=1, description="shortest answer, in characters")
    instruction_first_frac: Fraction = Field(
        default=0.1, description="share of prompts that put the instruction before the record"
    )
    max_unsupported: int = Field(
        default=3,
        ge=0,
        description="drop a target with more facts (numbers, drugs) than this that the visible record lacks",
    )
    max_drop_frac: Fraction = Field(
        default=1.0, description="the stage fails when a larger share of record-task pairs is dropped"
    )


class MixtureConfig(Section):
    """Record instructions and other data, split by patient (and disease)."""

    against: tuple[AgainstSource, ...] = Field(
        default=(), description="exams and evaluation sets: training rows that repeat a piece of one are dropped"
    )
    near_duplicates: Literal["together", "drop"] = Field(
        default="together",
        description="records that say nearly the same: on one side of the split together with their patients, or all "
        "but the first dropped",
    )
    max_same_answer: int = Field(
        default=50, ge=1, description="copies of one free-text answer kept over all patients; more are boilerplate"
    )

    other: tuple[OtherSource, ...] = Field(default=(), description="other data; empty means records only")
    other_frac: Fraction = Field(
        default=0.2, description="other data as a share of the training conversations, at most"
    )
    test_frac: Fraction = Field(default=0.25, description="share of patients held out for evaluation")
    validation_frac: Fraction = Field(default=0.05, description="share of patients for validation loss")
    hold_out_diseases_frac: Fraction = Field(
        default=0.0, description="share of diseases whose every patient is held out; 0 splits by patient only"
    )
    n_max_train_records: int | None = Field(default=None, gt=0, description="train on at most so many records")
    trains_on: Literal["all", "records", "other"] = Field(
        default="all",
        description="what of the training side is trained on: all, the record instructions alone or the other data "
        "alone (arms of `iimedgpt ablate`)",
    )
    max_other_chars: int = Field(default=600, gt=0, description="longest other conversation, in characters")


class ModelConfig(Section):
    """The base model."""

    name: str = Field(
        default="embedded",
        description="'embedded' (Gemma 3 270M of the demo extra), 'tiny' (random, tests), or any Hugging Face "
        "name or folder",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="weights' type; CPUs are fastest in float32"
    )
    compute: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="arithmetic of matrix products; auto takes bfloat16 where the processor has it in hardware "
        "and float32 elsewhere; residuals, norms, softmax and log-probabilities stay in the weights' type",
    )
    device: str = Field(default="auto", description="auto, cpu or cuda; CUDA_VISIBLE_DEVICES chooses a card")
    attention: Literal["auto", "visible", "sdpa", "eager", "flex"] = Field(
        default="auto", description="attention of the trie; auto takes 'visible' on CPU and 'flex' on CUDA"
    )
    quantization: Literal["none", "nf4"] = Field(
        default="none",
        description="weights of the frozen base: as they are, or in four bits (QLoRA: CUDA and the extra 'quantized')",
    )


class TrainConfig(Section):
    """What SFT and DPO share: adapter, optimiser, batches."""

    rank: int = Field(default=16, gt=0, description="LoRA rank; alpha is twice the rank")
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="LoRA dropout")
    targets: Literal["all-linear", "attention"] = Field(
        default="all-linear", description="which linear layers get an adapter; never the head"
    )
    learning_rate: float = Field(default=2e-4, gt=0.0, le=1.0, description="peak learning rate")
    warmup_frac: Fraction = Field(default=0.1, description="share of the steps with rising learning rate")
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = Field(
        default="cosine", description="learning-rate schedule"
    )
    weight_decay: float = Field(default=0.0, ge=0.0, description="AdamW weight decay")
    epochs: float = Field(default=1.0, gt=0.0, description="passes over the data")
    max_steps: int | None = Field(default=None, gt=0, description="stop after so many optimiser steps")
    groups_per_step: int = Field(
        default=8,
        gt=0,
        description="groups in one optimiser step: records, or with 'shuffled' single conversations or pairs",
    )
    grouping: Literal["record", "shuffled"] = Field(
        default="record",
        description="what is drawn into a step: a record with all its tasks (or pairs), which share its tokens, or "
        "single conversations (or pairs), as peers do; for as many sequences a step then multiply groups_per_step "
        "by the sequences a record",
    )
    tokens_per_pack: Literal["auto"] | Annotated[int, Field(gt=0)] = Field(
        default="auto",
        description="trie tokens read in one forward, unless one sequence alone is longer; auto takes 1,536 on CPU and "
        "16,384 on CUDA, records that are longer whole, and never more than free memory holds",
    )
    max_tokens: int = Field(
        default=4_096, gt=0, description="longest sequence in tokens; longer ones are dropped and counted"
    )
    save_every: int = Field(default=50, gt=0, description="optimiser steps between checkpoints")
    checkpointing: bool = Field(default=False, description="recompute activations to save memory")


class SFTConfig(TrainConfig):
    """Supervised fine-tuning."""

    weighting: Literal["token", "answer", "task"] = Field(
        default="token",
        description="what counts alike within a step: each token, each answer, or each task and within it each answer",
    )


class DPOConfig(TrainConfig):
    """Preference alignment from the SFT result, which is also the reference."""

    learning_rate: float = Field(default=5e-5, gt=0.0, le=1.0, description="peak learning rate")
    loss: Literal["sigmoid", "ipo", "norm", "simpo"] = Field(
        default="sigmoid", description="DPO, IPO, length-normalised DPO or SimPO"
    )
    beta: float = Field(
        default=0.1,
        gt=0.0,
        description="strength of the pull towards the reference; averages per token take more (norm 5, simpo 2 to 2.5)",
    )
    gamma: float = Field(
        default=0.5, ge=0.0, description="SimPO: margin to reach, on the scale of beta times nats per token"
    )
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=0.5, description="share of labels assumed flipped (cDPO)")
    nll_weight: float = Field(
        default=0.1, ge=0.0, description="weight of the chosen answers' loss in nats per token (RPO)"
    )


class EvaluateConfig(Section):
    """Evaluation on held-out patients."""

    n_records: int | None = Field(default=None, gt=0, description="held-out records scored by likelihood")
    n_generate: int = Field(default=8, ge=0, description="held-out records answered freely")
    n_options: int = Field(
        default=4,
        ge=2,
        description="answers to choose among in the likelihood task metric, one of them right",
    )
    choice_tasks: tuple[str, ...] = Field(
        default=(),
        description="tasks scored by choice among answers and under the wrong record; empty takes all "
        "(every option costs its tokens)",
    )
    max_new_tokens: int = Field(default=48, gt=0, description="longest free answer in tokens")
    n_shots: int = Field(default=2, ge=0, description="solved examples before the base model's control prompt")
    n_bootstrap: int = Field(default=2_000, ge=200, description="resamples of patients for the intervals")
    tie_margin: Fraction = Field(default=0.05, description="reference judge: smaller differences in closeness are ties")


class AblationConfig(Section):
    """What `iimedgpt ablate` trains beside the run's own SFT and DPO."""

    parts: tuple[Literal["records", "other"], ...] = Field(
        default=("records", "other"), description="leave out of SFT, one at a time: record instructions, other data"
    )
    other_fracs: tuple[Fraction, ...] = Field(
        default=(), description="further SFT runs with these shares of other data: the mixture-ratio curve"
    )


class ReportConfig(Section):
    """The report."""

    title: str = Field(default="", description="title; empty takes the run's name")
    language: Literal["zh", "en"] = Field(default="en", description="language of the headings")


class RunConfig(Section):
    """One run: everything that decides its result."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="folder name under runs/")
    seed: int = Field(default=0, ge=0, description="seed of everything random")
    runs_dir: str = Field(default="runs", description="folder that holds the runs")
    data_dir: str = Field(default=".", description="folder that relative data paths start from (--data)")
    workers: int = Field(default=0, ge=0, description="processes that work through records; 0 is one a core")
    records: RecordsConfig = RecordsConfig()
    instructions: InstructionsConfig = InstructionsConfig()
    mixture: MixtureConfig = MixtureConfig()
    model: ModelConfig = ModelConfig()
    sft: SFTConfig = SFTConfig()
    endpoint: EndpointConfig = EndpointConfig()
    sample: SampleConfig = SampleConfig()
    rank: RankConfig = RankConfig()
    pairs: PairsConfig = PairsConfig()
    dpo: DPOConfig = DPOConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    exams: ExamsConfig = ExamsConfig()
    ablation: AblationConfig = AblationConfig()
    judging: JudgingConfig = JudgingConfig()
    report: ReportConfig = ReportConfig()

    def data_path(self, path: str) -> Path:
        """A source's path, relative ones under ``data_dir``."""
        return Path(self.data_dir).expanduser() / path

    @property
    def run_dir(self) -> Path:
        return Path(self.runs_dir).expanduser() / self.name
