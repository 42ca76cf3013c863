"""Builds the wheel: a build backend (PEP 517) of the standard library alone, also run as a script by `make wheel`.

It compiles the three commands, and packs

    swa_tools/                       the Python package
    swa_tools/bin/                   swa-bn-update and swa-eval, which load the libtorch of the environment
    swa_tools-V.data/scripts/        swa-avg itself, which is static, and launchers of the other two
    swa_tools-V.data/data/share/     man pages and completions

as py3-none-manylinux: nothing in it depends on the version of Python.
"""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: Each command: its package, and what the compiler of its last step is told.
STATIC = ["-Ctarget-feature=+crt-static"]
#: From swa_tools/bin to PyTorch beside it. The launcher names other places.
BESIDE = "$ORIGIN/../../torch/lib"
TOOLS = {
    "swa-avg": ("swa-tools", STATIC),
    "swa-bn-update": ("swa-torch", [f"-Clink-arg=-Wl,-rpath,{BESIDE}"]),
    "swa-eval": ("swa-torch", [f"-Clink-arg=-Wl,-rpath,{BESIDE}"]),
}
#: Where completions are looked for, below PREFIX/share.
COMPLETIONS = {
    "man": "man/man1/{}.1",
    "bash": "bash-completion/completions/{}",
    "zsh": "zsh/site-functions/_{}",
    "fish": "fish/vendor_completions.d/{}.fish",
}


def project() -> dict[str, Any]:
    with open(ROOT / "pyproject.toml", "rb") as file:
        return dict(tomllib.load(file)["project"])


def compile_tools(folder: Path) -> None:
    """Puts the commands, stripped, into a folder."""
    subprocess.run(["sh", "scripts/setup-libtorch.sh"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    environ = {**os.environ, "SWA_COMMIT": commit()}
    folder.mkdir(parents=True, exist_ok=True)
    for tool, (package, flags) in TOOLS.items():
        cargo = [os.environ.get("CARGO", "cargo"), "rustc", "--release", "--locked"]
        what = ["--package", package, "--bin", tool, "--", "-Cstrip=symbols", *flags]
        subprocess.run([*cargo, *what], cwd=ROOT, env=environ, check=True)
        built = folder / tool
        shutil.copyfile(target / "release" / tool, built)
        built.chmod(0o755)
        if flags != STATIC:
            built.write_bytes(without_other_paths(built.read_bytes(), BESIDE))


def commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def without_other_paths(program: bytes, path: str) -> bytes:
    """A binary whose search path for libraries is `path` alone: the linker adds that of the build's libtorch."""
    found = re.findall(rb"\0((?:[^\0]*:)?" + re.escape(path.encode()) + rb"(?::[^\0]*)?)\0", program)
    if len(found) != 1:
        raise SystemExit(f"wheel: expected one search path with {path}, found {found}")
    only = path.encode().ljust(len(found[0]), b"\0")
    return program.replace(b"\0" + found[0] + b"\0", b"\0" + only + b"\0")


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


def said(tool: Path, *arguments: str) -> bytes:
    """What a command prints."""
    return subprocess.run(
        [tool, *arguments], env=libtorch_environment(), check=True, capture_output=True
    ).stdout


def files(tools: Path) -> dict[str, tuple[bytes, bool]]:
    """What is in the wheel without its metadata: the contents, and whether they are run."""
    data = f"{stem()}.data"
    found: dict[str, tuple[bytes, bool]] = {}
    for path in sorted((ROOT / "python/swa_tools").rglob("*")):
        if path.is_file() and path.suffix in (".py", ".typed"):
            found[path.relative_to(ROOT / "python").as_posix()] = (path.read_bytes(), False)
    for tool, (_, flags) in TOOLS.items():
        program = (tools / tool).read_bytes()
        if flags == STATIC:
            found[f"{data}/scripts/{tool}"] = (program, True)
        else:
            found[f"{data}/scripts/{tool}"] = (launcher(tool), True)
            found[f"swa_tools/bin/{tool}"] = (program, True)
            # What can be said where there is no libtorch.
            found[f"swa_tools/bin/{tool}.help"] = (said(tools / tool, "--help"), False)
        for kind, path in COMPLETIONS.items():
            place = f"{data}/data/share/{path.format(tool)}"
            found[place] = (said(tools / tool, "--generate", kind), False)
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


def pack(folder: Path, tools: Path) -> str:
    """Writes the wheel of compiled commands; the same commands and sources give the same bytes."""
    found = files(tools)
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
    tools = ROOT / "target/wheel"
    compile_tools(tools)
    return pack(Path(wheel_directory), tools)


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    raise SystemExit("wheel: there is no sdist; build the wheel from a clone of the repository")


if __name__ == "__main__":
    print("dist/" + build_wheel(str(ROOT / "dist")))
