"""Where the ``rnnport`` program begins: so light that Ctrl-C is met while the commands load."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the program; an interrupt that comes before any command is ended as theirs are."""
    try:
        from rnnport.cli.main import main as run

        run()
    except KeyboardInterrupt:
        print("rnnport: interrupted", file=sys.stderr)
        sys.exit(130)
