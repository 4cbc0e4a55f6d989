"""What the hardware decides."""

import torch

from hf_cifar.training import hardware


def test_precision_follows_the_cpus_features(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for flags, expected in ((set(), "fp32"), ({"avx512_bf16"}, "bf16"), ({"amx_bf16"}, "bf16"), ({"avx2"}, "fp32")):
        monkeypatch.setattr(hardware, "read_cpu_flags", lambda flags=flags: flags)
        assert hardware.choose_precision() == expected


def test_the_description_names_the_machine():
    description = hardware.describe_hardware()
    assert torch.cuda.is_available() or "threads" in description


def test_keeping_memory_changes_no_result():
    before = torch.ones(1000, 1000).sum()
    assert hardware.keep_freed_memory() in (True, False)
    assert torch.ones(1000, 1000).sum() == before
