"""Training by Lightning: its loop, checkpoints, early stopping, clipping, precision, devices."""

from __future__ import annotations

import io
import logging
import pickle
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from rnnport.errors import DataError, DeviceError, RequestError
from rnnport.files import replacing
from rnnport.training.lesson import VALIDATION_LOSS, Lesson, Row
from rnnport.training.model import build_network, set_scaling
from rnnport.training.objective import OBJECTIVES
from rnnport.training.problem import Problem
from rnnport.training.progress import Progress
from rnnport.training.recipe import Recipe

DEVICES = ("auto", "cpu", "cuda")
CHECKPOINT = "checkpoint"  # Lightning adds .ckpt
# what torch.load and what follows it raise for a file that is cut, empty, or something else
_DAMAGE: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    pickle.UnpicklingError,
)
_CHATTER = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")


class _WholeCheckpoint(TorchCheckpointIO):
    """Writes beside the checkpoint, then renames: a kill leaves the old one or the new one."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        content = io.BytesIO()  # torch's own writing to a full disk is no OSError
        torch.save(checkpoint, content)
        with replacing(Path(path), overwrite=True) as temporary:
            temporary.write_bytes(content.getbuffer())


def accelerator(device: str) -> str:
    """Lightning's name for ``auto``, ``cpu`` or ``cuda``.

    Raises:
        RequestError: there is no such device.
        DeviceError: CUDA was asked for and is not there.
    """
    if device not in DEVICES:
        raise RequestError(f"--device {device} is unknown; there are {', '.join(DEVICES)}")
    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        build = f"torch {torch.__version__}"
        reason = "finds no GPU" if torch.version.cuda else "is a build for the CPU only"
        raise DeviceError(f"--device cuda: {build} {reason}; --device cpu trains without")
    return "cuda" if cuda and device != "cpu" else "cpu"


def fit(
    recipe: Recipe,
    problem: Problem,
    folder: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    on_epoch: Callable[[list[Row]], None],
) -> Lesson:
    """Train to the recipe's last epoch; after each one ``folder`` holds a whole checkpoint.

    ``on_epoch`` is called with the history so far after every epoch.

    Raises:
        CheckFailedError: the loss became NaN or infinite.
        DataError: the checkpoint to resume from is damaged.
        DeviceError: the device is not there.
        KeyboardInterrupt: the user interrupted; the last checkpoint can be resumed.
    """
    kind = accelerator(device)
    seed = recipe.train.seed
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build_network(recipe.model, problem.spec)
        set_scaling(network, problem.inputs, problem.targets)
        objective = OBJECTIVES[recipe.task.kind]
        lesson = Lesson(network, objective, problem, recipe.train, on_epoch)
        path = folder / f"{CHECKPOINT}.ckpt"
        done = _load(path, lesson) if resume and path.exists() else None
        if done is not None and (done["stopped"] or len(done["history"]) >= recipe.train.epochs):
            return lesson
        with _quiet(), _own_interrupt(), _threads(recipe.train.threads):
            trainer = _trainer(recipe, problem, folder, kind)
            _run(trainer, lesson, None if done is None else path)
    return lesson


def _load(path: Path, lesson: Lesson) -> dict[str, Any]:
    """Put the checkpoint's weights and history into the lesson; gives what it remembers."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        lesson.load_state_dict(checkpoint["state_dict"])
        lesson.on_load_checkpoint(checkpoint)
        return dict(checkpoint["lesson"])
    except _DAMAGE as error:
        raise DataError(
            f"{path} is damaged and cannot be resumed from ({type(error).__name__}); "
            "--overwrite starts anew"
        ) from error


def _trainer(recipe: Recipe, problem: Problem, folder: Path, kind: str) -> Trainer:
    train = recipe.train
    newest = ModelCheckpoint(
        dirpath=folder,
        filename=CHECKPOINT,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    callbacks: list[Callback] = [Progress(train.epochs), newest]
    if train.patience and "validation" in problem.parts:
        callbacks.append(EarlyStopping(VALIDATION_LOSS, patience=train.patience))
    return Trainer(
        accelerator=kind,
        devices=train.devices,
        max_epochs=train.epochs,
        precision=train.precision,
        gradient_clip_val=train.clip or None,
        callbacks=callbacks,
        plugins=[_WholeCheckpoint()],
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # batches are shared out by their own sampler
    )


def _run(trainer: Trainer, lesson: Lesson, resume_from: Path | None) -> None:
    try:
        trainer.fit(lesson, ckpt_path=resume_from, weights_only=True)
    except SystemExit as error:
        if trainer.interrupted:  # Lightning turns Ctrl-C into an exit of its own
            raise KeyboardInterrupt from error
        raise


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's greetings and tips; errors still come through."""
    loggers = [logging.getLogger(name) for name in _CHATTER]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.|pytorch_lightning\.")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _own_interrupt() -> Iterator[None]:
    """Lightning leaves Ctrl-C switched off after an interrupt; what was there comes back."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and callable(handler):
            signal.signal(signal.SIGINT, handler)
