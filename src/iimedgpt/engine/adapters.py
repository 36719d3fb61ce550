"""LoRA adapters: the SFT one, and the DPO one stacked on it while it stays frozen.

The DPO policy is base + sft + dpo and its reference is base + sft: exact in any precision, since a
fresh adapter adds zero. Traps this file exists for: ``disable_adapter()`` would give the *base* as
reference; activating two adapters switches the frozen one's gradients on again; an adapter loaded
after ``eval()`` can keep a live dropout.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from iimedgpt import io
from iimedgpt.config import TrainConfig
from iimedgpt.engine.distributed import whole
from iimedgpt.engine.logps import ScorableHead
from iimedgpt.engine.models import LoadedModel
from iimedgpt.errors import DataError

ATTENTION = ["q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj"]  # Phi-3 has the first three in one


def add_adapter(loaded: LoadedModel, name: str, config: TrainConfig, seed: int) -> None:
    """Put a fresh LoRA adapter on (the second one is stacked) and make it the only trained part."""
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        r=config.rank,
        lora_alpha=2 * config.rank,
        lora_dropout=config.dropout,
        target_modules="all-linear" if config.targets == "all-linear" else ATTENTION,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if hasattr(loaded.model, "peft_config"):
            loaded.model.add_adapter(name, lora)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a base with tied embeddings: we never touch the head
                loaded.model = get_peft_model(loaded.model, lora, adapter_name=name)
    activate(loaded, list(loaded.model.peft_config), trained=name)
    loaded.model.eval()  # whatever the model was: the new adapter alone would come with a live dropout


def load_adapters(loaded: LoadedModel, folders: Sequence[tuple[str, Path]]) -> None:
    """Put trained adapters on in order, all frozen and active.

    Raises:
        DataError: a folder without an adapter, or one that changes the head.
    """
    from peft import PeftModel

    for name, folder in folders:
        if not (folder / "adapter_model.safetensors").is_file():
            raise DataError("no adapter", path=folder, expected="adapter_model.safetensors")
        if hasattr(loaded.model, "peft_config"):
            loaded.model.load_adapter(str(folder), adapter_name=name, is_trainable=False)
        else:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")  # peft's
                loaded.model = PeftModel.from_pretrained(loaded.model, str(folder), adapter_name=name)
        if type(loaded.model.get_output_embeddings()) is not ScorableHead:
            raise DataError(
                "adapter changes the language-model head",
                path=folder,
                expected="LoRA on the decoder's linear layers",
                hint="train it again without lm_head among target_modules or modules_to_save",
            )
    if folders:
        activate(loaded, [name for name, _ in folders], trained=None)


def activate(loaded: LoadedModel, names: Sequence[str], trained: str | None) -> None:
    """These adapters are active; only ``trained`` has gradients and a dropout."""
    from iimedgpt.engine.lora import fuse  # peft is heavy and comes with it

    loaded.model.base_model.set_adapter(list(names))
    fuse(loaded.model)
    for key, parameter in loaded.model.named_parameters():
        parameter.requires_grad_(trained is not None and f".{trained}." in key)
    for module in loaded.model.modules():
        dropouts = getattr(module, "lora_dropout", None)
        for name in list(dropouts or ()):
            if name != trained:
                dropouts[name] = nn.Identity()  # type: ignore[index]


def save_adapter(loaded: LoadedModel, name: str, folder: Path) -> None:
    """One adapter as safetensors, in ``folder`` itself; the base is never written."""
    scratch = folder.parent / f".{folder.name}.saving"
    tensors = {key: whole(p) for key, p in loaded.model.named_parameters() if f".{name}." in key}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded.model.save_pretrained(str(scratch), selected_adapters=[name], state_dict=tensors)
    saved = scratch / name if (scratch / name).is_dir() else scratch
    folder.mkdir(mode=0o700, exist_ok=True)
    weights = folder / "adapter_model.safetensors"
    (saved / weights.name).replace(weights)
    weights.chmod(0o600)
    description = io.read_json(saved / "adapter_config.json")
    if isinstance(description["target_modules"], list):  # written from a set: another order in each process
        description["target_modules"] = sorted(description["target_modules"])
    description["base_model_name_or_path"] = loaded.name  # not where it lies on this machine
    io.write_json(folder / "adapter_config.json", description)
    shutil.rmtree(scratch, ignore_errors=True)
