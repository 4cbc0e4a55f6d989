"""The parts of cached features: each proves whose it is, and what does not is refused with the reason."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_cifar.training.features import PART_SIZE, get_part_paths, hash_features, read_part, write_part

FEATURES = torch.arange(12.0).view(4, 3)


@pytest.fixture
def path(tmp_path):
    write_part(tmp_path / "part.safetensors", "key", FEATURES)
    return tmp_path / "part.safetensors"


def test_parts_cover_all_rows_once(tmp_path):
    parts = list(get_part_paths(tmp_path, 2 * PART_SIZE + 1))
    assert [row for part in parts for row in part] == list(range(2 * PART_SIZE + 1))
    assert [len(part) for part in parts] == [PART_SIZE, PART_SIZE, 1]
    assert not get_part_paths(tmp_path, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_part_comes_back_bit_for_bit(tmp_path, dtype):
    features = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    write_part(tmp_path / "part.safetensors", "key", features)
    assert torch.equal(read_part(tmp_path / "part.safetensors", "key", torch.empty_like(features)), features)
    assert [each.name for each in tmp_path.iterdir()] == ["part.safetensors"]


def test_what_is_foreign_is_refused(path):
    with pytest.raises(ValueError, match="of other features"):
        read_part(path, "another key", FEATURES)
    with pytest.raises(ValueError, match=r"\(4, 3\) torch.float32 and not \(4, 2\) torch.float32"):
        read_part(path, "key", FEATURES[:, :2])
    with pytest.raises(ValueError, match=r"and not \(5, 3\)"):
        read_part(path, "key", torch.empty(5, 3))
    with pytest.raises(ValueError, match=r"and not \(4, 3\) torch.bfloat16"):
        read_part(path, "key", FEATURES.bfloat16())


def test_a_part_in_another_parts_place_is_refused(path):
    path = path.rename(path.with_name("other.safetensors"))
    with pytest.raises(ValueError, match="of other features"):
        read_part(path, "key", FEATURES)


def test_what_is_damaged_is_refused(path):
    content = bytearray(path.read_bytes())
    for end in (0, 1, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match="cannot be read"):
            read_part(path, "key", FEATURES)
    content[-5] ^= 64
    path.write_bytes(content)
    with pytest.raises(ValueError, match="SHA-256 differs"):
        read_part(path, "key", FEATURES)
    save_file({"other": FEATURES}, path, metadata={"key": "key", "rows": "part"})
    with pytest.raises(ValueError, match="cannot be read"):
        read_part(path, "key", FEATURES)
    save_file({"features": FEATURES}, path, metadata={"key": "key", "rows": "part"})
    with pytest.raises(ValueError, match="SHA-256 differs"):
        read_part(path, "key", FEATURES)


def test_the_hash_covers_shape_and_type(path):
    alike = (FEATURES, FEATURES.view(3, 4), FEATURES.view(torch.int32))
    assert len({hash_features(each) for each in alike}) == 3
    assert hash_features(load_file(path)["features"]) == hash_features(FEATURES)
