"""Leave one subject out: train without each subject in turn, and measure the strategies on that subject.

For a modality that has no validation subjects, such as PET with MRI::

    SCALEFUSE_DATA=… python -m benchmarks.leave_one_out

Each training is ``scalefuse train`` with the given configuration and ``data.exclude`` set to the subject,
which takes the subject's number out of *all* training folders: it is not known whether equal numbers of two
modalities are one person. A run that was stopped goes on; a finished one is not trained again. Written to the
output folder: one run per subject, ``cases.csv``, ``leave-one-out.json`` and ``leave-one-out.md``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.figures import METHODS, METRICS, ROOT, data_folder, section
from scalefuse.config import load_config
from scalefuse.data.pairs import Pair, pair_by_name
from scalefuse.evaluation.fusion import FusionEvaluation
from scalefuse.report.tables import write_csv
from scalefuse.workflows.evaluate_fusion import evaluate
from scalefuse.workflows.train import BUNDLE, train


def subjects_of(pairs: list[Pair], pattern: str) -> dict[str, list[Pair]]:
    """Subject to its pairs; the pattern's first group is the subject in a file's name."""
    subjects: dict[str, list[Pair]] = {}
    for pair in pairs:
        match = re.search(pattern, pair.name)
        if match is None or not match.groups():
            sys.exit(f"{pattern!r} finds no group in the file name {pair.name!r}; give --subject-pattern.")
        subjects.setdefault(match[1], []).append(pair)
    return subjects


def names_of(subject: str, pattern: str) -> str:
    """The regular expression of one subject's names: the pattern with its first group filled in."""
    start = pattern.index("(")
    end = pattern.index(")", start) + 1
    return pattern[:start] + re.escape(subject) + pattern[end:]


def train_without(subject: str, arguments: argparse.Namespace, folder: Path) -> Path:
    """A bundle that has not seen the subject."""
    overrides = [
        f"name={folder.name}",
        f"output={json.dumps(str(folder))}",
        f"data.exclude={json.dumps(names_of(subject, arguments.subject_pattern))}",
        *(arguments.set or []),
    ]
    if arguments.epochs is not None:
        overrides += [f"training.epochs={arguments.epochs}", f"training.validate_every={arguments.epochs}"]
    if arguments.samples is not None:
        overrides.append(f"training.samples_per_epoch={arguments.samples}")
    if (folder / BUNDLE).is_dir():
        return folder / BUNDLE
    started = (folder / "checkpoints" / "last.ckpt").is_file()
    config = load_config(arguments.config, overrides)
    return train(config, resume=started, say=lambda line: print(f"  {line}", flush=True)).bundle


def measure(bundle: Path, pairs: list[Pair], output: Path) -> list[dict[str, Any]]:
    """Rows of all strategies and baselines on one subject's pairs."""
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / name for name in ("a", "b")]
        for index, folder in enumerate(folders):
            folder.mkdir()
            for pair in pairs:
                file = (pair.a, pair.b)[index].resolve()
                (folder / file.name).symlink_to(file)
        result = evaluate(*folders, output, model=str(bundle), strategies=METHODS, metrics=METRICS)
    return result.evaluation.rows


def main(words: list[str] | None = None) -> int:
    """Train and measure; see the module's text."""
    parser = argparse.ArgumentParser(prog="benchmarks.leave_one_out", description=__doc__.splitlines()[0])
    data = data_folder() or Path()
    home = data / "aanlib-pet-mri" / "train"
    parser.add_argument("--a", type=Path, default=home / "PET", help="folder of the first modality")
    parser.add_argument("--b", type=Path, default=home / "MRI", help="folder of the second")
    parser.add_argument("--subject-pattern", default=r"^(.*)\d{3}$", help="its group is the subject")
    parser.add_argument("--config", default="dilran", help="configuration to train with")
    parser.add_argument("--set", action="append", help="override of the configuration; repeatable")
    parser.add_argument("--epochs", type=int, help="epochs of each training, instead of the configuration's")
    parser.add_argument("--samples", type=int, help="samples that count as an epoch")
    parser.add_argument("--subjects", nargs="*", help="only these")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build" / "leave-one-out")
    arguments = parser.parse_args(words)
    pairs, _ = pair_by_name(arguments.a, arguments.b)
    subjects = subjects_of(pairs, arguments.subject_pattern)
    chosen = arguments.subjects or list(subjects)
    evaluation = FusionEvaluation(metrics=list(METRICS))
    for subject in chosen:
        mine = subjects[subject]
        print(f"subject {subject}: {len(mine)} pairs left out", flush=True)
        bundle = train_without(subject, arguments, arguments.output / f"without-{subject}")
        rows = measure(bundle, mine, arguments.output / f"measured-{subject}")
        evaluation.rows += [{**row, "subject": subject} for row in rows]
    who = f"each measured with weights trained without its subject; {len(chosen)} subjects"
    summary = {"who": who, "config": arguments.config, "epochs": arguments.epochs, **evaluation.summary()}
    write_csv(arguments.output / "cases.csv", evaluation.rows)
    (arguments.output / "leave-one-out.json").write_text(json.dumps(summary, indent=1) + "\n")
    text = section(f"{arguments.a.name}-{arguments.b.name}, leave one subject out", summary)
    (arguments.output / "leave-one-out.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
