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
from swa_tools.integrations.huggingface import SWASnapshots

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


def make_trainer(record: Record) -> Any:
    def make(model: Any, args: Any, callbacks: list[Any] = [], **more: Any) -> Trainer:
        return Trainer(model, args, callbacks=[record, *callbacks], compute_metrics=accuracy, **more)

    return make


def accuracy(found: Any) -> dict[str, float]:
    return {"accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())}


def train(model: nn.Module, images: Images) -> tuple[nn.Module, list[dict[str, Tensor]]]:
    record = Record()
    names: dict[str, Any] = {
        "model": model,
        "TrainingArguments": settings,
        "Trainer": make_trainer(record),
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


def test_callback(images: Images, held_out: Images) -> None:
    record = Record()
    model = resnet()
    names = common.run(
        "Callback for Hugging Face",
        {
            "model": model,
            "TrainingArguments": settings,
            "Trainer": make_trainer(record),
            "train_dataset": Rows(images),
            "eval_dataset": Rows(held_out),
        },
    )
    assert common.numbers(Path("swa")) == list(range(16, 21))
    assert common.numbers(Path("out")) == [64, 68, 72, 76, 80]
    expected = common.mean(record.states[15:])
    common.assert_equal(AutoModelForImageClassification.from_pretrained("averaged").state_dict(), expected)
    # Batches are of other images each time: statistics move, weights do not.
    found = model.state_dict()
    moved = {name for name, tensor in expected.items() if not torch.equal(found[name], tensor)}
    assert {name.rsplit(".", 1)[1] for name in moved} == {"running_mean", "running_var", "num_batches_tracked"}
    for name, before in (("trained", record.states[-1]), ("averaged", found)):
        again = resnet()
        again.load_state_dict(before)
        again.eval()
        with torch.no_grad():
            right = again(held_out[0]).logits.argmax(1) == held_out[1]
        assert names[name]["eval_accuracy"] == float(right.double().mean())


def test_cycles(images: Images) -> None:
    args = settings("out", num_train_epochs=6, save_strategy="no")
    args.lr_scheduler_type = "cosine_with_restarts"
    args.lr_scheduler_kwargs = {"num_cycles": 3}
    swa = SWASnapshots(start=3, at_cycle_end=True)
    Trainer(vit(), args, train_dataset=Rows(images), callbacks=[swa]).train()
    assert common.numbers(Path("swa")) == [4, 6]
    assert Path("swa/epoch_0004").resolve() == Path("out/checkpoint-16").resolve()
