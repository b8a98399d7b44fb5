"""``rnnport doctor``: which engines, providers and GPUs really work here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from rnnport.cli.ending import ends_well

if TYPE_CHECKING:
    from rnnport.runtime.doctor import Health, Trial

NOTHING_WORKS = 3


@ends_well
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Run a recurrent node on every engine and provider, and say what works.

    Exit code 0 if an engine for the CPU works, 3 if none does.
    """
    from rnnport.runtime.doctor import examine

    health = examine()
    if as_json:
        print(json.dumps(health.document(), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(health)))
    if not health.ok:
        raise typer.Exit(NOTHING_WORKS)


def _lines(health: Health) -> Iterator[str]:
    yield "versions"
    yield from (f"  {name:<24}{found}" for name, found in health.versions.items())
    for title, trials in (("engines", health.engines), ("providers", health.providers)):
        yield title
        yield from (_trial(trial) for trial in trials)
    yield "GPUs"
    yield from (f"  {gpu.name}, {gpu.memory / 2**30:.0f} GiB" for gpu in health.gpus)
    if not health.gpus:
        yield "  none seen by the NVIDIA driver"
    if health.missing_libraries:
        yield f"  missing for CUDA: {', '.join(health.missing_libraries)}"
    yield "kernels"
    yield _trial(health.kernels)
    yield _trial(health.provider)
    yield "CPU"
    yield f"  {health.cpu.name}, {health.cpu.threads} threads"
    words = {True: "yes", False: "no", None: "unknown"}
    features = health.cpu.features.items()
    yield "  " + ", ".join(f"{name} {words[has]}" for name, has in features)
    yield from (f"! {advice}" for advice in health.advice)


def _trial(trial: Trial) -> str:
    return f"  {trial.name:<28}{'ok' if trial.works else 'no':<4}{trial.detail}"
