"""Owns what the stock Trainer's arguments cannot express: its sampler, and checkpoints that load or are refused."""

from functools import partial
from typing import Any

from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset, Sampler
from transformers import PreTrainedModel, Trainer

from ..data.batches import KeyedSampler
from ..errors import UserError


class KeyedTrainer(Trainer):
    """The stock Trainer with indices that carry the epoch, checkpoints that load whole, and new rates in a resume."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return KeyedSampler(len(dataset), seed, dataset.chosen)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        # By default some models, ViT and Swin among them, are saved under the names of an earlier version, which
        # `_load_from_checkpoint` and `_load_best_model` do not translate back.
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        if not isinstance(model, PreTrainedModel):
            return super()._save(output_dir, state_dict)
        model.save_pretrained = partial(model.save_pretrained, save_original_format=False)
        try:
            super()._save(output_dir, state_dict)
        finally:
            del model.save_pretrained

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        # The Trainer would warn, and go on with the weights that it happens to have.
        missing = set(load_result.missing_keys) - set(getattr(self.model, "_keys_to_ignore_on_save", None) or ())
        if missing or load_result.unexpected_keys:
            what = f"lacks {min(missing)}" if missing else f"has {min(load_result.unexpected_keys)}"
            raise UserError(f"the checkpoint is of another network: it {what}; train anew")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        try:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()  # which names a parameter
            raise UserError(f"{resume_from_checkpoint} is of another network: {reason}; train anew") from error

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        # A checkpoint's rates would silently win over those that the command asks for.
        kept = [{**group} for group in self.optimizer.param_groups]
        try:
            super()._load_optimizer_and_scheduler(checkpoint)
        except ValueError as error:  # another number of groups, or of parameters in one
            raise UserError(f"{checkpoint} is of another network or optimizer: {error}; train anew") from error
        for group, options in zip(self.optimizer.param_groups, kept, strict=True):
            if checkpoint is not None and group.get("optimizer") != options.get("optimizer"):
                raise UserError(
                    f"{checkpoint} was trained by {group['optimizer']}, not {options['optimizer']} "
                    f"({options['kind']}); keep the optimizer, or train anew"
                )
        if checkpoint is None or not isinstance(self.lr_scheduler, LambdaLR):  # others have adapted their rates
            return
        scheduler = self.lr_scheduler
        scheduler.base_lrs = [group["initial_lr"] for group in kept]
        scheduler._last_lr = [
            rate * factor(scheduler.last_epoch)
            for rate, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
        ]
        for group, options, rate in zip(self.optimizer.param_groups, kept, scheduler._last_lr, strict=True):
            group.update(options | {"params": group["params"], "lr": rate})
