"""Builds the wheel: a build backend (PEP 517) of the standard library alone, also run as a script by `make wheel`.

It compiles the commands, and packs

    swa_tools/                       the Python package
    swa_tools/bin/                   the commands that load the libtorch of the environment, in one program
    swa_tools-V.data/scripts/        swa-avg itself, which is static, and launchers of the others
    swa_tools-V.data/data/share/     man pages and completions

as py3-none-manylinux: nothing in it depends on the version of Python.
"""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import re
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

try:
    import tomllib
except ModuleNotFoundError:
    sys.exit("wheel: it is built by Python 3.11 or later; installed, it serves 3.10 too")

ROOT = Path(__file__).resolve().parents[1]
#: What the last step of compiling a command that needs no libtorch is told.
STATIC = ["-Ctarget-feature=+crt-static", "-Cstrip=symbols"]
#: From swa_tools/bin to PyTorch beside it. The launcher names other places.
BESIDE = "$ORIGIN/../../torch/lib"
#: Where completions are looked for, below PREFIX/share.
COMPLETIONS = {
    "man": "man/man1/{}.1",
    "bash": "bash-completion/completions/{}",
    "zsh": "zsh/site-functions/_{}",
    "fish": "fish/vendor_completions.d/{}.fish",
}


def tools() -> dict[str, tuple[str, bool]]:
    """The commands, each with its package and whether it is static."""
    found = {}
    for manifest, is_static in (("Cargo.toml", True), ("crates/torch/Cargo.toml", False)):
        with open(ROOT / manifest, "rb") as file:
            cargo = tomllib.load(file)
        for binary in cargo["bin"]:
            found[binary["name"]] = (cargo["package"]["name"], is_static)
    return found


def project() -> dict[str, Any]:
    with open(ROOT / "pyproject.toml", "rb") as file:
        return dict(tomllib.load(file)["project"])


def target() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


#: The program that is all commands with libtorch.
TOGETHER = "swa-torch"


def collect(folder: Path) -> None:
    """Puts the programs, stripped, into a folder. Those with libtorch have been compiled by `make wheel`."""
    folder.mkdir(parents=True, exist_ok=True)
    release = target() / "release"
    built = {TOGETHER: release / "examples/all"}
    for tool, (package, is_static) in tools().items():
        if is_static:
            cargo = [os.environ.get("CARGO", "cargo"), "rustc", "--release", "--locked"]
            what = ["--package", package, "--bin", tool, "--", *STATIC]
            subprocess.run([*cargo, *what], cwd=ROOT, check=True)
            built[tool] = release / tool
    for name, program in built.items():
        stripped = folder / name
        subprocess.run(["strip", "-o", stripped, program], check=True)
        stripped.chmod(0o755)
    together = folder / TOGETHER
    together.write_bytes(with_search_path(together.read_bytes(), BESIDE))


def with_search_path(program: bytes, path: str) -> bytes:
    """A binary that looks for libraries in a path alone, where the linker has put the build's libtorch.

    ELF, 64 bits, little-endian.
    """
    (start,) = struct.unpack_from("<Q", program, 32)
    size, count = struct.unpack_from("<HH", program, 54)
    segments = []
    for at in range(start, start + size * count, size):
        kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", program, at)
        segments.append((kind, offset, address, length))
    entries: dict[int, int] = {}
    for kind, offset, _, length in segments:
        if kind == 2:  # PT_DYNAMIC
            entries = dict(struct.iter_unpack("<QQ", program[offset : offset + length]))
    texts = entries[5]  # DT_STRTAB, an address
    (base,) = [o + texts - a for k, o, a, n in segments if k == 1 and a <= texts < a + n]
    begin = base + entries.get(29, entries.get(15, 0))  # DT_RUNPATH, DT_RPATH
    end = program.index(b"\0", begin)
    if 29 not in entries and 15 not in entries:
        raise SystemExit("wheel: a binary has no search path for libtorch")
    # Where a short one leaves no room, the launcher names the place.
    text = path if len(path) <= end - begin else "$ORIGIN"
    return program[:begin] + text.encode().ljust(end - begin, b"\0") + program[end:]


def tag(programs: list[bytes]) -> str:
    """The platform: the newest glibc that a binary asks for, and the processor."""
    versions = [(int(a), int(b)) for p in programs for a, b in re.findall(rb"\0GLIBC_(\d+)\.(\d+)", p)]
    # The oldest policy with a C++ library as new as PyTorch's own.
    major, minor = max([*versions, (2, 28)])
    return f"py3-none-manylinux_{major}_{minor}_{platform.machine()}"


def launcher(tool: str) -> bytes:
    return (ROOT / "python/launcher.py").read_text().replace("TOOL", tool).encode()


def libtorch_environment() -> dict[str, str]:
    """In which a command that was just built starts."""
    torch = os.environ.get("LIBTORCH", ROOT / "target/libtorch/torch")
    return {**os.environ, "LD_LIBRARY_PATH": f"{torch}/lib"}


def said(program: Path, tool: str, *arguments: str) -> bytes:
    """What a command prints."""
    return subprocess.run(
        [tool, *arguments], executable=program, env=libtorch_environment(), check=True, capture_output=True
    ).stdout


def files(folder: Path) -> dict[str, tuple[bytes, bool]]:
    """What is in the wheel without its metadata: the contents, and whether they are run."""
    data = f"{stem()}.data"
    found: dict[str, tuple[bytes, bool]] = {}
    for path in sorted((ROOT / "python/swa_tools").rglob("*")):
        if path.is_file() and path.suffix in (".py", ".typed"):
            found[path.relative_to(ROOT / "python").as_posix()] = (path.read_bytes(), False)
    found[f"swa_tools/bin/{TOGETHER}"] = ((folder / TOGETHER).read_bytes(), True)
    for tool, (_, is_static) in tools().items():
        program = folder / (tool if is_static else TOGETHER)
        if is_static:
            found[f"{data}/scripts/{tool}"] = (program.read_bytes(), True)
        else:
            found[f"{data}/scripts/{tool}"] = (launcher(tool), True)
            # What can be said where there is no libtorch.
            for name, flag in (("help", "--help"), ("version", "-V")):
                found[f"swa_tools/bin/{tool}.{name}"] = (said(program, tool, flag), False)
        for kind, path in COMPLETIONS.items():
            place = f"{data}/data/share/{path.format(tool)}"
            found[place] = (said(program, tool, "--generate", kind), False)
    return found


def stem() -> str:
    return f"swa_tools-{project()['version']}"


def metadata() -> bytes:
    about = project()
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {about['name']}",
        f"Version: {about['version']}",
        f"Summary: {about['description']}",
        f"Keywords: {','.join(about['keywords'])}",
        f"License-Expression: {about['license']}",
        f"Requires-Python: {about['requires-python']}",
        "Description-Content-Type: text/markdown",
    ]
    lines += [f"License-File: {name}" for name in about["license-files"]]
    lines += [f"Classifier: {name}" for name in about["classifiers"]]
    lines += [f"Project-URL: {name}, {url}" for name, url in about.get("urls", {}).items()]
    lines += [f"Requires-Dist: {what}" for what in about["dependencies"]]
    for extra, needs in about["optional-dependencies"].items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f"Requires-Dist: {need}; extra == '{extra}'" for need in needs]
    readme = (ROOT / about["readme"]).read_text(encoding="utf-8")
    return ("\n".join(lines) + "\n\n" + readme).encode()


def pack(folder: Path, compiled: Path) -> str:
    """Writes the wheel of compiled commands; the same commands and sources give the same bytes."""
    found = files(compiled)
    name = tag([content for content, is_run in found.values() if is_run])
    info = f"{stem()}.dist-info"
    about = project()
    found[f"{info}/METADATA"] = (metadata(), False)
    wheel = f"Wheel-Version: 1.0\nGenerator: swa-tools {about['version']}\nRoot-Is-Purelib: false\nTag: {name}\n"
    found[f"{info}/WHEEL"] = (wheel.encode(), False)
    for license in about["license-files"]:
        found[f"{info}/licenses/{license}"] = ((ROOT / license).read_bytes(), False)
    record = []
    for path, (content, _) in found.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record.append(f"{path},sha256={digest},{len(content)}")
    record.append(f"{info}/RECORD,,\n")
    found[f"{info}/RECORD"] = ("\n".join(record).encode(), False)
    folder.mkdir(parents=True, exist_ok=True)
    file = f"{stem()}-{name}.whl"
    with zipfile.ZipFile(folder / f".{file}", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path, (content, is_run) in found.items():
            entry = zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0))
            entry.external_attr = (stat.S_IFREG | (0o755 if is_run else 0o644)) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    os.replace(folder / f".{file}", folder / file)
    return file


def build_wheel(
    wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None
) -> str:
    subprocess.run(["make", "wheel-programs"], cwd=ROOT, check=True, stdout=sys.stderr)
    return write(Path(wheel_directory))


def write(folder: Path) -> str:
    """Writes the wheel of what has been compiled, and returns its name."""
    compiled = target() / "wheel"
    collect(compiled)
    return pack(folder, compiled)


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    raise SystemExit("wheel: there is no sdist; build the wheel from a clone of the repository")


if __name__ == "__main__":
    print("dist/" + write(ROOT / "dist"))
