"""``torch.cuda`` for the cards. Where PyTorch's own Python code runs on the few functions that a build for GPUs adds to
``torch._C``, it does; the rest is replaced."""

import ctypes
from types import SimpleNamespace
from typing import Any

import torch
from torch._utils import _get_device_index

import fake_card

__all__ = ["install"]

LOWLEVEL: Any = torch._C
cuda: Any = torch.cuda


class Stream(torch.Stream):
    """A stream of a card."""

    def __new__(cls, device: Any = None, priority: int = 0, **found: Any) -> "Stream":
        """A new stream, or one by its number."""
        if "stream_id" in found:
            return super().__new__(cls, **found)
        return super().__new__(cls, torch.device("cuda", _get_device_index(device, optional=True)), priority=priority)


def install(card: fake_card.Card, asked: fake_card.Wanted) -> None:
    """Let PyTorch be a build for the card."""
    versions: Any = torch.version
    versions.cuda, versions.hip = card.build.get("cuda"), card.build.get("hip")
    for name, function in _lowlevel(card).items():
        setattr(LOWLEVEL, name, function)
    for name, function in _cuda(card, asked).items():
        setattr(cuda, name, function)
    cuda.random.device_count = cuda.device_count  # imported by name there
    cuda.streams.Stream, cuda.streams.Event = Stream, torch.Event
    torch.backends.cuda.is_built = lambda: True
    storages: Any = torch.UntypedStorage
    plain = storages.resize_
    storages.resize_ = lambda storage, size: (_resize if storage.device.type == "cuda" else plain)(storage, size)
    # The first generator of each card is its default one.
    cuda.default_generators = tuple(torch.Generator(f"cuda:{index}") for index in range(asked.count))


def _resize(storage: Any, size: int) -> Any:
    fake_card.native.fake_resize(ctypes.c_void_p(storage._cdata), ctypes.c_size_t(size))
    return storage


def _lowlevel(card: fake_card.Card) -> dict[str, Any]:
    def current_stream(index: int | None) -> tuple[int, int, int]:
        found = torch.accelerator.current_stream(torch.device("cuda", _get_device_index(index, optional=True)))
        return found.stream_id, found.device_index, found.device_type

    def set_stream(stream_id: int, device_index: int, device_type: int) -> None:
        stream = Stream(stream_id=stream_id, device_index=device_index, device_type=device_type)
        device = LOWLEVEL._accelerator_getDeviceIndex()
        torch.accelerator.set_stream(stream)  # which makes its card the current one
        LOWLEVEL._accelerator_setDeviceIndex(device)

    return {
        "_cuda_getDevice": LOWLEVEL._accelerator_getDeviceIndex,
        "_cuda_setDevice": LOWLEVEL._accelerator_setDeviceIndex,
        "_cuda_synchronize": lambda: LOWLEVEL._accelerator_synchronizeDevice(LOWLEVEL._accelerator_getDeviceIndex()),
        "_cuda_getCurrentStream": current_stream,
        "_cuda_setStream": set_stream,
        "_cuda_memoryStats": LOWLEVEL._accelerator_getDeviceStats,
        "_cuda_resetPeakMemoryStats": LOWLEVEL._accelerator_resetPeakStats,
        "_cuda_emptyCache": LOWLEVEL._accelerator_emptyCache,
        "_cuda_getArchFlags": lambda: " ".join(card.build["archs"]),
        "_host_emptyCache": lambda: None,
        "_accelerator_emptyHostCache": lambda: None,
        # torch._inductor.cudagraph_trees, which resetting compiled code imports, imports it.
        "_cuda_CUDAAllocator_AllocatorState": type("AllocatorState", (), {}),
    }


def _cuda(card: fake_card.Card, asked: fake_card.Wanted) -> dict[str, Any]:
    def properties(index: int) -> Any:
        given = {"multi_processor_count": 1, "integrated": False, **card.properties}
        return SimpleNamespace(
            **given,
            gcnArchName=given.get("arch_name", ""),
            uuid=f"{index:08x}-0000-0000-0000-000000000000",
            pci_domain_id=0,
            pci_bus_id=16 + index,
            pci_device_id=0,
            is_integrated=int(given["integrated"]),
        )

    # Two functions: Dynamo refuses one of two names.
    def exchange(index: int) -> int:
        return int(LOWLEVEL._accelerator_exchangeDevice(index))

    def maybe_exchange(index: int) -> int:
        return exchange(index)

    def memory_info(device: Any = None) -> tuple[int, int]:
        free, total = LOWLEVEL._accelerator_getMemoryInfo(_get_device_index(device, optional=True))
        return free, total

    card.properties["total_memory"] = asked.memory_bytes
    return {
        "_initialized": True,
        "is_available": lambda: True,
        "device_count": lambda: asked.count,
        "_get_device_properties": properties,
        "_exchange_device": exchange,
        "_maybe_exchange_device": maybe_exchange,
        "mem_get_info": memory_info,
        "is_bf16_supported": lambda including_emulation=True: including_emulation or card.properties["major"] >= 8,
        "Stream": Stream,
        "Event": torch.Event,
    }
