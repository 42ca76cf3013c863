"""The wheel, installed into environments that people have: with PyTorch beside it, elsewhere, of another version, none."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import FASHION, ROOT, TARGET, tools
from swa_tools import _libtorch

LIBTORCH = Path(os.environ.get("LIBTORCH", ROOT / "target/libtorch/torch")).resolve()


@pytest.fixture(scope="session")
def wheel() -> Path:
    """What `make wheel` has written."""
    found = sorted((ROOT / "dist").glob("swa_tools-*.whl"), key=lambda path: path.stat().st_mtime)
    assert found, "make wheel"
    return found[-1]


class Environment:
    """A virtual environment without pip, in which nothing but the wheel is installed."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        pip = [sys.executable, "-m", "pip", "--python", folder / "bin/python", "install", "--quiet"]
        quiet = ["--no-index", "--no-deps", "--disable-pip-version-check", "--no-compile"]
        subprocess.run([*pip, *quiet, wheel], check=True)
        (self.packages,) = folder.glob("lib/python3*/site-packages")

    def run(self, *command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of the environment; nothing of this machine's is on PATH but the system's."""
        path = f"{self.folder}/bin:/usr/bin:/bin"
        return subprocess.run(
            command, cwd=cwd, env={"PATH": path, "HOME": str(cwd), **variables}, capture_output=True, text=True
        )

    def clear(self) -> None:
        """Takes PyTorch away."""
        (self.packages / "other.pth").unlink(missing_ok=True)
        torch = self.packages / "torch"
        if torch.is_symlink():
            torch.unlink()
        elif torch.exists():
            shutil.rmtree(torch)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Environment:
    return Environment(tmp_path_factory.mktemp("environment") / "venv", wheel)


@pytest.fixture
def environment(installed: Environment) -> Environment:
    installed.clear()
    return installed


def is_whole(environment: Environment, here: Path, **variables: str) -> None:
    """The three commands of the README, each in the environment."""

    def run(*command: str) -> str:
        done = environment.run(*command, cwd=here, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    data = ["--data", str(FASHION), "--samples", "256"]
    snapshots = sorted(str(path) for path in FASHION.glob("ckpt_*.safetensors"))
    run("swa-avg", *snapshots, "-o", "swa.safetensors")
    run("swa-bn-update", "swa.safetensors", *data, "--preset", "fashion-mnist", "-o", "bn.safetensors")
    found = json.loads(run("swa-eval", "bn.safetensors", "swa.safetensors", *data, "--json"))
    assert found["models"][0]["top1"] > 80


def fake(folder: Path, version: str) -> Path:
    """A package of PyTorch that says another version."""
    torch = folder / "torch"
    (torch / "lib").mkdir(parents=True)
    (torch / "lib/libtorch_cpu.so").write_bytes(b"")
    (torch / "__init__.py").write_text("raise SystemExit('it must not be imported')")
    (torch / "version.py").write_text(f"__version__ = '{version}'\ndebug = False\n")
    return torch


def package(folder: Path) -> Path:
    """PyTorch as far as the commands need it, as a package."""
    torch = folder / "torch"
    torch.mkdir(parents=True)
    (torch / "__init__.py").write_text("raise SystemExit('it must not be imported')")
    for name in ("lib", "include"):
        (torch / name).symlink_to(LIBTORCH / name)
    return torch


def test_pytorch_beside(environment: Environment, here: Path) -> None:
    package(environment.packages)
    is_whole(environment, here)
    # The binary itself finds it, too.
    binary = environment.packages / "swa_tools/bin/swa-torch"
    done = environment.run(str(binary), "--version", cwd=here, SWA_COMMAND="swa-eval")
    assert "libtorch 2.11" in done.stdout, done.stderr


def test_pytorch_of_a_parent(environment: Environment, here: Path) -> None:
    """As with --system-site-packages, and in environments on top of others."""
    package(here / "parent")
    (environment.packages / "other.pth").write_text(str(here / "parent"))
    is_whole(environment, here)


def test_pytorch_elsewhere(environment: Environment, here: Path) -> None:
    fake(environment.packages, "2.15.0+cu130")
    is_whole(environment, here, LIBTORCH=str(LIBTORCH))


def test_pytorch_of_the_active_environment(environment: Environment, here: Path) -> None:
    """As with pipx: the commands have an environment of their own."""
    package(here / "active/lib/python3.12/site-packages")
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        done = environment.run("swa-eval", "--version", cwd=here, **{variable: str(here / "active")})
        assert f"in {LIBTORCH}" in done.stdout or "in " + str(here) in done.stdout, done


def test_without_pytorch(environment: Environment, here: Path) -> None:
    done = environment.run("swa-avg", *map(str, FASHION.glob("ckpt_*")), "-o", "a.pth", cwd=here)
    assert done.returncode == 0 and done.stdout.startswith("wrote a.pth")
    done = environment.run("swa-eval", "a.pth", "--data", ".", "--json", cwd=here)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert re.match(
        r"error: swa-eval needs libtorch: no PyTorch was found, 2.10 to 2.12 is needed; install .*'swa-tools\[torch\]'",
        done.stderr,
    )
    error = json.loads(done.stdout)["error"]
    assert (error["kind"], error["exit_code"], error["file"]) == ("usage", 2, None)
    assert done.stderr == f"error: {error['message']}\n" and error["message"].endswith(error["remedy"])
    # What needs none.
    done = environment.run("swa-bn-update", "--help", cwd=here)
    assert done.returncode == 0 and "--until-stable" in done.stdout
    done = environment.run("swa-bn-update", "--version", cwd=here)
    assert done.returncode == 0 and done.stdout.startswith("swa-bn-update 0.1.0\nlibtorch: no Py")
    program = "import swa_tools; swa_tools.evaluate('a.pth', '.')"
    done = environment.run("python", "-c", program, cwd=here)
    assert "swa_tools._errors.UsageError: swa-eval needs libtorch: no PyTorch was found" in done.stderr


@pytest.mark.parametrize("version", ["2.9.1", "2.13.0", "1.13.1+cu117", "3.0"])
def test_another_pytorch(environment: Environment, here: Path, version: str) -> None:
    torch = fake(environment.packages, version)
    done = environment.run("swa-eval", "a", "--data", ".", cwd=here)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"{torch} holds PyTorch {version}, but 2.10 to 2.12 is needed" in done.stderr
    assert "uv tool install 'swa-tools[torch]'" in done.stderr
    done = environment.run("swa-eval", "a", "--data", ".", cwd=here, LIBTORCH=str(torch))
    assert f"LIBTORCH is {torch}, which holds PyTorch {version}" in done.stderr
    # One of the right version further on is taken.
    package(here / "active/lib/python3.12/site-packages")
    done = environment.run("swa-eval", "--version", cwd=here, VIRTUAL_ENV=str(here / "active"))
    assert "libtorch 2.11" in done.stdout


def test_a_libtorch_that_is_none(environment: Environment, here: Path) -> None:
    done = environment.run("swa-eval", "a", "--data", ".", cwd=here, LIBTORCH="/nowhere")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "LIBTORCH is /nowhere, which has no libtorch; name the folder" in done.stderr


def test_a_libtorch_of_an_unknown_version(environment: Environment, here: Path) -> None:
    torch = fake(environment.packages, "2.11.0")
    (torch / "version.py").unlink()
    for given, what in (("", str(torch)), (str(torch), f"LIBTORCH is {torch}, which")):
        done = environment.run("swa-eval", "a", "--data", ".", cwd=here, LIBTORCH=given)
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert f"{what} holds PyTorch of an unknown version, but 2.10 to 2.12 is needed" in done.stderr
        assert f"write its version, such as 2.11.0, into {torch}/build-version" in done.stderr
    # That is a remedy.
    environment.clear()
    torch = environment.packages / "torch"
    torch.mkdir()
    (torch / "lib").symlink_to(LIBTORCH / "lib")
    (torch / "build-version").write_text("2.11.0+cpu\n")
    assert "libtorch 2.11" in environment.run("swa-eval", "--version", cwd=here).stdout


def test_another_environment_of_the_same_python(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are links to one program, and each has packages of its own."""
    (here / "bin").mkdir()
    torch = here / "lib/torch"
    (torch / "lib").mkdir(parents=True)
    (torch / "lib/libtorch_cpu.so").touch()
    (torch / "__init__.py").touch()
    (torch / "version.py").write_text("__version__ = '2.11.0'\n")
    (here / "bin/python3").symlink_to(sys.executable)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PYTHONPATH", str(here / "lib"))
    assert _libtorch.find({"PATH": str(here / "bin")}) == str(torch / "lib")


def test_another_python_that_does_not_answer(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python3 = here / "python3"
    python3.write_text("#!/bin/sh\nexec sleep 60\n")
    python3.chmod(0o755)
    monkeypatch.setattr(_libtorch, "PATIENCE", 0.1)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(_libtorch.NotFound, match="no PyTorch was found"):
        _libtorch.find({"PATH": str(here)})


def test_a_program_that_does_not_start(environment: Environment, here: Path) -> None:
    package(environment.packages)
    program = environment.packages / "swa_tools/bin/swa-torch"
    whole = program.read_bytes()
    try:
        program.write_bytes(b"\x7fELF of another processor")
        done = environment.run("swa-eval", "a", "--data", ".", "--json", cwd=here)
    finally:
        program.write_bytes(whole)
    assert done.returncode == 4 and done.stderr.count("\n") == 1
    assert f"error: swa-eval cannot be started: {program}: Exec format error; install" in done.stderr
    assert json.loads(done.stdout)["error"]["exit_code"] == 4


def test_a_command_that_starts_itself(environment: Environment, here: Path) -> None:
    package(environment.packages)
    swa = str(next(FASHION.glob("ckpt_*")))
    data = ["--data", str(FASHION), "--samples", "256", "--preset", "fashion-mnist", "--json"]
    done = environment.run("swa-eval", swa, *data, "--devices", "cpu,cpu", cwd=here)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["models"][0]["n"] == 256


def test_the_package_finds_its_commands(environment: Environment, here: Path) -> None:
    package(environment.packages)
    program = (
        "import swa_tools as s; d = {data!r}; "
        "a = s.average(d + '/ckpt_*.safetensors', 'a.safetensors'); "
        "u = s.update_bn(a.output, d, 'b.safetensors', preset='fashion-mnist', samples=256); "
        "print(s.evaluate(u.output, d, samples=256).models[0].top1)"
    ).format(data=str(FASHION))
    # Not by PATH.
    python = str(environment.folder / "bin/python")
    done = environment.run(python, "-c", program, cwd=here, PATH="/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 80


def test_averaging_starts_without_anything(environment: Environment) -> None:
    program = environment.folder / "bin/swa-avg"
    # Not even a C library.
    found = subprocess.run(["ldd", program], capture_output=True, text=True)
    assert "statically linked" in found.stdout or "not a dynamic executable" in found.stderr


def test_man_pages_and_completions_are_installed(environment: Environment) -> None:
    share = environment.folder / "share"
    for tool in tools():
        assert tool.replace("-", r"\-") in (share / f"man/man1/{tool}.1").read_text()
        bash = share / f"bash-completion/completions/{tool}"
        complete = f"source {bash}; complete -p {tool}"
        assert subprocess.run(["bash", "-c", complete]).returncode == 0
        assert (share / f"zsh/site-functions/_{tool}").read_text().startswith(f"#compdef {tool}")
        assert (share / f"fish/vendor_completions.d/{tool}.fish").stat().st_size > 1000


def test_the_wheel_is_small_and_says_what_it_is(wheel: Path) -> None:
    assert wheel.stat().st_size < 15_000_000
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (info,) = [name for name in names if name.endswith("/METADATA")]
        metadata = archive.read(info).decode()
    assert "\nRequires-Dist: torch>=2.10,<2.13; extra == 'torch'\n" in metadata
    assert metadata.count("Requires-Dist") == 1
    assert not [name for name in names if "tests" in name or "__pycache__" in name]
    cargo = (ROOT / "Cargo.toml").read_text()
    version = re.search(r'\[workspace.package\]\nversion = "([^"]+)"', cargo)
    assert version and f"\nVersion: {version[1]}\n" in metadata
    assert f'__version__ = "{version[1]}"' in (ROOT / "python/swa_tools/__init__.py").read_text()


def test_the_tag_is_what_auditwheel_finds(wheel: Path) -> None:
    auditwheel = [sys.executable, "-m", "auditwheel", "show", wheel]
    shown = subprocess.run(auditwheel, capture_output=True, text=True, check=True).stdout
    text = " ".join(shown.split())
    # libtorch is not in the wheel: by itself that makes it a wheel of this machine.
    (tag,) = re.findall(r'constrains the platform tag to "(\w+)"', text) or [""]
    assert tag and tag in wheel.name, shown


def search_paths(program: Path) -> list[tuple[str, str]]:
    """Where a binary says that its libraries are."""
    from elftools.elf.elffile import ELFFile

    with open(program, "rb") as file:
        tags = list(ELFFile(file).get_section_by_name(".dynamic").iter_tags())  # type: ignore[no-untyped-call]
    kinds = {"DT_RUNPATH": "runpath", "DT_RPATH": "rpath"}
    return [(tag.entry.d_tag, getattr(tag, kinds[tag.entry.d_tag])) for tag in tags if tag.entry.d_tag in kinds]


def test_the_binaries_look_for_libraries_in_pytorch_alone(wheel: Path, here: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(here)
    (program,) = [path for path in (here / "swa_tools/bin").iterdir() if not path.suffix]
    assert search_paths(program) == [("DT_RUNPATH", "$ORIGIN/../../torch/lib")]
    # Nor is the search path of the build left elsewhere. (Names of PyTorch's headers are, in its messages.)
    ((_, built),) = search_paths(TARGET / "release/examples/all")
    assert built.startswith("/")
    assert f"{built}\0".encode() not in program.read_bytes()
