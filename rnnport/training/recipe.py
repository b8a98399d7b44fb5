"""A recipe: everything that decides how a model is trained, typed, frozen and checked once."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from rnnport.errors import RecipeError

T = TypeVar("T")
SECTIONS = ("task", "data", "model", "train")


def _number(default: Any, least: float, below: float = math.inf) -> Any:
    """A field whose number is at least ``least`` and less than ``below``."""
    return field(default=default, metadata={"least": least, "below": below})


@dataclass(frozen=True)
class Task:
    """What the model answers: a class for a sequence, or the next ``horizon`` rows of a series."""

    kind: Literal["classify", "forecast"] = "classify"
    lookback: int | None = _number(None, 1)
    horizon: int | None = _number(None, 1)
    targets: tuple[str, ...] = ()  # the columns to forecast; none named: all of them


@dataclass(frozen=True)
class Data:
    """Where the rows come from: a built-in set's name or a file, and how they are scaled.

    ``scaling`` is fitted on the training part: "standard" takes every feature to mean 0 and
    deviation 1, "range" takes the values to 0…1, "none" leaves them.
    """

    source: str = ""
    sha256: str = ""  # where it is given, other data is refused
    time_column: str | None = None
    columns: tuple[str, ...] = ()  # the columns to read; none named: all that hold numbers
    validation: float | None = _number(None, 0, 1)  # a classifier's share; none: the data's usual
    scaling: Literal["standard", "range", "none"] = "standard"


@dataclass(frozen=True)
class Model:
    """The recurrent stack; dropout acts after every layer, the last one too.

    ``noise`` is the deviation of the Gaussian noise that the scaled inputs get while the network
    learns, new for every value and epoch (C. M. Bishop, "Training with noise is equivalent to
    Tikhonov regularization", Neural Computation 7, 1995).
    """

    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    nonlinearity: Literal["tanh", "relu"] = "tanh"
    layers: int = _number(1, 1)
    hidden: int = _number(64, 1)
    dropout: float = _number(0.0, 0, 1)
    noise: float = _number(0.0, 0)
    bidirectional: bool = False


@dataclass(frozen=True)
class Train:
    """How the weights are found.

    ``patience`` epochs without a better validation loss end the training, 0 never does; ``clip``
    bounds the norm of the gradient, 0 does not; ``batch_size`` counts all devices together;
    ``threads`` on the CPU, 0 leaves them to torch (small networks are as fast with one, and far
    faster where other programs run beside them);
    ``checkpoint`` says which epoch's weights are kept: the best by validation loss (where there
    is no validation part, the last) or the last.
    """

    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    learning_rate: float = _number(0.001, 1e-12)
    batch_size: int = _number(64, 1)
    epochs: int = _number(20, 1)
    patience: int = _number(0, 0)
    clip: float = _number(0.0, 0)
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    devices: int = _number(1, 1)
    threads: int = _number(0, 0)
    checkpoint: Literal["best", "last"] = "best"
    seed: int = _number(0, 0, 2**32)


@dataclass(frozen=True)
class Recipe:
    """One whole recipe."""

    name: str
    task: Task
    data: Data
    model: Model
    train: Train

    def to_dict(self) -> dict[str, Any]:
        """Plain values as TOML and JSON know them, without the fields that are not set."""
        document: dict[str, Any] = {"name": self.name}
        for section in SECTIONS:
            values = dataclasses.asdict(getattr(self, section))
            document[section] = {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in values.items()
                if value is not None
            }
        return document


def build(document: Mapping[str, Any], name: str) -> Recipe:
    """Check a parsed TOML document and make the recipe of it; ``name`` is for one without a name.

    Raises:
        RecipeError: an unknown section or key, a wrong type or value, or fields that exclude
            each other.
    """
    _known(document, ("name", *SECTIONS), "the recipe")
    own = document.get("name", name)
    if not isinstance(own, str) or not own:
        raise RecipeError(f"name is {own!r}; it is a text that is not empty")
    recipe = Recipe(
        name=own,
        task=_section(Task, "task", document),
        data=_section(Data, "data", document),
        model=_section(Model, "model", document),
        train=_section(Train, "train", document),
    )
    _check_together(recipe)
    return recipe


def nearest(word: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` where something known is near, else what is known."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known are: {', '.join(names)}"


def _known(document: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    for key in document:
        if key not in set(keys):
            raise RecipeError(f"{where} has the unknown key '{key}'; {nearest(key, keys)}")


def _section(kind: type[T], name: str, document: Mapping[str, Any]) -> T:
    values = document.get(name, {})
    if not isinstance(values, Mapping):
        raise RecipeError(f"[{name}] is {values!r}; it is a section of keys and values")
    hints = get_type_hints(kind)
    _known(values, hints, f"[{name}]")
    limits = {item.name: item.metadata for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    checked = {}
    for key, value in values.items():
        option = f"{name}.{key}"
        checked[key] = _typed(value, hints[key], option)
        if limits[key]:
            _within(checked[key], limits[key], option)
    return kind(**checked)


def _typed(value: Any, hint: Any, option: str) -> Any:
    if get_origin(hint) is UnionType:  # "int | None": not set, or an int
        hint = next(kind for kind in get_args(hint) if kind is not NoneType)
    if get_origin(hint) is Literal:
        value = _text(value)
        if value not in get_args(hint):
            raise RecipeError(f"{option} is {value!r}; {nearest(str(value), get_args(hint))}")
        return value
    if get_origin(hint) is tuple:
        words = [_text(word) for word in (value if isinstance(value, list) else [value])]
        if all(isinstance(word, str) for word in words):
            return tuple(words)
        raise RecipeError(f"{option} is {value!r}; it is a list of texts")
    if hint is float and type(value) is int:
        return float(value)
    if hint is str:
        value = _text(value)
    if type(value) is not hint:
        kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
        raise RecipeError(f"{option} is {value!r}; it is {kinds[hint]}")
    return value


def _text(value: Any) -> Any:
    """A whole number where a text belongs, as in ``--set train.precision=32``, is that text."""
    return str(value) if type(value) is int else value


def _within(value: float, limits: Mapping[str, float], option: str) -> None:
    if not limits["least"] <= value < limits["below"]:  # NaN is not within either
        bound = f"at least {limits['least']:g}"
        if math.isfinite(limits["below"]):
            bound += f" and below {limits['below']:g}"
        raise RecipeError(f"{option} is {value!r}; it is a finite number, {bound}")


def _check_together(recipe: Recipe) -> None:
    """What a single field cannot know."""
    task, data, model = recipe.task, recipe.data, recipe.model
    if not data.source:
        raise RecipeError("data.source is not set; give it in the recipe, or --data on the command")
    if model.nonlinearity != "tanh" and model.cell != "rnn":
        raise RecipeError(
            f"model.nonlinearity '{model.nonlinearity}' is for model.cell 'rnn', "
            f"and the cell is '{model.cell}'"
        )
    if task.kind == "classify":
        for key in ("lookback", "horizon", "targets"):
            if getattr(task, key):
                raise RecipeError(f"task.{key} is for task.kind 'forecast', not 'classify'")
        for key in ("time_column", "columns"):
            if getattr(data, key):
                raise RecipeError(f"data.{key} is for task.kind 'forecast', not 'classify'")
        return
    if task.lookback is None or task.horizon is None:
        missing = "lookback" if task.lookback is None else "horizon"
        raise RecipeError(f"task.{missing} is not set; a forecast needs it (--{missing} N)")
    if data.validation is not None:
        raise RecipeError("data.validation is for task.kind 'classify'; a series is cut in time")
    outside = [name for name in task.targets if data.columns and name not in data.columns]
    if outside:
        raise RecipeError(
            f"task.targets names '{outside[0]}', which data.columns does not; "
            f"{nearest(outside[0], data.columns)}"
        )
