"""The step of an installation that builds the kernels, and lets it go on without a compiler."""

from __future__ import annotations

import sys
import sysconfig
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeBuildHook(BuildHookInterface[Any]):  # type: ignore[misc]  # hatchling builds only
    """Puts the library, or the reason why there is none, into the wheel or beside the sources."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        sys.path.insert(0, self.root)  # the package itself is not installed yet
        try:
            from rnnport.native.build import build_or_say_why
            from rnnport.native.library import NAME, NOT_BUILT
        finally:
            sys.path.remove(self.root)
        if build_or_say_why() is None:
            self.app.display_warning(
                f"rnnport without its kernels: {NOT_BUILT.read_text().strip()}"
            )
            build_data["artifacts"].append(f"rnnport/native/{NOT_BUILT.name}")
            return
        build_data["artifacts"].append(f"rnnport/native/{NAME}")
        build_data["pure_python"] = False
        system = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{system}"  # the library knows nothing of Python
