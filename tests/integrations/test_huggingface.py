"""Hugging Face's Trainer, with a network that has batchnorm and one that has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
)

import common

Images = tuple[Tensor, Tensor]


def resnet() -> nn.Module:
    torch.manual_seed(0)
    return ResNetForImageClassification(
        ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=common.CLASSES
        )
    )


def vit() -> nn.Module:
    torch.manual_seed(0)
    return ViTForImageClassification(
        ViTConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            image_size=64,
            patch_size=16,
            num_labels=common.CLASSES,
        )
    )


class Rows(torch.utils.data.Dataset[dict[str, Tensor]]):
    def __init__(self, images: Images) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images[0])

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {"pixel_values": self.images[0][row], "labels": self.images[1][row]}


class Record(TrainerCallback):
    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: nn.Module, **_: Any) -> None:
        self.states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})


def settings(output_dir: str, **more: Any) -> TrainingArguments:
    return TrainingArguments(
        output_dir,
        per_device_train_batch_size=24,
        learning_rate=0.02,
        lr_scheduler_type="constant",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        logging_strategy="no",
        **more,
    )


def train(model: nn.Module, images: Images) -> tuple[nn.Module, list[dict[str, Tensor]]]:
    record = Record()
    names: dict[str, Any] = {
        "model": model,
        "TrainingArguments": settings,
        "Trainer": lambda model, args, **more: Trainer(model, args, callbacks=[record], **more),
        "train_dataset": Rows(images),
        "AutoModelForImageClassification": AutoModelForImageClassification,
    }
    common.run("Hugging Face Trainer", names)
    loaded = names["model"]
    assert isinstance(loaded, nn.Module) and loaded is not model
    assert len(record.states) == 20
    return loaded, record.states


def test_resnet(images: Images, held_out: Images) -> None:
    model, states = train(resnet(), images)
    common.assert_equal(model.state_dict(), common.mean(states[15:]))
    # For swa-bn-update a folder is as good as a file.
    Path("swa.pth").symlink_to("averaged")
    common.check_statistics(model, images, held_out)


def test_vit(images: Images) -> None:
    model, states = train(vit(), images)
    common.assert_equal(model.state_dict(), common.mean(states[15:]))


def test_what_stays_without_a_setting(images: Images) -> None:
    one = Rows((images[0][:1], images[1][:1]))
    Trainer(vit(), settings("out", num_train_epochs=600), train_dataset=one).train()
    assert common.numbers(Path("out")) == [500, 600]
    assert (Path("out") / "checkpoint-500" / "optimizer.pt").exists()
