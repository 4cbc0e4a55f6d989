"""What the hardware decides."""

import platform
import sys

import pytest
import torch

from hf_cifar import hardware


def test_precision_follows_the_cpus_features(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for flags, expected in ((set(), "fp32"), ({"avx512_bf16"}, "bf16"), ({"amx_bf16"}, "bf16"), ({"avx2"}, "fp32")):
        monkeypatch.setattr(hardware, "read_cpu_flags", lambda flags=flags: flags)
        assert hardware.choose_precision() == expected


def test_the_description_names_the_machine():
    description = hardware.describe_hardware()
    assert torch.cuda.is_available() or "threads" in description


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults as Linux does")
def test_freed_memory_is_kept_and_asking_for_it_works_here():
    import resource

    def step() -> list[torch.Tensor]:
        return [tensor * 2 for tensor in [torch.ones(2**21) for _ in range(8)]]  # 64 MiB, then 64 more

    kept = hardware.keep_freed_memory()  # as every recipe does in this process
    step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    if kept:
        assert faults < 40_000  # without: 160,000, one for each page
    else:
        assert torch.cuda.is_available() or platform.libc_ver()[0] != "glibc"
