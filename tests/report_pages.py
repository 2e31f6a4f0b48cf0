"""The generator of the committed reports, which is a script and no package."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
_spec = importlib.util.spec_from_file_location("generate", ROOT / "reports" / "generate.py")
GENERATOR = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(GENERATOR)


def without_version(text):
    """Printed text but for torch's version, on which no number depends."""
    return re.sub(r"torch [0-9]\S*", "torch", text)
