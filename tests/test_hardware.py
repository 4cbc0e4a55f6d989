"""What the hardware decides."""

import platform
import subprocess
import sys

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


def test_freed_memory_is_kept_and_asking_for_it_works_here():
    program = (
        "import resource, torch\n"
        "from hf_cifar.hardware import keep_freed_memory\n"
        "kept = keep_freed_memory()\n"
        "def step(): [tensor * 2 for tensor in [torch.ones(2**21) for _ in range(8)]]\n"  # 64 MiB, then 64 more
        "def count(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "step()\n"
        "before = count()\n"
        "for _ in range(5): step()\n"
        "print(kept, count() - before)"
    )
    kept, faults = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.split()
    if kept == "True":
        assert int(faults) < 40_000  # without: 160,000, one for each page
    else:
        assert sys.platform != "linux" or torch.cuda.is_available() or platform.libc_ver()[0] != "glibc"
