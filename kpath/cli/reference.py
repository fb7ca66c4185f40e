"""The reference pages, made from the code: ``python -m kpath.cli.reference`` writes them into docs.

commands.md is also the source of the manual page (``make man``). A test holds the pages to the code.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from enum import IntEnum, IntFlag
from pathlib import Path

import click

from kpath.capture import schema
from kpath.cli.main import COMMANDS, cli

DOCS = Path(__file__).parents[2] / "docs"


def commands() -> str:
    """docs/commands.md: each command with its options, as ``--help`` has them."""
    return "\n".join(_commands()) + "\n"


def events() -> str:
    """docs/events.md: the event record, field by field."""
    return "\n".join(_events()) + "\n"


def _commands() -> Iterator[str]:
    yield "# kpath: commands"
    yield ""
    yield "    kpath COMMAND [OPTIONS] [ARGUMENTS]"
    yield ""
    yield _prose(cli.help or "")
    yield ""
    root = click.Context(cli, info_name="kpath")
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        assert command is not None, name
        yield from _command(command, name, root, 2)
    yield "## Exit status"
    yield ""
    yield from _exits()


def _command(command: click.Command, name: str, parent: click.Context, level: int) -> Iterator[str]:
    context = command.context_class(command, info_name=name, parent=parent)
    yield f"{'#' * level} {context.command_path}"
    yield ""
    yield f"    {context.command_path} {' '.join(command.collect_usage_pieces(context))}"
    yield ""
    yield _prose(command.help or COMMANDS.get(name, ""))
    yield ""
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record and isinstance(parameter, click.Option) and "--help" not in parameter.opts:
            yield f"* `{record[0]}`: {_line(record[1])}"
    yield ""
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None, inner
            yield from _command(found, inner, context, level + 1)


def _prose(text: str) -> str:
    """click's help text as Markdown: paragraphs flow, those after ``\\b`` keep their lines."""
    paragraphs = inspect.cleandoc(text).replace("\f", "").split("\n\n")
    return "\n\n".join(
        "\n".join(f"    {line}" for line in p.removeprefix("\b\n").splitlines()) if p.startswith("\b") else p
        for p in paragraphs
    )


def _line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _exits() -> Iterator[str]:
    for line in (cli.epilog or "").splitlines():
        if found := re.match(r"\s+(\d+)\s+(.*)", line):
            yield f"* `{found[1]}`: {found[2]}"


def _events() -> Iterator[str]:
    yield f"# The event record (schema version {schema.SCHEMA_VERSION})"
    yield ""
    size = schema.EVENT.itemsize
    yield f"One hit of a probe is one record of {size} bytes, little-endian unless its type begins with `be`."
    yield "Both the C structure and the numpy type are made from this list (kpath/capture/schema.py)."
    yield ""
    yield "| byte | field | type | meaning |"
    yield "|---|---|---|---|"
    for field in schema.FIELDS:
        offset = schema.EVENT.fields[field.name][1]  # type: ignore[index]
        yield f"| {offset} | `{field.name}` | {field.ctype} | {field.doc.replace('|', chr(92) + '|')} |"
    for title, enum in (("Kind", schema.Kind), ("Class", schema.Class), ("Flag", schema.Flag)):
        yield ""
        yield f"## {title}"
        yield ""
        yield _line(enum.__doc__ or "")
        yield ""
        meanings = _meanings(enum)
        for name, meaning in meanings.items():
            yield f"* {enum[name].value} `{name}`: {meaning}"


def _meanings(enum: type[IntEnum] | type[IntFlag]) -> dict[str, str]:
    """The text below each member; Python does not keep it."""
    source = inspect.getsource(enum)
    found = re.findall(r'^    (\w+) = \d+\n    """(.*?)"""', source, re.M | re.S)
    return {name: _line(text).replace("``", "`") for name, text in found}


def main() -> None:
    """Writes both pages."""
    for name, text in (("commands.md", commands()), ("events.md", events())):
        (DOCS / name).write_text(text)


if __name__ == "__main__":
    main()
