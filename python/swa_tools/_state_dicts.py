"""State dicts in memory: averaged by swa-avg, by way of safetensors files in memory."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import struct
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ._errors import InputError, SwaError, UsageError, WriteError
from ._jobs import average
from ._report import optional

#: Names of types: of safetensors, of PyTorch, of NumPy.
_TYPES = (
    ("F64", "float64", "float64"),
    ("F32", "float32", "float32"),
    ("F16", "float16", "float16"),
    ("BF16", "bfloat16", None),
    ("F8_E4M3", "float8_e4m3fn", None),
    ("F8_E5M2", "float8_e5m2", None),
    ("I64", "int64", "int64"),
    ("I32", "int32", "int32"),
    ("I16", "int16", "int16"),
    ("I8", "int8", "int8"),
    ("U64", "uint64", "uint64"),
    ("U32", "uint32", "uint32"),
    ("U16", "uint16", "uint16"),
    ("U8", "uint8", "uint8"),
    ("BOOL", "bool", "bool"),
    ("C64", "complex64", "complex64"),
)


def average_state_dicts(
    state_dicts: Iterable[Mapping[str, Any]],
    weights: Sequence[float] | None = None,
    dtype: Literal["keep", "f32", "f16", "bf16", "f64"] | None = None,
) -> dict[str, Any]:
    """The exact mean of state dicts, rounded once: the same bits as :func:`swa_tools.average` of their files.
    Equal ones count as often as they are given (``allow_duplicates``).

    Each is a mapping from names to tensors of PyTorch or arrays of NumPy, all with the same names and shapes. They are
    taken one after the other, and a copy of each is kept in /dev/shm (or TMPDIR, if that has too little room) until the mean is
    computed. Integers and booleans come from the last.

    Returns tensors of the kind that came in, on their device.

    Raises ``InputError`` where names, shapes, types or devices differ, values are NaN or infinite, or what is given is
    no tensor: it names the tensor. Raises ``UsageError`` without state dicts, for weights of another number, and for a
    ``dtype`` that NumPy does not have; ``WriteError`` where there is no room for the copies.
    """
    with tempfile.TemporaryDirectory(prefix="state-dicts-", dir=_memory()) as folder, tempfile.TemporaryDirectory(
        prefix="state-dicts-"
    ) as on_disk:
        files: list[Path] = []
        device: Any = None
        kind: Any = None
        for index, state_dict in enumerate(state_dicts):
            if not isinstance(state_dict, Mapping):
                raise InputError(
                    f"state dict {index} is a {type(state_dict).__name__}, no mapping from names to tensors",
                    kind="unsupported",
                    exit_code=3,
                    remedy="of a model, give model.state_dict()",
                )
            arrays = {name: _tensor(name, value, index) for name, value in state_dict.items()}
            for name, (is_torch, place) in ((n, (a[0], a[1])) for n, a in arrays.items()):
                if kind is None:
                    kind, device = is_torch, place
                if (is_torch, place) != (kind, device):
                    raise InputError(
                        f"tensor {name!r} of state dict {index} is on {place if is_torch else 'NumPy'}, "
                        f"others are on {device if kind else 'NumPy'}",
                        kind="mismatch",
                        exit_code=3,
                        tensor=name,
                        remedy="move all to one device, such as {k: v.cpu() for k, v in state_dict.items()}",
                    )
            tensors = {name: value for name, (_, _, value) in arrays.items()}
            files.append(_copy(tensors, f"{index:06}.safetensors", [Path(folder), Path(on_disk)]))
            del arrays, tensors
        if not files:
            raise UsageError("there are no state dicts", kind="no-match")
        if not kind and dtype == "bf16":
            raise UsageError("NumPy has no bf16", remedy="choose another dtype, or pass tensors of PyTorch")
        output = files[-1].with_name("mean.safetensors")
        try:
            done = average(files, output, weights=weights, dtype=dtype, by_position=True, keep_names=True, allow_duplicates=True)
        except SwaError as error:
            raise _without_paths(_without_paths(error, Path(folder)), Path(on_disk)) from None
        return _load(Path(done.output), bool(kind), device)


def _copy(tensors: Mapping[str, Any], name: str, folders: Sequence[Path]) -> Path:
    """A file of the tensors in the first folder that has room. Containers have little in /dev/shm."""
    for folder in folders:
        path = folder / name
        try:
            save(path, tensors)
            return path
        except OSError as error:
            path.unlink(missing_ok=True)
            if error.errno != errno.ENOSPC:
                raise
    raise WriteError(
        f"`{folders[-1]}`: no room for a copy of a state dict",
        kind="io",
        exit_code=4,
        file=str(folders[-1]),
        remedy="set TMPDIR to a folder with more",
    )


def _without_paths(error: SwaError, folder: Path) -> SwaError:
    """An error that names state dicts, since nobody has seen their files."""
    pattern = re.escape(str(folder)) + r"/0*(\d+)\.safetensors"
    message = re.sub(f"`?{pattern}`?", r"state dict \1", error.message)
    file = error.file if error.file is None else re.sub(pattern, r"state dict \1", error.file)
    return type(error)(
        message,
        kind=error.kind,
        exit_code=error.exit_code,
        file=file,
        tensor=error.tensor,
        remedy=error.remedy,
    )


def load(path: Path) -> dict[str, Any]:
    """The tensors of a file or folder that swa-avg wrote: PyTorch's if it is installed, else NumPy's."""
    if path.is_dir():
        tensors: dict[str, Any] = {}
        files = sorted(path.glob("*.safetensors"))
        if not files:
            raise UsageError(f"`{path}` holds no safetensors", remedy="load it with the library that wrote its like")
        for file in files:
            tensors.update(load(file))
        return tensors
    torch = optional("torch")
    with open(path, "rb") as opened:
        is_zip = opened.read(2) == b"PK"
    if not is_zip:
        if torch is None and optional("numpy") is None:
            raise UsageError(f"`{path}` needs torch or NumPy to be loaded", remedy="install one of them")
        return _load(path, torch is not None, None)
    if torch is None:
        raise UsageError(f"`{path}` needs torch to be loaded", remedy="write .safetensors, or install torch")
    loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return loaded


def _memory() -> str | None:
    """A folder in memory, if there is one that can be written to."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None


def _tensor(name: str, value: Any, index: int) -> tuple[bool, str, Any]:
    """Whether it is a tensor of PyTorch, its device, and itself."""
    if _is_torch(value):
        torch: Any = sys.modules["torch"]
        if value.device.type == "meta":
            what = "is on the device `meta`: it has no values"
        elif value.layout != torch.strided:
            what = f"has the layout {value.layout}, which is not supported"
        elif hasattr(value, "full_tensor"):
            what = "is distributed (DTensor): give the full tensor, by full_tensor() on all processes"
        else:
            # Its values, where it is a conjugate or negative view of others.
            return True, str(value.device), value.detach().resolve_conj().resolve_neg()
    elif type(value).__module__ == "numpy" or hasattr(value, "__array__"):
        return False, "cpu", optional("numpy").asarray(value)
    else:
        what = f"is a {type(value).__name__}, no tensor"
    raise InputError(
        f"tensor {name!r} of state dict {index} {what}",
        kind="unsupported",
        exit_code=3,
        tensor=name,
    )


def save(path: Path, tensors: Mapping[str, Any]) -> None:
    """Writes tensors as safetensors, names in their order."""
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in tensors.items():
        dtype, size = _type(name, tensor)
        shape = [int(n) for n in tensor.shape]
        begin, end = end, end + size * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(_bytes(tensor))


def _type(name: str, tensor: Any) -> tuple[str, int]:
    """The type of a tensor's values as safetensors names it, and how many bytes one has."""
    is_torch = _is_torch(tensor)
    dtype = str(tensor.dtype).removeprefix("torch.") if is_torch else tensor.dtype.name
    for safe, of_torch, of_numpy in _TYPES:
        if dtype == (of_torch if is_torch else of_numpy):
            return safe, int(tensor.dtype.itemsize)
    raise InputError(
        f"tensor {name!r} has the type {dtype}, which is not supported",
        kind="unsupported",
        exit_code=3,
        tensor=name,
    )


def _is_torch(tensor: Any) -> bool:
    torch: Any = sys.modules.get("torch")
    return torch is not None and isinstance(tensor, torch.Tensor)


def _bytes(tensor: Any) -> Any:
    """The values as they lie in a file: row by row, little-endian."""
    if not _is_torch(tensor):
        return tensor.astype(tensor.dtype.newbyteorder("<"), order="C", copy=False).tobytes()
    torch: Any = sys.modules["torch"]
    # A view of bytes needs a dimension.
    flat = tensor.contiguous().reshape(-1).view(torch.uint8)
    data = bytearray(flat.numel())
    if data:
        # PyTorch's own way to memory, `numpy()`, needs NumPy.
        torch.frombuffer(data, dtype=torch.uint8).copy_(flat)
    return data


def _load(path: Path, as_torch: bool, device: Any) -> dict[str, Any]:
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        # One buffer that can be written to, which all tensors share.
        data = bytearray(file.read())
    tensors: dict[str, Any] = {}
    for name, of in header.items():
        begin, end = of["data_offsets"]
        (kinds,) = [row for row in _TYPES if row[0] == of["dtype"]]
        if as_torch:
            torch = optional("torch")
            kind = getattr(torch, kinds[1])
            if end > begin:
                flat = torch.frombuffer(data, dtype=torch.uint8, count=end - begin, offset=begin)
                # Unaligned where a type of another size stands before.
                flat = flat.view(kind) if begin % kind.itemsize == 0 else flat.clone().view(kind)
            else:
                flat = torch.empty(0, dtype=kind)
            tensors[name] = flat.reshape(of["shape"]).to(device)
        else:
            numpy = optional("numpy")
            if kinds[2] is None:
                raise InputError(
                    f"`{path}`: tensor {name!r}: NumPy has no {of['dtype']}",
                    kind="unsupported",
                    exit_code=3,
                    file=str(path),
                    tensor=name,
                    remedy="install torch",
                )
            part = memoryview(data)[begin:end]
            tensors[name] = numpy.frombuffer(part, dtype=kinds[2]).reshape(of["shape"])
    return tensors

