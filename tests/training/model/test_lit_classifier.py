"""Learning rates and schedule of a fit."""

from types import SimpleNamespace

import pytest

from training.config import Hyperparameters
from training.model.backbones import BACKBONES
from training.model.classifier import build_classifier
from training.model.lit_classifier import LitClassifier


@pytest.mark.parametrize("name", BACKBONES)
def test_rates_are_lower_for_earlier_stages(name: str) -> None:
    network, _ = build_classifier("none", name)
    module = LitClassifier(network, [], Hyperparameters(learning_rate=1.0, last_stage_rate=0.1, first_stage_rate=0.001))
    stages = [name for name, stage in network.features.named_children() if list(stage.parameters())]
    rates = [module.learning_rate(f"features.{stage}.weight") for stage in stages]
    assert rates == sorted(rates)
    assert [rates[0], rates[-1]] == pytest.approx([0.001, 0.1])
    assert module.learning_rate("head.weight") == 1.0
    probe = LitClassifier(network, [], Hyperparameters(learning_rate=1.0, last_stage_rate=0.1), head_is_probe=True)
    assert probe.learning_rate("head.weight") == 0.1


@pytest.mark.parametrize("steps", [*range(1, 30), 1000])
def test_a_fit_of_any_length_has_a_schedule(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    module = LitClassifier(build_classifier("none")[0], [], Hyperparameters())
    monkeypatch.setattr(module, "_trainer", SimpleNamespace(estimated_stepping_batches=steps))
    made = module.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]  # type: ignore[index]
    rates = [optimizer.param_groups[0]["lr"]]  # type: ignore[attr-defined]
    for _ in range(steps - 1):
        optimizer.step()  # type: ignore[attr-defined]
        schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])  # type: ignore[attr-defined]
    assert rates[0] < 1e-4 or steps == 1
    assert rates[-1] < 1e-5 or steps < 2
