"""``scalefuse info``."""

from __future__ import annotations

from typing import Annotated

import typer


def info(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs and reports.")] = False,
) -> None:
    """Show what was found on this machine, and what predictions will be computed with.

    Example: scalefuse info --json
    """
    from rich.table import Table

    from scalefuse.cli.console import out
    from scalefuse.workflows.info import installation

    found = installation()
    if as_json:
        import json

        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    machine = found["machine"]
    memory = "unknown" if machine["memory_gib"] is None else f"{machine['memory_gib']:g} GiB"
    gain = machine["bf16_gain"]
    lines = {
        "ScaleFuse": found["scalefuse"],
        "Python": found["python"],
        "PyTorch": found["torch"],
        "System": found["system"],
        "Processor": f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads in use",
        "Instructions": ", ".join(machine["features"]) or "none that matter here",
        **({} if gain is None else {"bf16": f"{gain:.1f} times as fast as fp32 in a convolution tried here"}),
        "Memory": memory,
        "CUDA": ", ".join(machine["cuda_devices"]) or "no device",
    }
    for engine, state in found["engines"].items():
        shown = ", ".join(f"{name} {version}" for name, version in state["packages"].items())
        hint = f"not installed: pip install 'scalefuse[{state['extra']}]'"
        lines[f"Engine {engine}"] = shown if state["installed"] else hint
    width = max(map(len, lines))
    for name, value in lines.items():
        out.print(f"{name:<{width}}  {value}", markup=False)
    table = Table(
        title="What --engine auto --precision auto takes, by the size of the job", title_justify="left"
    )
    for column in ("network", "task", "from megapixels", "computed by"):
        table.add_column(column)
    for name, row in found["auto"].items():
        for number, job in enumerate(row["jobs"]):
            first = ("", "") if number else (name, row["task"])
            table.add_row(*first, f"{job['from_megapixels']:g}", job["computed_by"])
    out.print(table)
