#!/usr/bin/env python3
"""Puts the text on stdin into docs/performance.md between `<!-- bench NAME -->` and `<!-- end -->`, and prints it:
python3 tests/bench/document.py NAME"""

import re
import sys
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs/performance.md"


def put(name, text, path=DOCUMENT):
    part = re.compile(rf"(<!-- bench {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    document, count = part.subn(lambda m: f"{m[1]}{text}\n{m[2]}", path.read_text())
    if count != 1:
        sys.exit(f"{path}: {count} places for {name}")
    path.write_text(document)


def main():
    name, text = sys.argv[1], sys.stdin.read().strip()
    if not text:
        sys.exit("nothing was measured")
    put(name, text)
    print(text)


if __name__ == "__main__":
    main()
