"""Cost: counted, not guessed."""

import torch
from torch import nn

from hf_cifar.evaluation.cost import count_flops, count_parameters, describe_environment, measure_peak_memory


def test_flops_and_parameters_of_a_network_done_by_hand():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.Flatten(), nn.Linear(4 * 36, 5))
    assert count_flops(network, 8) == 2 * (36 * 4 * 27) + 2 * (144 * 5)
    assert count_parameters(network) == 108 + 144 * 5 + 5


def test_peak_memory_grows_with_what_is_held():
    before = measure_peak_memory()
    block = torch.ones(64 * 2**20)  # 256 MiB
    assert torch.cuda.is_available() or measure_peak_memory() >= before
    assert block.sum() > 0 and before > 50 * 2**20


def test_the_environment_names_versions():
    environment = describe_environment("fp32", 2)
    assert environment["packages"]["torch"].startswith(torch.__version__.split("+")[0])
    assert environment["world_size"] == 2 and environment["date"].endswith("+00:00")
