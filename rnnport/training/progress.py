"""Live progress of training on stderr: epoch, loss, metric, time left."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bar

from rnnport.training.lesson import Lesson

_REFRESH = 0.2  # seconds; reading the loss waits for the device, so it is not done at every step


class Progress(Callback):
    """A bar that lives where stderr is a terminal, and one line an epoch where it is not."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.live = sys.stderr.isatty()
        self._bar: Bar | None = None
        self._task = TaskID(0)
        self._start = self._shown = 0.0
        self._first = 0  # epochs that were there before this run

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.perf_counter()
        self._first = trainer.current_epoch
        if self.live and trainer.is_global_zero:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Bar(*columns, console=Console(stderr=True), auto_refresh=False)
            self._task = self._bar.add_task("", total=1.0, note="")
            self._bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        if self._bar is None or now - self._shown < _REFRESH:
            return
        self._shown = now
        within = (batch_idx + 1) / max(1, int(trainer.num_training_batches))
        done = trainer.current_epoch + within
        figures = self._running(pl_module)
        note = f"{figures}  {_clock(self._left(done))} left"
        text = f"epoch {trainer.current_epoch + 1}/{self.epochs}"
        self._bar.update(self._task, completed=done / self.epochs, description=text, note=note)
        self._bar.refresh()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        figures = self._running(pl_module, everything=True)
        left = _clock(self._left(trainer.current_epoch + 1))
        line = f"epoch {trainer.current_epoch + 1}/{self.epochs}  {figures}  {left} left"
        if self._bar is not None:
            self._bar.console.print(line, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.update(self._task, visible=False)
            self._bar.stop()
            self._bar = None

    def _left(self, done: float) -> float:
        spent = time.perf_counter() - self._start
        return spent / max(done - self._first, 1e-9) * (self.epochs - done)

    def _running(self, lesson: LightningModule, everything: bool = False) -> str:
        if not isinstance(lesson, Lesson):
            raise TypeError("the progress shows lessons only")
        metric = lesson.objective.metric
        names = ["train_loss", f"train_{metric}"]
        if everything and "validation" in lesson.problem.parts:
            names += ["validation_loss", f"validation_{metric}"]
        return "  ".join(f"{name.replace('_', ' ')} {lesson.running(name):.4f}" for name in names)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
