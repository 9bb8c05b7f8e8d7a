"""The opening of a model card; what was measured follows once a run is judged (``transmodal card``)."""

from collections.abc import Mapping
from typing import Any


def opening(facts: Mapping[str, Any]) -> str:
    """What the model is and how it is used: all that is known before it is judged.

    Args:
        facts: ``model.json``.
    """
    task, about = facts["task"], facts["about"]
    unproven = about.get("not_reproduced", "")
    lines = [
        f"# {' + '.join(task['sources'])} → {' + '.join(task['targets'])} by {facts['method']}",
        "",
        "Makes **synthetic** images. For research only: not a medical device, not for diagnosis or treatment.",
        "",
        f"- Method: {facts['method']} {facts['arguments'] or '(defaults)'}",
        f"- Trained on {about.get('cases', 'an unknown number of')} cases, {about.get('steps', '?')} updates",
        f"- Voxel size in training: {' × '.join(f'{s:.3g}' for s in facts['spacing_mm'])} mm",
        f"- Weights: `weights.safetensors`, sha256 `{facts['sha256']}`",
        *(f"- {sentence}" for sentence in about.get("pretrained", [])),
        *([f"- Not reproduced: {unproven}"] if unproven else []),
        f"- Licence of the weights: {about.get('licence', 'not stated')}",
        f"- Made with Transmodal {about.get('versions', {}).get('transmodal', '?')}",
        "",
        "    transmodal synthesize THIS_FOLDER SCAN.nii.gz --out SYNTHETIC.nii.gz",
        "",
    ]
    return "\n".join(lines)
