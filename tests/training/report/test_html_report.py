"""The report and the card of a version; the report is also opened in a browser."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser

from service.model import Model
from service.registry import FILES, current_version
from tests.fixtures.clouds import two_clouds
from tests.fixtures.drawing import draw_folder
from tests.fixtures.small_backbone import SMALL
from tests.fixtures.tiny_model import METADATA, write_tiny_model
from training.data.cache import Cache
from training.data.checks import LabelIssue, check_photos
from training.data.label_list import EXCLUDED, Correction, LabelChange
from training.data.photos import find_labelled
from training.evaluation import synthetic
from training.evaluation.evaluate import Evaluation, evaluate, evaluate_photos
from training.evaluation.learning_curve import learning_curve
from training.evaluation.slices import MIN_PHOTOS
from training.model.classifier import build_classifier
from training.records import PreparedData, RunResult
from training.report.html_report import LABEL_CHANGES, LABEL_ISSUES, write_report
from training.report.version_files import render_card

_CHARTS = {"scores", "confusion", "roc", "precision-recall", "reliability"}
_HEADINGS = [
    "The photos",
    "The fit",
    "Validation photos",
    "Test: data/test",
    "Synthetic pictures",
    "Inside the network",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    metadata = replace(METADATA, threshold=0.9999).to_properties()  # so that every hotdog is a mistake
    return Model(write_tiny_model(tmp_path_factory.mktemp("model") / FILES["int8"], metadata))


@pytest.fixture(scope="module")
def result(model: Model, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """Return the result of a run of three fits that found duplicates and label issues."""
    folder = tmp_path_factory.mktemp("result")
    photos = find_labelled(draw_folder(folder / "photos", each=20), "hotdog", "not_hotdog")
    shutil.copy(photos.paths[0], folder / "photos" / "hotdog" / "copy.jpg")
    test = draw_folder(folder / "test", each=12, first=100)
    for path in sorted((test / "not_hotdog").iterdir()):
        path.rename(path.with_name(f"pizza-{path.name}"))
    (folder / "metrics.csv").write_text("epoch,loss,val_loss,val_accuracy,val_auc\n0,0.7,0.6,0.8,0.9\n")
    classifier, _ = build_classifier("none", SMALL)
    corrections = [Correction("not_hotdog", "a sausage without a bun")] * 8 + [Correction(EXCLUDED, "a drawing")] * 3
    changes = [LabelChange(path, "hotdog", each) for path, each in zip(photos.paths, corrections, strict=False)]
    broken = folder / "broken.jpg"
    broken.write_bytes(b"broken")
    changes[-1] = replace(changes[-1], path=broken)
    repeated = (photos.paths * 2)[: LABEL_ISSUES + 1]
    issues = tuple(LabelIssue(path, "hotdog", 0.01 * i) for i, path in enumerate(repeated))
    data = PreparedData(
        training=photos,
        validation=photos,
        tests=(test,),
        findings=check_photos(find_labelled(folder / "photos", "hotdog", "not_hotdog"), [], Cache(None)),
        label_changes=changes,
        label_issues=issues,
        features=None,
        targets=photos.targets[None],
        crop_size=None,
        validation_features=None,
        accepted=photos.take([]),
        corrections=photos.take([]),
    )
    return RunResult(
        data=data,
        folder=folder,
        classifier=classifier.eval(),
        metadata=model.metadata,
        summary={"loss": "binary cross-entropy"},
        curves=folder / "metrics.csv",
        gates={"int8 against float32": "equal"},
        validation=evaluate_photos(model, photos),
        tests={"data/test": evaluate(model, test)},
        fits=3,
        over_fits={"roc_auc": (0.98765, 0.00321)},
        synthetic=_synthetic(model, folder / "synthetic"),
        current={"data/test": evaluate(Model(write_tiny_model(folder / "before.onnx")), test)},
        current_version="20261121-071000",
    )


def _synthetic(model: Model, folder: Path) -> Evaluation:
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "EACH", MIN_PHOTOS)
        synthetic.draw_synthetic(folder / "not_hotdog")
    return evaluate(model, folder)


def _write(folder: Path, model: Model, result: RunResult) -> str:
    write_report(folder, model, result)
    return (folder / "index.html").read_text()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, model: Model, result: RunResult) -> Path:
    folder = tmp_path_factory.mktemp("written") / "report"
    _write(folder, model, result)
    return folder


@pytest.fixture(scope="module")
def page(report: Path) -> str:
    return (report / "index.html").read_text()


def _is_self_contained(page: str) -> bool:
    return not re.findall(r"""(?:src|href)=["'](?!data:image/(?:png|jpeg);base64,)|url\(|@import|<script""", page)


def test_it_is_one_file_and_its_charts_stand_beside_it(report: Path, page: str) -> None:
    assert _is_self_contained(page)
    assert {path.name for path in report.glob("*.png")} == {
        *(f"{part}-{name}.png" for part in ("validation", "test-data-test") for name in _CHARTS),
        *(f"samples-{name}.png" for name in ("training", "data-test")),
        *(f"inside-{name}.png" for name in ("kernels", "maps")),
        *(f"curves-{name}.png" for name in ("loss", "validation")),
    }


def test_both_kinds_of_samples_are_shown(page: str) -> None:
    for caption in ("Training photos, as the network sees them", "Test: data/test"):
        assert f"<figcaption>{caption}</figcaption>" in page


def test_suspects_are_shown_and_all_are_listed(page: str) -> None:
    shown = page.split("<h2>Photos that look mislabelled</h2>")[1].split("<h2>")[0]
    assert shown.count("<img") == LABEL_ISSUES
    assert shown.count("<li>") == LABEL_ISSUES + 1
    assert "hotdog: 0.03<br>hotdog/003.jpg" in shown


def test_doubles_are_shown_side_by_side(page: str) -> None:
    shown = page.split("Duplicate pictures")[1].split("<h2>")[0]
    assert re.findall(r"<figcaption>(.*?)<br>(.*?)</figcaption>", shown) == [
        ("kept", "hotdog/000.jpg"),
        ("left out", "hotdog/copy.jpg"),
    ]


def test_corrected_labels_are_shown_by_what_was_corrected_and_why(page: str) -> None:
    shown = page.split("<h2>Labels that were corrected</h2>")[1].split("<h2>")[0]
    groups = shown.split('<div class="group">')[1:]
    assert [re.findall(r"<strong>(.*?)</strong>", group) for group in groups] == [
        ["hotdog to not_hotdog: a sausage without a bun (8)"],
        ["hotdog left out: a drawing (3)"],
    ]
    assert [group.count("<img") for group in groups] == [LABEL_CHANGES, 2], "an unreadable photo is not shown"
    assert "<figcaption>hotdog/000.jpg</figcaption>" in groups[0]


def test_the_current_version_and_synthetic_pictures_are_tables(page: str) -> None:
    beside = page.split("<h3>Compared with version 20261121-071000</h3>")[1].split("<h3>")[0]
    assert '<th scope="col">called hotdog, version 20261121-071000 before</th>' in beside
    assert '<th scope="row">pizza</th><td>not_hotdog</td><td>12</td>' in beside
    assert '<th scope="row">(all)</th><td>hotdog</td><td>12</td><td>0.000 (0.000 - 0.242)</td><td>1.000 (' in beside
    made = page.split("<h2>Synthetic pictures</h2>")[1].split("<h2>")[0]
    assert '<th scope="col">called hotdog</th><th scope="col">unfamiliar</th>' in made
    assert made.count("<tr>") == 5, "a heading, three kinds, and all"


def test_slices_fits_and_layers_are_tables(page: str) -> None:
    assert "By kind, the least accurate first" in page
    assert '<th scope="row">pizza</th><td>12</td><td>1.000 (' in page
    assert "Over 3 fits" in page
    assert '<th scope="row">roc auc</th><td>0.988</td><td>0.003</td>' in page
    assert '<th scope="row">averagepool</th><td>average pooling</td><td>32</td>' in page


def test_missing_parts_are_omitted(tmp_path: Path, model: Model, result: RunResult, page: str) -> None:
    data = replace(result.data, label_issues=None, label_changes=())
    probe = replace(result, data=data, curves=None, tests={}, over_fits={}, fits=1, synthetic=None)
    short = _write(tmp_path / "report", model, probe)
    for absent in (
        "look mislabelled",
        "were corrected",
        "Synthetic",
        "Compared with version",
        "Loss by epoch",
        "fits</h3>",
        "Test: ",
    ):
        assert absent in page
        assert absent not in short
    assert not list((tmp_path / "report").glob("curves*"))


def test_what_more_photos_would_bring_is_a_sentence_and_a_chart(
    tmp_path: Path, model: Model, result: RunResult, page: str
) -> None:
    assert "There is no learning curve, because the network had no pretrained weights." in page
    features, targets = two_clouds(120, channels=8)
    curve = learning_curve((features[:80], targets[:80]), (features[80:], targets[80:]), 0)
    shown = _write(tmp_path / "report", model, replace(result, learning_curve=curve))
    part = shown.split("<h3>More photos</h3>")[1].split("<h2>")[0]
    assert "With 80 training photos, a linear probe is wrong on " in part
    assert part.count("<img") == 1
    assert (tmp_path / "report" / "photos-learning-curve.png").is_file()


def test_names_are_escaped(tmp_path: Path, model: Model, result: RunResult) -> None:
    page = _write(tmp_path / "report", model, replace(result, tests={"<b>/x": result.tests["data/test"]}))
    assert "<b>" not in page
    assert "Test: &lt;b&gt;/x" in page


def test_the_card_has_slices_and_fits(result: RunResult) -> None:
    text = render_card(result)
    assert (
        "By kind, the least accurate first:\n\n| kind | photos | accuracy | false positive rate | unfamiliar |\n"
        in text
    )
    assert "|---|---|---|---|---|\n| pizza | 12 | 1.000 (" in text
    assert "### Over 3 fits\n" in text
    assert "| roc_auc | 0.988 ± 0.003 |" in text
    assert "\n\n| kind | label | photos | called hotdog, this version | called hotdog, version 2026" in text
    assert "\n\n| kind | photos | called hotdog | unfamiliar |\n|---|---|---|---|\n" in text
    one = render_card(replace(result, over_fits={}, fits=1, tests={}))
    assert "fits\n" not in one
    assert not re.search(r"\n\n\n", text), "there are no double empty lines"


def test_a_slice_named_with_a_bar_stays_in_its_column(result: RunResult) -> None:
    evaluation = result.tests["data/test"]
    (part,) = evaluation.slices
    odd = replace(evaluation, slices=(replace(part, name="a|b"),))
    assert "| a\\|b | 12 |" in render_card(replace(result, tests={"data/test": odd}))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 390, 1280])
def test_it_is_read_on_any_screen(
    browser: Browser, report: Path, tmp_path: Path, scheme: Literal["light", "dark"], width: int
) -> None:
    alone = shutil.copy(report / "index.html", tmp_path / "report.html")
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto(f"file://{alone}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page does not scroll sideways"
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    tables = page.locator(".table").evaluate_all(
        "boxes => boxes.filter(box => box.scrollWidth > box.clientWidth).length"
    )
    assert (tables > 0) == (width < 1280), "a wide table scrolls inside its own box"
    charts = page.locator(".charts img").evaluate_all("images => images.map(image => image.clientWidth)")
    assert min(charts) >= 300, "the text in the charts is readable"
    headings = page.locator("h2").all_inner_texts()
    found = ["Labels that were corrected", "Photos that look mislabelled"]
    assert headings == [_HEADINGS[0], *found, *_HEADINGS[1:]]
    ground, ink = (
        [int(number) for number in re.findall(r"\d+", page.evaluate(f"getComputedStyle(document.body).{name}"))]
        for name in ("backgroundColor", "color")
    )
    assert abs(sum(ground) - sum(ink)) > 400, "the contrast is high"
    page.close()


@pytest.mark.slow
def test_training_writes_it(trained_models: Path) -> None:
    page = (trained_models / current_version(trained_models) / "report" / "index.html").read_text()
    assert _is_self_contained(page)
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert [heading for heading in headings if "mislabelled" not in heading] == _HEADINGS
