"""``python -m kpath.guest``."""

from kpath.guest.cli import main

main(prog_name="python -m kpath.guest")
