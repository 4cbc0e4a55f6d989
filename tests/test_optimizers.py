"""Optimizers against torch's own and against float64 references."""

import copy

import pytest
import torch
from torch import nn

from hf_cifar.errors import UserError
from hf_cifar.training.finetuning import find_learning_rate_scales
from hf_cifar.training.optimizers import build_optimizer, find_vectors, orthogonalize

from .tiny_models import FOR_32_PIXELS, build_fresh


def make_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 12), nn.Linear(12, 10))


def train(network: nn.Sequential, optimizer, steps: int = 5) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        inputs, labels = torch.randn(6, 3, 8, 8, generator=generator), torch.randint(10, (6,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(inputs), labels).backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("sgd", lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.8, nesterov=True)),
        ("adam", lambda groups: torch.optim.Adam(groups, lr=0.05)),
        ("adamw", lambda groups: torch.optim.AdamW(groups, lr=0.05)),
    ],
)
def test_each_algorithm_is_torchs_bit_for_bit(name, reference):
    ours, theirs = make_network(), make_network()
    optimizer = build_optimizer(ours, ours[-1], name, lr=0.05, weight_decay=0.1, momentum=0.8)
    vectors = [parameter for parameter in theirs[:-1].parameters() if parameter.ndim < 2]
    others = [parameter for parameter in theirs.parameters() if not any(parameter is vector for vector in vectors)]
    groups = [{"params": others, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    train(ours, optimizer)
    train(theirs, reference(groups))
    for parameter, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(parameter, expected)


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (20, 20)])
def test_newton_schulz_against_the_singular_value_decomposition(shape):
    matrix = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    values = values / values.norm()
    for _ in range(3):  # the iteration acts on each singular value alone
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    expected = u @ torch.diag(values) @ v
    torch.testing.assert_close(orthogonalize(matrix), expected, atol=1e-6, rtol=1e-6)
    assert (orthogonalize(matrix.float()).double() - expected).norm() / expected.norm() < 0.03  # bfloat16


def test_a_muon_step_is_the_reference_step():
    network = make_network().double()
    optimizer = build_optimizer(network, network[-1], "muon", lr=0.1, momentum=0.6)
    weight = network[0].weight
    buffer = torch.zeros_like(weight)
    expected = weight.detach().clone()
    for seed in range(3):
        gradient = torch.randn(weight.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        weight.grad = gradient
        optimizer.step()
        buffer = 0.6 * buffer + gradient
        update = orthogonalize((gradient + 0.6 * buffer).reshape(8, -1)).view_as(weight)
        expected = expected * (8**0.5 / expected.norm()) - 0.1 * update
        torch.testing.assert_close(weight, expected, atol=1e-6, rtol=1e-6)


def test_groups_are_by_kind_and_overrides_apply():
    network = make_network()
    overrides = {"head": {"lr": 0.5, "optimizer": "adamw"}, "vectors": {"momentum": 0.1, "weight_decay": 0.3}}
    optimizer = build_optimizer(network, network[-1], "muon", lr=0.1, weight_decay=0.2, parameter_groups=overrides)
    groups = {group["kind"]: group for group in optimizer.param_groups}
    assert {kind: len(group["params"]) for kind, group in groups.items()} == {
        "filters": 1, "matrices": 1, "vectors": 4, "head": 2,
    }  # fmt: skip
    assert [groups[kind]["optimizer"] for kind in groups] == ["muon", "sgd", "sgd", "adamw"]
    assert groups["head"]["lr"] == 0.5 and groups["matrices"]["lr"] == 0.1
    assert groups["vectors"]["weight_decay"] == 0.3 and groups["matrices"]["weight_decay"] == 0.2


def test_biases_and_norms_are_not_decayed_by_default():
    network = make_network()
    optimizer = build_optimizer(network, network[-1], "adamw", lr=0.1, weight_decay=0.2)
    assert {group["kind"]: group["weight_decay"] for group in optimizer.param_groups}["vectors"] == 0


@pytest.mark.parametrize("name", FOR_32_PIXELS)
def test_what_is_decayed_are_the_weights_of_linear_layers_and_convolutions(name):
    model = build_fresh(name)
    weights = {
        f"{prefix}.weight" for prefix, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)
    }
    assert find_vectors(model) == {key for key, _ in model.named_parameters()} - weights


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("vit", "vit.embeddings.position_embeddings"),
        ("deit", "deit.embeddings.distillation_token"),
        ("dinov2", "dinov2.encoder.layer.0.layer_scale1.lambda1"),
        ("swin", "relative_position_bias_table"),
        ("convnext", "layer_scale_parameter"),
        ("convnextv2", "grn.weight"),
        ("timm vit", "timm_model.pos_embed"),
    ],
)
def test_families_have_their_own_undecayed_parameters(name, parameter):
    assert any(key.endswith(parameter) for key in find_vectors(build_fresh(name)))


def test_tables_are_not_decayed_whatever_timm_or_torch_call_them():
    network = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 3))
    network.timm_model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network.timm_model.no_weight_decay = lambda: {"1.*"}
    assert find_vectors(network) == {
        "0.weight", "1.bias", "timm_model.0.bias", "timm_model.1.weight", "timm_model.1.bias",
    }  # fmt: skip


def test_rates_are_scaled_by_stage_on_top_of_each_kinds_own():
    model = build_fresh("vit")
    overrides = {"head": {"lr": 0.5}, "vectors": {"lr": 0.2}}
    scales = find_learning_rate_scales(model, 0.5)
    optimizer = build_optimizer(
        model, model.classifier, "adamw", 0.1, 0.3, parameter_groups=overrides, lr_scales=scales
    )
    groups = [(group["kind"], group["lr_scale"], group["weight_decay"]) for group in optimizer.param_groups]
    assert groups == [
        ("head", 1.0, 0.3),
        *(
            (kind, scale, decay)
            for scale in (0.5, 0.25, 0.125)
            for kind, decay in (("matrices", 0.3), ("vectors", 0.0))
        ),
        ("filters", 0.0625, 0.3),
        ("vectors", 0.0625, 0.0),
    ]
    for group in optimizer.param_groups:
        own = {"head": 0.5, "vectors": 0.2}.get(group["kind"], 0.1)
        assert group["lr"] == own * group["lr_scale"]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("name", "overrides"),
    [("sgd", {}), ("adamw", {}), ("muon", {}), ("muon", {"head": {"optimizer": "adamw"}, "vectors": {"momentum": 0}})],
)
def test_a_restored_optimizer_goes_on_bit_for_bit(name, overrides):
    network = make_network()
    optimizer = build_optimizer(network, network[-1], name, lr=0.05, parameter_groups=overrides)
    train(network, optimizer, 3)
    twin = copy.deepcopy(network)
    restored = build_optimizer(twin, twin[-1], name, lr=0.9)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(network, optimizer, 3)
    train(twin, restored, 3)
    for parameter, expected in zip(twin.parameters(), network.parameters(), strict=True):
        assert torch.equal(parameter, expected)


def test_frozen_parameters_are_left_out():
    network = make_network()
    network[0].weight.requires_grad_(False)
    optimizer = build_optimizer(network, network[-1], "muon", lr=0.1)
    assert all(group["kind"] != "filters" for group in optimizer.param_groups)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"bias": {"lr": 1}}, "parameter_groups.bias .*allowed: filters"),
        ({"head": 3}, "parameter_groups.head"),
        ({"head": {"learning_rate": 1}}, "head.learning_rate is unknown; allowed: optimizer, lr"),
        ({"head": {"lr": "fast"}}, "head.lr='fast' is not valid; allowed: a number"),
        ({"head": {"lr": -1}}, "head.lr=-1"),
        ({"head": {"lr": True}}, "head.lr=True"),
        ({"head": {"optimizer": "lion"}}, "allowed: sgd, adam, adamw, muon"),
        ({"head": {"optimizer": "muon"}}, "muon is for filters"),
    ],
)
def test_bad_overrides_are_refused(overrides, message):
    network = make_network()
    with pytest.raises(UserError, match=message):
        build_optimizer(network, network[-1], "sgd", lr=0.1, parameter_groups=overrides)
