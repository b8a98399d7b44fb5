"""What int8 and bfloat16 weights cost the recipes: size, metric before and after, decisions."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from layer_files import Rows

import rnnport
from rnnport.errors import RnnportError

MODELS = Path(__file__).resolve().parent.parent / "models"
POINTS, GROWTH = 0.002, 0.01  # what is allowed: of accuracy, or one sample; of the squared error


@dataclass(frozen=True)
class Cost:
    """One recipe's file stored small; ``failure`` says why there are no figures."""

    recipe: str
    precision: str
    failure: str = ""
    bytes_before: int = 0
    bytes_after: int = 0
    measure: str = ""
    before: float = 0.0
    after: float = 0.0
    drop: float = 0.0
    rows: int = 0
    agreement: float | None = None

    @property
    def change(self) -> str:
        """Accuracy in points, the squared error as a part of itself."""
        if self.measure == "accuracy":
            return f"{100 * (self.after - self.before):+.2f} points"
        return f"{100 * self.drop:+.2f}%"

    @property
    def holds(self) -> bool:
        """Whether it lost at most 0.2 points or one sample, or 1% of the squared error."""
        counted = self.measure == "accuracy"
        most = max(POINTS, 1 / self.rows) if counted else GROWTH
        return not self.failure and self.drop <= most + 1e-12


def costs(names: tuple[str, ...] = ()) -> Iterator[Cost]:
    """Every recipe with a model file, or those named, in each precision."""
    with tempfile.TemporaryDirectory() as folder:
        for recipe in sorted(MODELS.glob("*/recipe.toml")):
            name, model = recipe.parent.name, recipe.parent / "model.onnx"
            if model.exists() and (not names or name in names):
                data = tomllib.loads(recipe.read_text())["data"]["source"]
                for precision in ("int8", "bf16"):
                    yield _cost(name, model, data, precision, Path(folder))


def _cost(name: str, model: Path, data: str, precision: str, folder: Path) -> Cost:
    made = folder / f"{name}.{precision}.onnx"
    try:
        report = rnnport.quantize(model, made, precision=precision, evaluate=data)
    except RnnportError as error:
        return Cost(name, precision, str(error))
    judgement = report.judgement
    assert judgement is not None, "it was asked for"
    return Cost(
        recipe=name,
        precision=precision,
        bytes_before=report.bytes_before,
        bytes_after=report.bytes_after,
        measure=judgement.measure,
        before=judgement.before[judgement.measure],
        after=judgement.after[judgement.measure],
        drop=judgement.drop,
        rows=int(judgement.before["count"]),
        agreement=judgement.agreement,
    )


def cost_table(found: list[Cost]) -> Rows:
    """Rows for a terminal or a page, the head first."""
    head = (
        "recipe",
        "weights",
        "of the bytes",
        "measure",
        "fp32",
        "stored small",
        "change",
        "equal",
        "",
    )
    rows: Rows = [head]
    for each in found:
        if each.failure:
            rows.append((each.recipe, each.precision, "", "", "", "", "", "", each.failure))
            continue
        shown = "{:.2%}" if each.measure == "accuracy" else "{:.5g}"
        rows.append(
            (
                each.recipe,
                each.precision,
                f"{each.bytes_after / each.bytes_before:.2f}",
                each.measure,
                shown.format(each.before),
                shown.format(each.after),
                each.change,
                "" if each.agreement is None else f"{each.agreement:.2%}",
                "" if each.holds else "over the bound",
            )
        )
    return rows
