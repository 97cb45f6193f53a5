#!/bin/sh
# Sets up a machine without internet that has Python 3.12, an NVIDIA driver and PyTorch, and runs tools/gpu_report.py:
#
#   sh tools/gpu_setup.sh split WHEEL FOLDER     here: cut a wheel into pieces that travel, with its checksum
#   sh tools/gpu_setup.sh WHEELS [ARGUMENT...]   there: install the wheels of a folder, then report with the arguments
#
# The wheels are those of `pip download --no-deps --only-binary=:all: --python-version 3.12` that the machine lacks:
# onnxruntime-gpu, whole or in pieces, and what the last line of the environment check names. PYTHON is the Python that
# has PyTorch (python3), VENV the environment to make (.venv-gpu); both may be set.
set -eu

PIECE_BYTES=${PIECE_BYTES:-50000000}

fail() {
    echo "gpu_setup: $*" >&2
    exit 2
}

if [ "${1:-}" = split ]; then
    [ $# = 3 ] || fail "expected: split WHEEL FOLDER"
    [ -f "$2" ] || fail "$2: no such wheel"
    mkdir -p "$3"
    name=$(basename "$2")
    split -b "$PIECE_BYTES" -d -a 2 "$2" "$3/$name.part"
    (cd "$(dirname "$2")" && sha256sum "$name") >"$3/$name.sha256"
    ls -l "$3"
    exit 0
fi

[ $# -ge 1 ] || fail "expected: WHEELS [ARGUMENT...], or split WHEEL FOLDER"
[ -d "$1" ] || fail "$1: no such folder of wheels"
wheels=$(cd "$1" && pwd)
shift
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
venv=${VENV:-$root/.venv-gpu}

# Pieces become wheels beside the others; a joined one that is not what was cut stops here.
joined=$venv-wheels
mkdir -p "$joined"
for sum in "$wheels"/*.whl.sha256; do
    [ -e "$sum" ] || continue
    name=$(basename "$sum" .sha256)
    cat "$wheels/$name".part* >"$joined/$name"
    (cd "$joined" && sha256sum --check --quiet "$sum") || fail "$name: a piece is missing or damaged"
done

# PyTorch's Python may itself be a virtual environment, which --system-site-packages would look past.
torch=$("$python" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parents[1])') ||
    fail "$python has no PyTorch; set PYTHON to one that has"
[ -x "$venv/bin/python" ] || "$python" -m venv --without-pip "$venv"
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\n' "$root" "$root/export" "$root/runtime" "$root/calibration" "$torch" >"$site/gigaedge-gpu.pth"

# pip is beside PyTorch, as a rule.
"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip ||
    fail "$python has neither pip nor ensurepip"
found=$(find "$wheels" "$joined" -name '*.whl')
if [ -n "$found" ]; then
    echo "$found" | tr '\n' '\0' | xargs -0 "$venv/bin/python" -m pip install --quiet --no-index --no-deps \
        --disable-pip-version-check
fi

# ONNX Runtime looks for NVIDIA's libraries beside itself, and PyTorch's are elsewhere.
if [ -d "$torch/nvidia" ] && [ ! -e "$site/nvidia" ]; then
    ln -s "$torch/nvidia" "$site/nvidia"
fi
libraries=$(find "$torch/nvidia" "$torch/torch" -maxdepth 3 -type d -name lib 2>/dev/null | tr '\n' ':')
LD_LIBRARY_PATH=${libraries%:}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || echo "no nvidia-smi" >&2
"$venv/bin/python" - <<'CHECK'
import importlib
import platform

needed = (
    *("torch", "onnxruntime", "onnx", "onnx_ir", "onnxscript", "ml_dtypes", "safetensors", "numpy", "PIL", "cv2"),
    *("pydantic", "yaml", "rich", "typer"),
)
for_the_page = ("matplotlib",)
print("python", platform.python_version())
missing = []
for name in (*needed, *for_the_page):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError:
        print(name, "is not installed")
        missing += [name] if name in needed else []
    else:
        print(name, getattr(module, "__version__", ""))
if missing:
    raise SystemExit(f"gpu_setup: not installed: {', '.join(missing)}; add their wheels to the folder")

import torch

print("torch: CUDA", torch.version.cuda, "cuDNN", torch.backends.cudnn.version(), "GPU", torch.cuda.is_available())
CHECK
# Apart from PyTorch, whose import would load the libraries, as a robot has none: it names each one that it misses.
"$venv/bin/python" -c 'import onnxruntime as ort
print("onnxruntime:", ", ".join(ort.get_available_providers()), "from", ort.__file__)
ort.preload_dlls()'
exec "$venv/bin/python" "$root/tools/gpu_report.py" "$@"
