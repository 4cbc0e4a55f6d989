"""What the doctor says of the machine, when it is fine and when it is not."""

from hf_cifar.guidance import environment, stores
from hf_cifar.guidance.environment import (
    check_allocator,
    check_disk,
    check_environment,
    check_kernels,
    check_memory,
    check_precision,
    check_processor,
    count_cores,
    measure_free_memory,
)


def test_a_healthy_machine_gives_no_warning(clean, data):
    clean.setattr(stores, "is_hub_reachable", lambda: True)
    clean.setattr(environment, "check_processor", lambda: check_processor(1, 2, 0.5))  # others may load this one
    findings = check_environment()
    hardware = {"precision", "compiled kernels"}  # as it is
    assert [each for each in findings if each.status != "ok" and each.check not in hardware] == []
    assert len(findings) == 12


def test_threads_and_load_are_held_against_the_cores():
    assert check_processor(2, 2, 0.1).status == "ok" and check_processor(1, 1, 0.2).status == "ok"
    assert check_processor(8, 2, 0.1).entry == "too-many-threads" and "=2" in check_processor(8, 2, 0.1).fix
    assert check_processor(2, 2, 3.0).entry == "busy-machine"
    assert count_cores() > 0


def test_a_containers_share_of_the_cores_counts(monkeypatch):
    monkeypatch.setattr(environment, "read_limit", lambda name: "50000 100000")
    assert count_cores() == 0.5
    monkeypatch.setattr(environment, "read_limit", lambda name: "max 100000")
    assert count_cores() >= 1


def test_a_containers_memory_limit_counts(monkeypatch):
    limits = {"memory.max": "3000", "memory.current": "1000"}
    monkeypatch.setattr(environment, "read_limit", limits.get)
    assert measure_free_memory() == 2000


def test_precision():
    assert check_precision("bf16", has_driver=False).status == "ok"
    assert check_precision("fp32", has_driver=False).entry == "no-bf16"
    assert check_precision("bf16", has_driver=True).entry == "gpu-not-seen"  # torch sees none in tests


def test_kernels_need_a_compiler_where_they_pay():
    flags = {"avx512_bf16"}
    assert check_kernels(flags, "python3").status == "ok"
    assert check_kernels(flags, "no-such-compiler").entry == "no-gcc"
    assert check_kernels(set(), "no-such-compiler").status == "ok"


def test_allocator(clean):
    assert check_allocator(True).status == "ok"
    assert check_allocator(False).entry == "allocator"
    clean.setenv("LD_PRELOAD", "/usr/lib/libtcmalloc.so.4")
    assert check_allocator(False).value == "tcmalloc"


def test_disk_and_memory_are_held_against_the_need(tmp_path):
    assert check_disk(tmp_path / "not" / "yet", 1e3, "a run").status == "ok"
    found = check_disk(tmp_path, 1e30, "a run")
    assert (found.status, found.entry) == ("fail", "disk-full")
    assert [check_memory(1e9, "a step", free).status for free in (5e8, 1.1e9, 2e9)] == ["fail", "warn", "ok"]
