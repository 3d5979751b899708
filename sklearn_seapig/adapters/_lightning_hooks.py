"""What a wrapped task does besides its forward pass."""

import inspect

from .._warn import warn

# What a task does to data and weights, it does when it is wrapped, too, and undoes. Its other hooks
# log metrics that nobody updates here, or expect the outputs of its own steps.
KEPT_HOOKS = (
    "prepare_data", "setup", "teardown", "configure_model",
    "on_save_checkpoint", "on_load_checkpoint",
    "test_dataloader", "predict_dataloader",
    "on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer",
    "on_test_model_eval", "on_test_model_train", "on_predict_model_eval",
    "on_test_start", "on_test_end", "on_predict_start", "on_predict_end",
    "on_predict_epoch_start", "on_predict_epoch_end",
)  # fmt: skip


def own_hook(task, name):
    """Return a hook of a task, or None where it has none or Lightning's own."""
    hook = getattr(task, name, None)
    module = getattr(hook, "__module__", "") or ""
    return None if module.startswith(("lightning.pytorch.core", "pytorch_lightning.core")) else hook


def accepted(step, args):
    """Return as many of (batch, batch_idx, dataloader_idx) as a step takes by position."""
    kinds = [p.kind for p in inspect.signature(step).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return args
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return args[: sum(kind in by_position for kind in kinds)]


def warn_other_tree(task):
    """Warn of a task of pytorch_lightning, whose Trainer takes no module of lightning."""
    if any(cls.__module__.startswith("pytorch_lightning.") for cls in type(task).__mro__):
        warn(
            f"task={type(task).__name__} comes from pytorch_lightning, this class from lightning: "
            "run it with lightning.Trainer, which pytorch_lightning.Trainer does not mix with."
        )
