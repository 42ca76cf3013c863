#!python
"""Starts TOOL with the libtorch of this environment."""

import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location


def main() -> int:
    package = find_spec("swa_tools")
    if package is None or package.origin is None:
        print("error: the package swa_tools is gone; install swa-tools anew", file=sys.stderr)
        return 2
    # By its file: importing the package takes longer than all else.
    path = package.origin.replace("__init__.py", "_libtorch.py")
    spec = spec_from_file_location("_libtorch", path)
    libtorch = module_from_spec(spec)
    spec.loader.exec_module(libtorch)
    return libtorch.start("TOOL", sys.argv[1:])


sys.exit(main())
