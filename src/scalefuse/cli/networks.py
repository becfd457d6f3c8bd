"""``scalefuse networks``."""

from __future__ import annotations

from typing import Annotated

import typer


def networks(
    name: Annotated[
        str | None, typer.Argument(help="A network; all are listed where none is given.", metavar="NAME")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Constructor argument, such as width=16; repeatable.")
    ] = None,
) -> None:
    """List the networks, or show one: its paper, its arguments, and the size of its parts.

    Example: scalefuse networks msrf_net --set width=16 --set growth=8
    """
    from rich.table import Table

    from scalefuse.bundle import shipped_bundles
    from scalefuse.catalog import NETWORKS
    from scalefuse.cli.console import out
    from scalefuse.errors import ConfigError, InputError

    if name is None:
        table = Table()
        for column in ("network", "task", "what it is", "paper"):
            table.add_column(column, overflow="fold")
        for spec in NETWORKS.values():
            table.add_row(spec.name, spec.task, spec.summary, spec.paper.venue)
        out.print(table)
        out.print(f"Trained models that come with ScaleFuse: {', '.join(shipped_bundles())}", markup=False)
        return
    if name not in NETWORKS:
        raise InputError(f"Unknown network {name!r}; expected one of: {', '.join(NETWORKS)}.")
    import yaml
    from pydantic import ValidationError

    from scalefuse.workflows.networks import describe

    spec = NETWORKS[name]
    arguments = {}
    for setting in settings or []:
        key, separator, value = setting.partition("=")
        if not separator:
            raise ConfigError(f"--set {setting}: expected key=value, such as width=16.")
        if key == "name":
            raise ConfigError(f"--set {setting}: name the network as the argument, without --set.")
        try:
            arguments[key] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(f"--set {setting}: the value is not valid YAML; quote it.") from error
    try:
        sizes = describe(name, **arguments)
        config = spec.config.model_validate({"name": name, **arguments})
    except ValidationError as error:
        first = error.errors()[0]
        keys = ", ".join(key for key in spec.config.model_fields if key != "name")
        raise ConfigError(
            f"--set {'.'.join(map(str, first['loc']))}: {first['msg']}; arguments of {name}: {keys}."
        ) from error
    out.print(f"[bold]{spec.name}[/]: {spec.summary}")
    out.print(f"{spec.paper.authors}: {spec.paper.title}. {spec.paper.venue}. {spec.paper.url}", markup=False)
    shown = ", ".join(f"{key}={value}" for key, value in config.model_dump(exclude={"name"}).items())
    out.print(f"Arguments: {shown}", markup=False)
    out.print(
        f"Image sides: at least {spec.min_size} pixels, "
        + ("any number" if spec.size_multiple == 1 else f"multiples of {spec.size_multiple}")
    )
    shape = "×".join(map(str, spec.example_shape))
    table = Table(title=f"Size of the parts, one {shape} image", title_justify="left")
    for column in ("part", "parameters", "GMAC"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for size in sizes:
        table.add_row(
            size.name, f"{size.parameters:,}", f"{size.macs / 1e9:.2f}", end_section=size is sizes[-2]
        )
    out.print(table)
    if spec.task == "fusion":
        from scalefuse.fusion import GUIDED, STRATEGIES
        from scalefuse.fusion.baselines import BASELINES

        out.print(f"Strategies: {', '.join([*STRATEGIES, *GUIDED])}", markup=False)
        out.print(f"Without the network: {', '.join('baseline:' + key for key in BASELINES)}", markup=False)
