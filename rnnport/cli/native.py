"""``rnnport native``: the library of kernels, for any application to register."""

from __future__ import annotations

from typing import Annotated

import typer

from rnnport.cli.ending import ends_well


@ends_well
def native(
    path: Annotated[bool, typer.Option("--path", help="Print the library's path alone.")] = False,
) -> None:
    """Say where the library of kernels is, and which of its levels runs here.

    An application in any language registers it by its path, as a library of custom operators.
    Exit code 3, with the reason, where it was not built or does not load.
    """
    from rnnport.native import library

    found = library.library_path()
    if path:
        print(found)
    else:
        print(f"{found}  level {library.level()}")
