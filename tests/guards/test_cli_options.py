"""The arguments and options of the commands: scripts of other people hold them."""

import typer

from scalefuse.cli.app import app

OPTIONS = {
    "convert": "network checkpoint --output -o --name --labels",
    "data check": "source --page --range --classes --config --columns --images --groups-csv --group-column",
    "demo": "--output -o",
    "evaluate": "inputs --output -o --fused --masks --strategy -s --baselines --no-baselines --metrics "
    "--range-a --range --range-b --split --postprocess --no-postprocess --tta --no-tta --ensemble --classes "
    "--spacing --no-spacing --config --predictions --sensitivity --class --coverage --columns --images "
    "--batch-size --engine --precision",
    "export": "model --to --output -o --precision --size --batch --calibration --max-loss --images",
    "fuse": "a b --output -o --strategy -s --model -m --range-a --range-b --format --skip-existing "
    "--no-skip-existing --engine --precision",
    "info": "--json",
    "networks": "name --set",
    "predict": "model sources --output -o --ensemble --probability --no-probability --overlay --no-overlay "
    "--instances --regions --no-regions --postprocess --no-postprocess --tta --no-tta --range "
    "--skip-existing --no-skip-existing --explain --explain-by --stage --class --embeddings --coverage "
    "--sensitivity --format --columns --images --batch-size --engine --precision",
    "train": "config --set --output -o --resume --print-config --folds --val-fraction",
}


def commands():
    """Every command under the words that call it, those of a group included."""
    found = {}
    for name, command in typer.main.get_command(app).commands.items():
        inner = getattr(command, "commands", None)
        found |= {name: command} if inner is None else {f"{name} {key}": one for key, one in inner.items()}
    return found


def test_options_are_pinned():
    found = {
        name: {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        for name, command in commands().items()
    }
    assert found == {name: set(options.split()) for name, options in OPTIONS.items()}


def test_every_command_and_option_explains_itself():
    for name, command in commands().items():
        assert command.help, name
        for one in command.params:
            assert one.help, f"{name} {one.name}"


def test_the_same_option_means_the_same_everywhere():
    short = {}
    for command in commands().values():
        for one in command.params:
            for option in one.opts:
                if option.startswith("-") and not option.startswith("--"):
                    short.setdefault(option, set()).add(one.name)
    assert all(len(names) == 1 for names in short.values()), short
