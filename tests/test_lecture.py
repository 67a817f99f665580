"""Checks that the verdicts in docs/lecture.md on the lecture's claims follow from the measurements."""

import pandas as pd
import pytest

from conftest import ROOT
from mlp.claims import FAILED, HELD, OPEN
from stages.lecture import CURVE, about_curve, about_number, about_order, about_overfitting, about_smallest

LINES = (ROOT / "docs/lecture.md").read_text().splitlines()
CLAIMS = {
    claim.removeprefix("| "): cells for claim, *cells in (line.split(" | ") for line in LINES if line.count(" | ") == 4)
}


@pytest.mark.parametrize(
    ("claim", "lecture", "verdict"),
    [
        ("Test accuracy of the shallow network", "0.9712", HELD),
        ("The same, in its comparison with the deep one", "0.9649", FAILED),
        ("Test accuracy of the deep network", "0.9367", FAILED),
        ("The same at learning rate 0.001, on all training images", "0.9367", FAILED),
        ("The same at learning rate 0.0001, on all training images", "0.9367", HELD),
        (
            "Losses of the deep network's first epoch, at learning rate 0.001",
            "2.2469 2.1274 1.9379 1.8415 1.6548 1.4660 1.2895 1.1478 0.9910",
            FAILED,
        ),
        (
            "Losses of the deep network's first epoch, at learning rate 0.0001",
            "2.2469 2.1274 1.9379 1.8415 1.6548 1.4660 1.2895 1.1478 0.9910",
            HELD,
        ),
        ("The shallow network is better than the deep one", "by 0.0282", OPEN),
        ("The deep network is overfitting: training accuracy above test accuracy", "test accuracy 0.9367", FAILED),
        ("The smallest of the sizes has the highest test accuracy", "40-20", FAILED),
        ("Steps of an epoch at batch size 64", "938", HELD),
        ("Steps of an epoch at batch size 256", "235", HELD),
        ("Mean of the training pixels", "0.1307", HELD),
        ("Standard deviation of the training pixels", "0.3081", HELD),
        (
            "Softmax of [-1, 4, 10, 5, 7, 1, 4, -2, -1, 2] / 20",
            "0.08089815 0.10387528 0.14021696 0.10920108 0.12068586 0.08940628 0.10387528 0.0769527 "
            "0.08089815 0.09399024",
            HELD,
        ),
    ],
)
def test_the_page_has_every_claim_with_its_verdict(claim: str, lecture: str, verdict: str) -> None:
    assert CLAIMS[claim][0] == lecture
    assert CLAIMS[claim][2] == verdict


def test_at_the_printed_learning_rate_the_loss_at_step_25_is_about_one_and_a_half() -> None:
    losses = CLAIMS["Losses of the deep network's first epoch, at learning rate 0.001"][1].split()
    assert float(losses[0]) == pytest.approx(1.5, abs=0.1)


def test_a_number_outside_the_prediction_interval_did_not_hold_and_the_reason_is_given() -> None:
    runs = [0.970, 0.971, 0.972]
    assert about_number("", 0.9705, runs, "; why").reason.endswith("to 0.9760")
    outside = about_number("", 0.93, runs, "; why")
    assert (outside.verdict, outside.here) == (FAILED, "0.9710 ± 0.0010")
    assert outside.reason.endswith("; why")


def curve(rate: float, shift: float) -> pd.DataFrame:
    points = [
        {"learning_rate": rate, "seed": seed, "step": step, "training_loss": loss + shift + 0.01 * seed}
        for seed in range(3)
        for step, loss in CURVE.items()
    ]
    return pd.DataFrame(points)


def test_a_curve_holds_if_each_of_its_losses_does() -> None:
    assert about_curve(0.1, curve(0.1, 0.0)).verdict == HELD
    one_off = curve(0.1, 0.0)
    one_off.loc[one_off.step == 100, "training_loss"] += 0.5
    assert about_curve(0.1, one_off).verdict == FAILED
    assert about_curve(0.1, one_off).reason.startswith("8 of 9")
    assert about_curve(0.1, curve(0.1, 0.0)[:9]).verdict == OPEN


def test_the_verdict_on_the_order_is_that_of_the_comparison() -> None:
    worse, better = [0.90, 0.95, 0.99], [0.901, 0.951, 0.991]
    assert about_order(better, worse, "shallow is better").verdict == HELD
    assert about_order(worse, better, "deep is better").verdict == FAILED
    assert about_order(better, worse, "no difference shown").verdict == OPEN


def accuracies(rates: dict[float, tuple[float, float]]) -> pd.DataFrame:
    points = [
        {"learning_rate": rate, "training_accuracy": training + noise, "test_accuracy": test - noise}
        for rate, (training, test) in rates.items()
        for noise in (-0.001, 0.0, 0.001)
    ]
    return pd.DataFrame(points)


@pytest.mark.parametrize(
    ("nearest", "other", "verdict"),
    [
        ((0.99, 0.937), (0.95, 0.930), HELD),
        ((0.938, 0.937), (0.99, 0.972), FAILED),
        ((0.937, 0.937), (0.93, 0.930), OPEN),
    ],
)
def test_a_network_overfits_if_it_is_better_on_training_images_and_not_undertrained(
    nearest: tuple[float, float], other: tuple[float, float], verdict: str
) -> None:
    curves = pd.concat([curve(0.1, 0.0), curve(0.2, 1.0)])
    claim, text = about_overfitting(curves, accuracies({0.1: nearest, 0.2: other}))
    assert claim.verdict == verdict
    assert text.startswith("Learning rate 0.1")
    assert ("undertrained" in text) == (verdict == FAILED)


@pytest.mark.parametrize(
    ("against_the_largest", "against_the_middle", "verdict"),
    [
        ("40-20 is better", "40-20 is better", HELD),
        ("40-20 is better", "no difference shown", OPEN),
        ("no difference shown", "no difference shown", OPEN),
        ("40-20 is better", "400-200 is better", FAILED),
    ],
)
def test_the_smallest_is_best_if_it_is_significantly_better_than_every_other(
    against_the_largest: str, against_the_middle: str, verdict: str
) -> None:
    sizes = [("320-160", 300), ("400-200", 200), ("40-20", 100)]
    comparisons = [
        ("320-160", "400-200", "320-160 is better"),
        ("320-160", "40-20", against_the_largest),
        ("400-200", "40-20", against_the_middle),
    ]
    claim = about_smallest(
        pd.DataFrame([(*size, 0.97) for size in sizes], columns=["hidden", "parameters", "test_accuracy"]),
        pd.DataFrame(comparisons, columns=["first", "second", "verdict"]),
    )
    assert (claim.lecture, claim.verdict) == ("40-20", verdict)


def test_a_single_size_is_not_called_best() -> None:
    sizes = pd.DataFrame([("5", 10, 0.9)], columns=["hidden", "parameters", "test_accuracy"])
    none = pd.DataFrame([], columns=["first", "second", "verdict"], dtype=str)
    assert about_smallest(sizes, none).verdict == OPEN
