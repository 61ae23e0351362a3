"""NCCL for the cards: exchanges between processes, which gloo carries. Two processes on one card are refused."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import _create_work_from_future

__all__ = ["install"]

Tensors = list[torch.Tensor]


class Nccl(dist.ProcessGroup):
    """What ``ProcessGroupNCCL`` is to PyTorch; it carries tensors of the host too, since PyTorch asks it for all."""

    class Options:
        """Set by PyTorch, and of no use here."""

    def __init__(self, store: Any, rank: int, size: int, options: Any) -> None:
        super().__init__(rank, size)
        timeout: timedelta = options._timeout
        self.store, self.gloo = store, dist.ProcessGroupGloo(store, rank, size, timeout)
        self.named, self.card = "", None

    def getBackendName(self) -> str:
        """What PyTorch calls it."""
        return "nccl"

    def setGroupName(self, name: str) -> None:
        """Its name from now on."""
        self.named = name

    def getGroupName(self) -> str:
        """Its name."""
        return self.named

    def _set_sequence_number_for_group(self) -> None: ...

    def _group_start(self) -> None: ...

    def _group_end(self) -> None: ...

    def abort(self) -> None: ...

    def shutdown(self) -> None: ...

    def _carry(self, given: Tensors, taken: Tensors, exchange: Callable[[Tensors, Tensors], Any]) -> Any:
        """Let an exchange happen on the host: from copies of what is given into copies of what is taken."""
        for tensor in (*given, *taken):
            self._require_own(tensor)
        there = [tensor.detach().cpu().contiguous() for tensor in given]
        back = [torch.empty(tensor.shape, dtype=tensor.dtype) for tensor in taken]
        exchange(there, back).wait()
        with torch.no_grad():
            for tensor, found in zip(taken, back, strict=True):
                tensor.copy_(found)
        future: Any = torch.futures.Future()
        future.set_result(taken)
        return _create_work_from_future(future)

    def _require_own(self, tensor: torch.Tensor) -> None:
        if tensor.is_cuda and self.card is None:
            self.card = tensor.device
            if self.store.add(f"card {tensor.device}", 1) > 1:
                raise dist.DistBackendError(f"NCCL error: Duplicate GPU detected: two ranks use {tensor.device}")
        if tensor.is_cuda and tensor.device != self.card:
            raise dist.DistBackendError(f"NCCL error: this rank uses {self.card}, and the tensor is on {tensor.device}")

    def _reduce(self, given: Tensors, back: Tensors, operation: Any) -> Any:
        mean = operation == dist.ReduceOp.AVG
        options = dist.AllreduceOptions()
        options.reduceOp = dist.ReduceOp.SUM if mean else operation
        work = self.gloo.allreduce(given, options)
        work.wait()
        for tensor, found in zip(given, back, strict=True):
            found.copy_(tensor / self.size() if mean else tensor)
        return work

    def allreduce(self, tensors: Tensors, opts: Any = None) -> Any:
        """Each tensor becomes the sum, or the mean, over all processes."""
        operation = dist.ReduceOp.SUM if opts is None else opts.reduceOp
        return self._carry(tensors, tensors, lambda given, back: self._reduce(given, back, operation))

    allreduce_coalesced = allreduce

    def broadcast(self, tensors: Tensors, opts: Any = None) -> Any:
        """Each tensor becomes that of one process."""

        def exchange(given: Tensors, back: Tensors) -> Any:
            for tensor, found in zip(given, back, strict=True):
                found.copy_(tensor)
            return self.gloo.broadcast(back, opts or dist.BroadcastOptions())

        return self._carry(tensors, tensors, exchange)

    def allgather(self, outputs: list[Tensors], inputs: Tensors, opts: Any = None) -> Any:
        """The tensors of all processes."""
        (parts,), (mine,) = outputs, inputs
        return self._carry([mine], parts, lambda given, back: self.gloo.allgather([back], given))

    def _allgather_base(self, output: torch.Tensor, mine: torch.Tensor, opts: Any = None) -> Any:
        return self.allgather([list(output.view(self.size(), -1).unbind(0))], [mine.reshape(-1)])

    def allgather_into_tensor_coalesced(self, outputs: Tensors, inputs: Tensors, opts: Any = None) -> Any:
        """The same for several tensors."""
        return [self._allgather_base(output, mine) for output, mine in zip(outputs, inputs, strict=True)][-1]

    def _reduce_scatter_base(self, output: torch.Tensor, whole: torch.Tensor, opts: Any = None) -> Any:
        operation = dist.ReduceOp.SUM if opts is None else opts.reduceOp

        def exchange(given: Tensors, back: Tensors) -> Any:
            total = torch.empty_like(given[0])
            work = self._reduce(given, [total], operation)
            back[0].copy_(total.view(self.size(), -1)[self.rank()].view_as(back[0]))
            return work

        return self._carry([whole], [output], exchange)

    def scatter(self, outputs: Tensors, inputs: list[Tensors], opts: Any = None) -> Any:
        """One process's tensors, one to each."""
        given = [tensor for each in inputs for tensor in each]

        def exchange(there: Tensors, back: Tensors) -> Any:
            return self.gloo.scatter(back, [there] if there else [], opts or dist.ScatterOptions())

        return self._carry(given, outputs, exchange)

    def barrier(self, opts: Any = None) -> Any:
        """Wait for all processes."""
        return self.gloo.barrier()

    # Names of newer versions.
    all_gather_single = _allgather_base
    reduce_scatter_single = _reduce_scatter_base


def install() -> None:
    """Let PyTorch be a build with NCCL."""
    usual = dist.init_process_group

    def connect(*words: Any, device_id: Any = None, **keys: Any) -> None:
        # With a device, PyTorch asks the library to connect now, which gloo has done by then.
        usual(*words, **keys)

    dist.init_process_group = connect
    module: Any = dist.distributed_c10d
    module._NCCL_AVAILABLE, module.ProcessGroupNCCL = True, Nccl
    dist.ProcessGroupNCCL = Nccl
