"""Owns the optimizer: parameter groups by kind, and SGD, Adam, AdamW and Muon behind one torch Optimizer."""

from fnmatch import fnmatch
from typing import Any

import torch
from torch import nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from ..errors import UserError

KINDS = ("filters", "matrices", "vectors", "head")
ALGORITHMS = ("sgd", "adam", "adamw", "muon")
OVERRIDES = ("optimizer", "lr", "momentum", "weight_decay")
# Quintic coefficients that maximise the slope at zero (Jordan et al. 2024, "Muon").
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalize(gradient: torch.Tensor, steps: int = 3, eps: float = 1e-7) -> torch.Tensor:
    """Newton-Schulz iteration towards the nearest semi-orthogonal matrix; singular values end near 0.5 to 1.5.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; 3 steps as in airbench94_muon.

    Args:
        gradient: (M, N), any float dtype. float32 is iterated in bfloat16, float64 in float64.
        steps: iterations.
        eps: added to the norm.

    Returns:
        (M, N) in the dtype that was iterated in.
    """
    a, b, c = _NEWTON_SCHULZ
    x = gradient if gradient.dtype == torch.float64 else gradient.bfloat16()
    x = x / (x.norm() + eps)  # singular values at most 1
    is_tall = x.size(0) > x.size(1)
    x = x.T if is_tall else x
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if is_tall else x


class GroupedOptimizer(torch.optim.Optimizer):
    """One optimizer whose parameter groups each name their algorithm: Trainer, schedules and checkpoints see one.

    SGD (Nesterov), Adam and AdamW are torch's own functions. Muon is for filters: each filter bank is rescaled to
    norm sqrt(out_channels), then moved along the orthogonalized momentum (airbench94_muon).

    Each group has `optimizer`, `lr`, `momentum` (sgd and muon), `betas` and `eps` (adam), and `weight_decay`
    (added to the gradient by sgd and adam, decoupled in adamw, unused by muon, which normalizes).
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(
            groups, {"lr": 1e-3, "momentum": 0.9, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
        )

    @torch.no_grad()
    def step(self, closure=None) -> None:
        """Update every parameter that has a gradient."""
        if closure is not None:
            raise ValueError("GroupedOptimizer takes no closure; compute the gradients before step()")
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                steps = {"sgd": self._step_sgd, "muon": self._step_muon}
                steps.get(group["optimizer"], self._step_adam)(parameters, group)

    def _step_sgd(self, parameters: list[torch.Tensor], group: dict[str, Any]) -> None:
        buffers = [self.state[parameter].get("momentum_buffer") for parameter in parameters]
        sgd(
            parameters,
            [parameter.grad for parameter in parameters],
            buffers,
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=0.0,
            nesterov=group["momentum"] > 0,
            maximize=False,
        )
        for parameter, buffer in zip(parameters, buffers, strict=True):
            if buffer is not None:  # sgd fills the list in place; without momentum it stays None
                self.state[parameter]["momentum_buffer"] = buffer

    def _step_adam(self, parameters: list[torch.Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter].update(
                    step=torch.tensor(0.0),
                    exp_avg=torch.zeros_like(parameter),
                    exp_avg_sq=torch.zeros_like(parameter),
                )
        states = [self.state[parameter] for parameter in parameters]
        adam(
            parameters,
            [parameter.grad for parameter in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
            decoupled_weight_decay=group["optimizer"] == "adamw",
        )

    def _step_muon(self, parameters: list[torch.Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            state = self.state[parameter]
            buffer = state.setdefault("momentum_buffer", torch.zeros_like(parameter))
            buffer.mul_(group["momentum"]).add_(parameter.grad)
            gradient = parameter.grad.add(buffer, alpha=group["momentum"])  # Nesterov
            parameter.mul_(len(parameter) ** 0.5 / parameter.norm())
            update = orthogonalize(gradient.flatten(1)).view(gradient.shape).to(parameter.dtype)
            parameter.add_(update, alpha=-group["lr"])


def find_vectors(model: nn.Module) -> set[str]:
    """The names of the parameters that are no layer's weights, and are not decayed whatever their shape.

    These are biases, norms (ConvNeXt V2's are 4-D), scales, tokens, position embeddings and Swin's tables of biases:
    all but weights of two and more dimensions, as every layer of torch names them, and what timm itself lists.
    """
    timm_model = getattr(model, "timm_model", None)
    patterns = timm_model.no_weight_decay() if hasattr(timm_model, "no_weight_decay") else ()
    embeddings = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    return {
        name
        for name, parameter in model.named_parameters()
        if not name.endswith("weight")
        or parameter.numel() == max(parameter.shape, default=1)
        or name in embeddings
        or any(fnmatch(name, f"timm_model.{pattern}") for pattern in patterns)
    }


def classify_parameters(model: nn.Module, head: nn.Module | None) -> dict[str, dict[str, nn.Parameter]]:
    """Trainable parameters by kind: filters (4-D), matrices (2-D and other), vectors (biases, norms, ...), head."""
    head_ids = {id(parameter) for parameter in head.parameters()} if head is not None else set()
    vectors = find_vectors(model)
    kinds: dict[str, dict[str, nn.Parameter]] = {kind: {} for kind in KINDS}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        kind = "vectors" if name in vectors else "filters" if parameter.ndim == 4 else "matrices"
        kinds["head" if id(parameter) in head_ids else kind][name] = parameter
    return kinds


def build_optimizer(
    model: nn.Module,
    head: nn.Module | None,
    optimizer: str,
    lr: float,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    parameter_groups: dict[str, dict[str, Any]] | None = None,
    lr_scales: dict[str, float] | None = None,
) -> GroupedOptimizer:
    """An optimizer with one group per kind of parameter; with `lr_scales` per scale and kind, the highest first.

    Args:
        model: its trainable parameters are taken.
        head: the module whose parameters are of the kind `head`.
        optimizer: "sgd", "adam", "adamw" or "muon" (filters only; other kinds then get sgd).
        lr: learning rate, for the mean loss of a batch.
        weight_decay: for filters, matrices and head; vectors (`find_vectors`) get none unless overridden.
        momentum: of sgd and muon.
        betas, eps: of adam and adamw.
        parameter_groups: overrides per kind.
        lr_scales: what to multiply learning rates by, for every parameter by name.

    Raises:
        UserError: An unknown kind or key, a value that is no number, or Muon for what has no filters' shape.
    """
    overrides = parameter_groups or {}
    check_overrides(overrides, optimizer)
    kinds, groups = classify_parameters(model, head), []
    for kind in KINDS:
        group = {
            "kind": kind,
            "optimizer": "sgd" if optimizer == "muon" and kind != "filters" else optimizer,
            "lr": lr,
            "momentum": momentum,
            "betas": betas,
            "eps": eps,
            "weight_decay": 0.0 if kind == "vectors" else weight_decay,
            **overrides.get(kind, {}),
        }
        if not lr_scales:
            groups.append({"params": list(kinds[kind].values()), **group})
        for scale in sorted(set((lr_scales or {}).values()), reverse=True):
            parameters = [parameter for name, parameter in kinds[kind].items() if lr_scales[name] == scale]
            groups.append({"params": parameters, **group, "lr": group["lr"] * scale, "lr_scale": scale})
    groups.sort(key=lambda group: -group.get("lr_scale", 1))  # the Trainer logs the first one's rate
    return GroupedOptimizer([group for group in groups if group["params"]])


def check_overrides(overrides: dict[str, dict[str, Any]], optimizer: str) -> None:
    """Refuse what `parameter_groups` cannot mean.

    Raises:
        UserError: With the value and what is allowed.
    """
    for kind, values in overrides.items():
        if kind not in KINDS or not isinstance(values, dict):
            raise UserError(f"parameter_groups.{kind} is not a kind with settings; allowed: {', '.join(KINDS)}")
        for key, value in values.items():
            if key not in OVERRIDES:
                raise UserError(f"parameter_groups.{kind}.{key} is unknown; allowed: {', '.join(OVERRIDES)}")
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
            if value not in ALGORITHMS if key == "optimizer" else not is_number:
                allowed = ", ".join(ALGORITHMS) if key == "optimizer" else "a number of at least 0"
                raise UserError(f"parameter_groups.{kind}.{key}={value!r} is not valid; allowed: {allowed}")
        if kind == "filters" and optimizer == "muon" and values.get("weight_decay") and "optimizer" not in values:
            raise UserError(
                "parameter_groups.filters.weight_decay: muon normalizes filters and has none; leave it out"
            )
        if values.get("optimizer") == "muon" and kind != "filters":
            raise UserError(f"parameter_groups.{kind}.optimizer=muon: muon is for filters; allowed: sgd, adam, adamw")
