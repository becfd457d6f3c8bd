"""``scalefuse train``."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer


def train(
    config: Annotated[
        str | None,
        typer.Argument(
            help="YAML file, or the name of a shipped configuration such as dilran.", metavar="CONFIG"
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override, such as optimizer.learning_rate=0.001; repeatable."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the run.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Folder of a run to go on with, from its last finished epoch.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="Not for fusion: cross-validate with so many folds, by group.")
    ] = None,
    val_fraction: Annotated[
        float | None,
        typer.Option(help="Part to hold out for validation where the data have none; data.val_fraction."),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the full effective configuration and exit.")
    ] = False,
) -> None:
    """Train a network on your own images and write it as a bundle.

    Stop with Ctrl-C and go on with --resume; the result is that of an undisturbed run.

    Example: scalefuse train dilran --set 'data.train=[{a: CT, b: MRI}]' --set data.val=[] -o runs/mine
    """
    from scalefuse.config import config_yaml, load_config
    from scalefuse.errors import ConfigError

    overrides = list(settings or [])
    if val_fraction is not None and folds is not None:
        raise ConfigError("--folds validates on every image once; leave --val-fraction out.")
    if val_fraction is not None:
        overrides.append(f"data.val_fraction={val_fraction}")
    if resume is not None:
        if output is not None:
            raise ConfigError("--resume names the folder of the run; leave --output out.")
        if config is not None:
            raise ConfigError(
                f"--resume takes the run's own configuration; leave {config} out. What may change goes with "
                "--set."
            )
        from scalefuse.workflows.cross_validation import resume_folds
        from scalefuse.workflows.train import CONFIG, resume_config

        begun = resume_folds(resume, overrides)
        if begun is not None:
            if folds not in (None, begun[1]):
                raise ConfigError(f"{resume}: was begun with {begun[1]} folds, but got {folds}.")
            # Folds that have begun go on by themselves.
            run, folds, resume = *begun, None
        else:
            run = resume_config(resume)
            run = load_config(resume / CONFIG, overrides) if overrides else run
            run = run.model_copy(update={"output": resume})
    elif config is None:
        raise ConfigError(
            "Name a configuration: a YAML file or a shipped one, such as `scalefuse train dilran`."
        )
    else:
        run = load_config(config, overrides)
        if output is not None:
            run = run.model_copy(update={"output": output})
    if print_config:
        typer.echo(config_yaml(run), nl=False)
        return
    _run(run, resume=resume is not None, folds=folds)


def _run(config: Any, *, resume: bool, folds: int | None) -> None:
    from scalefuse.cli.console import NOTICE, err, out, progress_bar
    from scalefuse.cli.stopping import Stopped
    from scalefuse.errors import ConfigError
    from scalefuse.training.fit import Progress, TrainingInterrupted
    from scalefuse.workflows.cross_validation import cross_validate
    from scalefuse.workflows.train import train as run

    if folds is not None and config.task == "fusion":
        raise ConfigError(
            "--folds is for segmentation and classification, but this configuration is for fusion."
        )

    def say(line: str) -> None:
        err.print(line, markup=False)

    with progress_bar("batches") as bar:
        task = bar.add_task("Training", total=None, visible=False)

        begun = time.monotonic()

        def report(progress: Progress) -> None:
            nonlocal begun
            bar.update(
                task,
                description=f"Epoch {progress.epoch}/{progress.num_epochs}",
                total=progress.num_batches,
                completed=progress.batch,
                visible=True,
            )
            if progress.epoch_ended:
                seconds, begun = time.monotonic() - begun, time.monotonic()
                which, told = f"epoch {progress.epoch}/{progress.num_epochs}", _told(progress.values)
                err.print(f"{which}  {told}  {seconds:.3g} s", markup=False)

        try:
            if folds is None:
                results = [run(config, resume=resume, report=report, say=say)]
            else:
                results = cross_validate(config, folds, report=report, say=say)
        except (TrainingInterrupted, KeyboardInterrupt):
            kept = "checkpoints/last.ckpt" if folds is None else "fold*/checkpoints/last.ckpt"
            if not any(config.run_folder.glob(kept)):
                raise Stopped("Stopped before the end of the first epoch: nothing was kept.") from None
            again = f"scalefuse train --resume {shlex.quote(str(config.run_folder))}"
            raise Stopped(f"Stopped. Go on with: {again}") from None
    for result in results:
        for name, value in result.metrics.items():
            out.print(f"{name}: {value:.4f}", markup=False)
        out.print(f"bundle: {result.bundle}", markup=False)
    if folds is not None:
        for name in results[0].metrics:
            values = [result.metrics[name] for result in results]
            out.print(f"{name}, mean of {folds} folds: {sum(values) / folds:.4f}", markup=False)
    err.print(NOTICE, style="dim")


def _told(values: Mapping[str, float]) -> str:
    """The losses and what is measured; the parts of a loss stand in ``metrics.csv`` only."""
    losses = [name for name in ("train/loss", "val/loss") if name in values]
    parts = {name.partition("/")[2] for name in values if name.startswith("train/")}
    measures = [name for name in sorted(values) if name.partition("/")[2] not in parts]
    return "  ".join(f"{name} {values[name]:.4g}" for name in dict.fromkeys([*losses, *measures]))
