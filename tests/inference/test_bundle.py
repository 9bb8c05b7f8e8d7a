"""A model as a MONAI Bundle: MONAI's own verifier and runner take it, and give what synthesize gives."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, verify_net_in_out
from monai.bundle import run as run_bundle

from transmodal.errors import Refused
from transmodal.inference.bundle import write_bundle
from transmodal.inference.files import synthesize_paths

# MONAI warns that it evaluates what a bundle's configuration says; this one is ours.
pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file")

MANDATORY = {
    *("version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version", "task"),
    *("description", "authors", "copyright", "network_data_format"),
}
"""Keys of the MONAI Bundle Specification."""
OF_A_TENSOR = {
    *("type", "format", "modality", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data"),
    "channel_def",
}


@pytest.fixture(scope="module")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "t1w_to_fa"
    write_bundle(run / "model", out)
    return out


def test_metadata_says_what_the_specification_asks_for(bundle: Path) -> None:
    found = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert set(found) >= MANDATORY
    tensors = [*found["network_data_format"]["inputs"].values(), *found["network_data_format"]["outputs"].values()]
    assert all(set(one) >= OF_A_TENSOR for one in tensors)
    assert [one["channel_def"] for one in tensors] == [{"0": "T1w"}, {"0": "FA"}]
    assert "not for diagnosis" in found["intended_use"]


def test_monai_verifies_the_network(bundle: Path) -> None:
    configs = bundle / "configs"
    asked = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}
    verify_net_in_out("network_def", device="cpu", bundle_root=str(bundle), **asked)
    wrong = {"_meta_#network_data_format#outputs#pred#num_channels": 2}
    with pytest.raises(ValueError, match="channel number"):
        verify_net_in_out("network_def", device="cpu", bundle_root=str(bundle), **asked, **wrong)


def test_the_state_is_that_of_the_network(bundle: Path) -> None:
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    parser["bundle_root"] = str(bundle)
    network = parser.get_parsed_content("network_def")
    state = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert len(state) == len(network.state_dict()) > 0


def test_monai_runs_it_from_scan_to_volume(bundle: Path, cohort: Path, tmp_path: Path, run: Path) -> None:
    image = str(cohort / "sub-001" / "T1w.nii.gz")
    config = str(bundle / "configs" / "inference.json")
    run_bundle(
        "run", config_file=config, bundle_root=str(bundle), images=[image], output=str(tmp_path / "a.nii.gz")
    )
    (ours,) = synthesize_paths(run / "model", [image], tmp_path / "b.nii.gz", engine="torch")
    made = nib.load(tmp_path / "a.nii.gz").get_fdata()
    assert np.array_equal(made, nib.load(ours).get_fdata())
    assert json.loads((tmp_path / "a.json").read_text())["Synthetic"] is True


def test_what_is_there_stays(bundle: Path, run: Path) -> None:
    with pytest.raises(Refused, match="--force"):
        write_bundle(run / "model", bundle)
    with pytest.raises(Refused, match="holds more than an export"):
        # The run and its checkpoints would be gone.
        write_bundle(run / "model", run, force=True)
    assert (run / "run.json").exists()
    write_bundle(run / "model", bundle, force=True)
    assert (bundle / "docs" / "license.txt").read_text().startswith("Licence of the weights")
