"""What people write who know other tools, and what hal calls it; a table, so that a hint is one line to add."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

__all__ = ["nearest_key", "nearest_value"]

_KEYS = {
    "lr": "learning_rate learningrate lrate alpha eta step_size",
    "schedule.warmup": "warmup warmup_steps lr_warmup num_warmup_steps",
    "ema": "ema_decay model_ema average",
    "class_weights": "class_weight weights_per_class",
    "label_smoothing": "smoothing label_smoothing_factor",
    "patience": "early_stopping early_stop early_stopping_patience",
    "keep": "save_total_limit save_top_k max_to_keep save_best_only",
    "schedule": "lr_schedule scheduler lr_scheduler learning_rate_schedule lr_scheduler_type",
    "batch": "batch_size batchsize bs train_batch_size per_device_train_batch_size minibatch mini_batch",
    "epochs": "n_epochs num_epochs nepochs max_epochs epoch num_train_epochs",
    "steps": "max_steps n_steps num_steps iterations iters max_iters",
    "precision": "dtype amp half fp16 bf16 mixed_precision autocast torch_dtype",
    "layout": "memory_format channels_last data_format",
    "compile": "torch_compile jit compile_mode",
    "threads": "num_threads n_threads nthreads cpu_threads n_jobs",
    "parallel": "distributed strategy devices num_devices num_gpus n_gpus ngpus nproc_per_node world_size ddp fsdp",
    "accumulate": "gradient_accumulation_steps accumulate_grad_batches grad_accum accumulation accum",
    "clip": "grad_clip gradient_clip gradient_clip_val max_grad_norm clip_norm clip_grad_norm",
    "seed": "random_seed random_state manual_seed",
    "out": "output output_dir out_dir outdir save_dir logdir log_dir default_root_dir project dir",
    "resume": "resume_from resume_from_checkpoint ckpt ckpt_path restore load",
    "checkpoint": "save_every save_steps checkpoint_every save_interval save_period",
    "data": "dataset data_dir data_path datadir train_data input",
    "data.validation": "validation val val_split validation_split test_size",
    "data.augment": "augment augmentation augmentations transform transforms",
    "model": "arch architecture network net model_name",
    "optimizer": "opt optim",
    "optimizer.momentum": "momentum",
    "optimizer.weight_decay": "weight_decay wd l2",
    "optimizer.epsilon": "eps epsilon optimizer.eps",
    "device": "gpu gpu_id device_id local_rank",
    "backend": "accelerator platform framework runtime",
    "target": "hardware chip arch",
    "seconds": "duration time max_seconds max_time timeout",
    "budget": "time_budget timeout",
    "trials": "n_trials num_trials max_trials",
    "objective": "metric goal direction",
}
"""Keys of hal, each with words for the same thing elsewhere. A word may stand beside several keys."""


def nearest_key(word: str, known: Collection[str]) -> str | None:
    """The known key that somebody probably meant; None: no key comes near.

    >>> nearest_key("batch_size", ["batch", "backend"]), nearest_key("bacth", ["batch"]), nearest_key("qqq", ["batch"])
    ('batch', 'batch', None)
    """
    plain = word.lower().replace("-", "_")
    meant = [key for key, words in _KEYS.items() if plain in words.split() and key in known]
    return next(iter(meant or difflib.get_close_matches(plain, known, n=1)), None)


_VALUES = {
    "compile": {"default": "yes on true 1 jit inductor torch", "eager": "no off false 0 none", "max": "max-autotune"},
    "precision": {"fp32": "no off false float32 single 32", "bf16": "bfloat16", "fp16": "yes on true float16 half 16"},
    "layout": {"nhwc": "channels_last", "nchw": "channels_first contiguous"},
    "schedule": {
        "constant": "no off false none fixed",
        "cosine": "yes on true cos cosineannealinglr",
        "step": "steplr multistep",
        "onecycle": "one_cycle one-cycle onecyclelr",
    },
    "mode": {"train": "training", "infer": "inference eval predict forward"},
}
"""Values of keys, each with words for the same thing elsewhere; what switches something on or off is among them."""


def nearest_value(key: str, word: str, expected: str) -> str | None:
    """The value that somebody probably meant; None: no value comes near.

    Args:
        key: with its section, as in ``space.compile``.
        word: what was given.
        expected: the values that are allowed, as pydantic lists them.

    >>> nearest_value("compile", "yes", "'eager' or 'default'"), nearest_value("layout", "NHWC", "'nhwc' or 'nchw'")
    ('default', 'nhwc')
    """
    allowed = re.findall(r"'([^']*)'", expected)
    plain = word.lower()
    meant = [
        value
        for value, words in _VALUES.get(key.rpartition(".")[2], {}).items()
        if plain in words.split() and value in allowed
    ]
    return next(iter(meant or difflib.get_close_matches(plain, allowed, n=1)), None)
