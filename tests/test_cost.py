"""Cost: counted, not guessed."""

import subprocess
import sys

import torch
from torch import nn

from hf_cifar.evaluation.cost import count_flops, count_parameters, describe_environment


def test_flops_and_parameters_of_a_network_done_by_hand():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.Flatten(), nn.Linear(4 * 36, 5))
    assert count_flops(network, 8) == 2 * (36 * 4 * 27) + 2 * (144 * 5)
    assert count_parameters(network) == 108 + 144 * 5 + 5


def test_peak_memory_grows_with_what_is_held():
    program = (
        "import torch\n"
        "from hf_cifar.evaluation.cost import measure_peak_memory\n"
        "before = measure_peak_memory()\n"
        "block = torch.ones(2**27, device='cuda' if torch.cuda.is_available() else 'cpu')\n"  # 512 MiB
        "print(measure_peak_memory() - before)"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
    assert int(output) > 400 * 2**20


def test_the_environment_names_versions():
    environment = describe_environment("fp32", 2)
    assert environment["packages"]["torch"].startswith(torch.__version__.split("+")[0])
    assert environment["world_size"] == 2 and environment["date"].endswith("+00:00")
