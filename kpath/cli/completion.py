"""``kpath completion``: the shell function that completes kpath's commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion for SHELL.

    \b
    bash:  kpath completion bash > ~/.local/share/bash-completion/completions/kpath
    zsh:   kpath completion zsh > "${fpath[1]}/_kpath"
    fish:  kpath completion fish > ~/.config/fish/completions/kpath.fish
    """
    from kpath.cli.main import cli

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"This version of click knows no completion for {shell}.")
    # Its bash version asks bash for its version, and prints an error where there is no bash.
    click.echo(found(cli, {}, "kpath", "_KPATH_COMPLETE").source())
