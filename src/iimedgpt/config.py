"""Configuration: TOML in layers, one section a stage, every field bounded and documented.

Layers, later wins: defaults → the file named by ``extends`` → the run's file → ``--set key=value``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from iimedgpt import io
from iimedgpt.errors import ConfigError, DataError

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
MAX_EXTENDS = 8


class Section(BaseModel):
    """Unknown keys are refused: a misspelt option never passes for a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


RecordReader = Literal[
    "jsonl",
    "synthetic",
    "ai_hospital_records",
    "ai_hospital",
    "easymed_spbench",
    "dialmed",
    "mts_dialog",
    "aci_bench",
]
OtherReader = Literal["toyhom", "sharegpt", "conversations"]


class RecordSource(Section):
    """One source of records."""

    reader: RecordReader = Field(description="which reader understands the source")
    path: str | None = Field(
        default=None, description="file or folder, relative to --data; none for the synthetic generator"
    )
    n_max: int | None = Field(default=None, gt=0, description="read at most so many rows of the source")
    language: Literal["zh", "en"] = Field(default="zh", description="language of the records")


class RecordsConfig(Section):
    """Reading and de-identification."""

    sources: tuple[RecordSource, ...] = Field(
        default=(RecordSource(reader="synthetic", n_max=200),), min_length=1, description="sources, in order"
    )
    max_drop_frac: Fraction = Field(default=0.5, description="the stage fails when a larger share of rows is dropped")
    max_text_chars: int = Field(
        default=20_000, gt=0, description="longest text of one event, in characters; longer ones drop the row"
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


class OtherSource(Section):
    """One source of other instruction data for the mixture."""

    reader: OtherReader = Field(description="format of the source")
    path: str | None = Field(default=None, description="file, relative to --data; none for the packaged set")
    n_max: int | None = Field(default=None, gt=0, description="take at most so many, evenly spread over the file")
    license: str = Field(default="unstated", description="licence as stated by the source")


class MixtureConfig(Section):
    """Record instructions and other data, split by patient (and disease)."""

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
        description="records (or pair groups) in one optimiser step; tasks of one record correlate",
    )
    tokens_per_pack: int = Field(
        default=1_536,
        gt=0,
        description="trie tokens read in one forward, unless one sequence alone is longer; raise it on a GPU",
    )
    max_tokens: int = Field(
        default=4_096, gt=0, description="longest sequence in tokens; longer ones are dropped and counted"
    )
    save_every: int = Field(default=50, gt=0, description="optimiser steps between checkpoints")
    checkpointing: bool = Field(default=False, description="recompute activations to save memory")


class SFTConfig(TrainConfig):
    """Supervised fine-tuning."""

    weighting: Literal["token", "answer"] = Field(
        default="token", description="each token counts alike, or each answer counts alike"
    )


class SampleConfig(Section):
    """Answers sampled from the SFT model for preference pairs."""

    n_records: int = Field(default=24, gt=0, description="training records to sample for")
    n_test_records: int = Field(default=8, ge=0, description="held-out records to sample for (evaluation pairs)")
    n_samples: int = Field(default=1, gt=0, description="answers a prompt")
    temperature: float = Field(default=0.8, ge=0.0, le=4.0, description="0 is greedy")
    max_new_tokens: int = Field(default=48, gt=0, description="longest answer in tokens")
    tasks: tuple[str, ...] = Field(default=(), description="tasks to sample; empty takes all")


class PairsConfig(Section):
    """Preference pairs."""

    use_reference: bool = Field(default=True, description="reference answer over the model's own sample")
    use_rules: bool = Field(default=True, description="reference answer over one with a named clinical error")
    max_rules_per_answer: int = Field(default=1, ge=1, description="rule-made errors per correct answer")
    max_similarity: Fraction = Field(
        default=0.95,
        description="pairs whose answers are more alike (character LCS ratio) are dropped, rules exempt",
    )
    max_length_ratio: float = Field(
        default=4.0, ge=1.0, description="drop a pair when one answer is so many times longer than the other"
    )
    test_frac: Fraction = Field(
        default=1.0, description="share of held-out patients whose rule-made pairs are kept for evaluation"
    )


class DPOConfig(TrainConfig):
    """Preference alignment from the SFT result, which is also the reference."""

    learning_rate: float = Field(default=5e-5, gt=0.0, le=1.0, description="peak learning rate")
    loss: Literal["sigmoid", "ipo", "norm", "simpo"] = Field(
        default="sigmoid", description="DPO, IPO, length-normalised DPO or SimPO"
    )
    beta: float = Field(default=0.1, gt=0.0, description="strength of the pull towards the reference")
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=0.5, description="share of labels assumed flipped (cDPO)")
    nll_weight: float = Field(default=0.1, ge=0.0, description="weight of the chosen answers' loss per token (RPO)")


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
    records: RecordsConfig = RecordsConfig()
    instructions: InstructionsConfig = InstructionsConfig()
    mixture: MixtureConfig = MixtureConfig()
    model: ModelConfig = ModelConfig()
    sft: SFTConfig = SFTConfig()
    sample: SampleConfig = SampleConfig()
    pairs: PairsConfig = PairsConfig()
    dpo: DPOConfig = DPOConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()

    def data_path(self, path: str) -> Path:
        """A source's path, relative ones under ``data_dir``."""
        return Path(self.data_dir).expanduser() / path

    @property
    def run_dir(self) -> Path:
        return Path(self.runs_dir).expanduser() / self.name


def load(path: Path, overrides: Sequence[str] = (), data_dir: Path | None = None) -> RunConfig:
    """Read, layer and validate a run's configuration.

    Args:
        path: the run's TOML file.
        overrides: ``section.key=value`` strings; the value is TOML, a bare word is a string.
        data_dir: replaces ``data_dir`` of the file.

    Raises:
        ConfigError: naming the file and the key.
    """
    tree = _read_layers(path)
    for override in overrides:
        _apply_override(tree, override)
    if data_dir is not None:
        tree["data_dir"] = str(data_dir)
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise _explain(error, path) from None


def _read_layers(path: Path, depth: int = 0) -> dict[str, Any]:
    if depth > MAX_EXTENDS:
        raise ConfigError(f"{path}: 'extends' is more than {MAX_EXTENDS} files deep (a circle?)")
    try:
        tree = tomllib.loads(io.read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except DataError as error:
        hint = "iimedgpt init NAME.toml writes a recipe to start from"
        raise ConfigError(str(error), hint=hint) from None
    parent = tree.pop("extends", None)
    if parent is None:
        return tree
    if not isinstance(parent, str):
        raise ConfigError(f"{path}: 'extends' must be a file name")
    return _merge(_read_layers(path.parent / parent, depth + 1), tree)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, separator, raw = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {override}: expected section.key=value", hint="--set dpo.beta=0.2")
    try:
        value = tomllib.loads(f"v = {raw.strip()}")["v"]
    except tomllib.TOMLDecodeError:
        value = raw.strip()
    *sections, leaf = key.strip().split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--set {override}: '{section}' is a value, not a section")
    tree[leaf] = value


def _explain(error: ValidationError, path: Path) -> ConfigError:
    first = error.errors(include_url=False)[0]
    place = [str(part) for part in first["loc"]]
    key = ".".join(place)
    if first["type"] == "extra_forbidden":
        known = ", ".join(_known_fields(place[:-1]))
        return ConfigError(f"{path}: unknown key '{key}'", hint=f"known here: {known}" if known else None)
    if first["type"] == "missing":
        return ConfigError(f"{path}: key '{key}' is missing")
    shown = repr(first["input"])
    return ConfigError(f"{path}: key '{key}' is {shown[:80]}: {first['msg']}")


def _known_fields(place: Sequence[str]) -> list[str]:
    model: type[BaseModel] = RunConfig
    for part in place:
        if part.isdigit():
            continue
        annotation = model.model_fields[part].annotation
        inner = getattr(annotation, "__args__", (annotation,))[0]
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return sorted(model.model_fields)


def example(name: str) -> str:
    """A TOML file with every option, its default and its meaning (``iimedgpt init``)."""
    lines = [
        "# Every option with its default. Uncomment what you change.",
        f'name = "{name}"',
        "seed = 0",
        "",
        "# Your records: one [[records.sources]] block a source; paths start from --data.",
        "[[records.sources]]",
        'reader = "synthetic"',
        "n_max = 200",
        "",
    ]
    for section, field in RunConfig.model_fields.items():
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            continue
        lines.append(f"[{section}]")
        for key, option in field.annotation.model_fields.items():
            if key == "sources":
                continue
            value = "…  (unset)" if option.default is None else _toml(option.default)
            lines += [f"# {option.description}", f"# {key} = {value}"]
        lines.append("")
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
