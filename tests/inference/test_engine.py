"""What runs a model: PyTorch, or ONNX Runtime without it."""

import subprocess
import sys


def test_synthesis_is_imported_without_torch() -> None:
    code = "import sys, transmodal.cli, transmodal.inference.files; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
