"""Lightning's Trainer on the native network, with everything that costs time and trains nothing turned off."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import lightning
import torch

from benchmarks.peers import Peer
from benchmarks.peers.torch_native import batches, loss_of, network, optimizer
from benchmarks.task import Task

__all__ = ["serve"]


class Module(lightning.LightningModule):
    """The native network and its loss."""

    def __init__(self, built: torch.nn.Module) -> None:
        super().__init__()
        self.built = built
        self.loss: Any = None

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        """The loss; kept, to be compared."""
        loss = loss_of(self.built, *batch)
        self.loss = loss.detach()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The native optimizer."""
        return optimizer(self.built)


class Endless:
    """The native batches as something that Lightning takes for a data loader."""

    def __init__(self, task: Task, data: Any) -> None:
        self._task, self._data = task, data

    def __iter__(self) -> Any:
        return batches(self._task, self._data)


def serve(task: Task, use: Callable[[Peer], None]) -> None:
    """See :mod:`benchmarks.peers`. The steps are those of the trainer's own loop, taken one by one."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    data = task.data()
    module = Module(network(task, data))
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        precision="bf16-mixed" if task.precision == "bf16" else "32-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loop = trainer.fit_loop.epoch_loop

    def run(fetcher: Any) -> None:
        """What the loop's own run does, with the steps left to the benchmark."""
        loop.reset()
        loop.on_run_start(fetcher)

        def step() -> torch.Tensor:
            loop.advance(fetcher)
            loop.on_advance_end(fetcher)
            loop.on_iteration_done()
            return module.loss

        count = sum(p.numel() for p in module.parameters() if p.requires_grad)
        use(Peer(step, count, {"lightning": lightning.__version__, "torch": torch.__version__}))

    loop.run = run
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, Endless(task, data))
