"""What several processes would do, as far as one process can tell: shares of draws, devices, the launcher's words."""

import numpy as np
import pytest
import torch
from card_helpers import CARDS, build, properties

import hal
from hal import ops, registry
from hal.backends.cuda import CudaBackend
from hal.backends.cuda import decisions as cuda
from hal.backends.cuda.host import Host
from hal.backends.rocm import RocmBackend
from hal.backends.rocm import decisions as rocm
from hal.contract.plan import Plan
from hal.errors import ConfigError, DeviceLostError, UnavailableError
from hal.processes.rendezvous import Rendezvous, exported, from_environment
from hal.tensor import Key
from hal.tensor.random import Share


@pytest.fixture(scope="module", autouse=True)
def serving():
    hal.device("cpu").xp  # noqa: B018 - from now on hal.ops serves tensors


# Draws


def together(draw, size, rows, parts=1):
    """What each of several processes draws, put together part by part as the whole batch is."""
    drawn = [draw(Key(7, Share(rank, size, rows, parts))) for rank in range(size)]
    pieces = [each.reshape(parts, each.shape[0] // parts, *each.shape[1:]) for each in drawn]
    return torch.cat([piece[part] for part in range(parts) for piece in pieces])


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("name", ["uniform", "normal"])
def test_processes_draw_what_one_would(name, parts):
    like, draw = torch.zeros(()), getattr(ops, name)
    whole = draw(Key(7), (24, 3, 2), like=like)
    assert torch.equal(together(lambda key: draw(key, (8, 3, 2), like=like), 3, 8, parts), whole)
    features = draw(Key(7), (72, 5), like=like)  # batch and time in one axis
    assert torch.equal(together(lambda key: draw(key, (24, 5), like=like), 3, 8), features)
    alike = [draw(Key(7, Share(rank, 3, 8)), (5,), like=like) for rank in range(3)]
    assert torch.equal(alike[0], alike[2]), "what is not of the batch is drawn alike by all"


@pytest.mark.parametrize(
    ("order", "rows"),
    [((0, 1, 2, 3), 4), ((0, 3, 1, 2), 4), ((1, 0, 2, 3), 4), ((0, 1, 2, 3), 1), ((0, 3, 1, 2), 1)],
)
def test_dropout_in_each_storage_order(order, rows):
    """PyTorch fills memory in its order, whatever the axes mean."""
    size = 2
    shape = (rows * size, 3, 5, 4)
    back = [order.index(axis) for axis in range(4)]
    x = torch.ones([shape[axis] for axis in order]).permute(back)
    part = torch.ones([(rows, *shape[1:])[axis] for axis in order]).permute(back)
    whole = ops.dropout(x, 0.5, Key(7))
    assert torch.equal(together(lambda key: ops.dropout(part, 0.5, key), size, rows), whole)
    assert 0 < int((whole == 0).sum()) < whole.numel()


def test_keys_keep_their_share():
    key = Key(7, Share(1, 2, 4))
    assert key.fold_in(3).share == key.share
    assert key.fold_in(3).seed == Key(7).fold_in(3).seed
    assert [each.share for each in key.split(2)] == [key.share] * 2


def test_rows_of_parts():
    batch = np.arange(12)
    assert [Share(rank, 2, 6, 3).of(batch).tolist() for rank in (0, 1)] == [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]


# Devices


def recorded(*names):
    return build(CARDS[names[0]]["build"], *map(properties, names))


def test_cards_like_each_other_take_part(monkeypatch):
    installed = recorded("h200_sxm5_141gb", "a100_sxm4_80gb", "h200_sxm5_141gb", "h200_sxm5_141gb")
    host = Host(driver="580.65.06", cuda=(13, 0), cards=("NVIDIA H200",))
    devices = cuda.describe(installed, host)
    assert [device.capabilities.spread for device in devices] == [3, 1, 3, 3]
    assert {device.capabilities.parallel for device in devices} == {("dp", "fsdp")}
    backend, plan = CudaBackend(), Plan(parallel="dp=4")
    assert (backend.processes(plan), backend.processes(Plan())) == (4, 1)
    monkeypatch.setattr(CudaBackend, "devices", lambda self: devices)
    assert [backend.local_device(devices[0], plan, rank).index for rank in range(3)] == [0, 2, 3]
    assert [backend.local_device(devices[2], plan, rank).index for rank in range(3)] == [2, 0, 3]
    with pytest.raises(UnavailableError, match=r"only 3 of the kind of cuda:0 \(NVIDIA H200\)"):
        backend.local_device(devices[0], plan, 3)


def test_a_slice_of_a_card_is_alone():
    installed = recorded("a100_80gb_mig_1g_10gb", "a100_80gb_mig_1g_10gb")
    host = Host(driver="580.65.06", cuda=(13, 0), cards=("NVIDIA A100",))
    assert {device.capabilities.spread for device in cuda.describe(installed, host)} == {1}


def test_cards_of_the_other_vendor(monkeypatch):
    devices = rocm.describe(recorded("mi300x", "mi300x"), {})
    assert [device.capabilities.spread for device in devices] == [2, 2]
    monkeypatch.setattr(RocmBackend, "devices", lambda self: devices)
    plan = Plan(batch=128, parallel="fsdp=2").resolve(devices[0])
    assert RocmBackend().local_device(devices[0], plan, 1).index == 1


def test_the_processor_takes_part_as_often_as_it_has_cores():
    device = hal.device("cpu")
    cores = device.compute_units
    assert device.capabilities.spread == cores
    backend = registry.backend("cpu")
    assert backend.local_device(device, Plan(parallel=f"dp={cores}"), cores - 1) == device
    with pytest.raises(UnavailableError, match="needs one core per process"):
        backend.local_device(device, Plan(parallel=f"dp={cores + 1}"), cores)


# Launchers


def test_variables_of_a_launcher():
    assert from_environment({}) is None
    assert from_environment({"WORLD_SIZE": "1", "RANK": "0"}) is None
    world = Rendezvous(3, 4, 1, 2, "10.0.0.1", 29500)
    assert from_environment(world.variables()) == world
    with pytest.raises(ConfigError, match="RANK"):
        from_environment({"WORLD_SIZE": "2"})
    with pytest.raises(ConfigError, match="not a number"):
        from_environment({**world.variables(), "MASTER_PORT": "x"})


def test_variables_are_put_back(monkeypatch):
    monkeypatch.setenv("RANK", "5")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with exported(Rendezvous(1, 2, 1, 2, "127.0.0.1", 1)):
        assert from_environment().rank == 1
    with exported(Rendezvous(1, 2, 1, 2, folder="/some/folder")):
        assert from_environment() == Rendezvous(1, 2, 1, 2, folder="/some/folder")
        assert "MASTER_PORT" not in from_environment().variables()
    assert from_environment() is None
    with monkeypatch.context() as inner:
        inner.setenv("WORLD_SIZE", "1")
        assert from_environment() is None


def test_a_lost_peer_is_named_by_the_backend():
    said = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]:26214"
    backend = registry.backend("cpu")
    for error in (RuntimeError(said), torch.distributed.DistNetworkError("connection lost")):
        assert isinstance(backend.classify(error), DeviceLostError)
    assert backend.classify(RuntimeError("something else")) is None
