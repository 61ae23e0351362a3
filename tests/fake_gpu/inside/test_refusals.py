"""What the card made of the processor refuses and counts, without hal: it must notice what a GPU would."""

import threading

import fake_card
import pytest
import torch


def freed():
    return fake_card.counters(1)["freed_in_use"]


def copied_on(stream):
    """A copy that is on its way on a stream, and the event that says when it has arrived."""
    with torch.cuda.stream(stream):
        host = torch.empty(1000, pin_memory=True).fill_(1)
        return host.to("cuda", non_blocking=True), stream.record_event()


def test_it_computes_as_the_processor():
    x = torch.randn(3, 5, 4, 4)
    there = x.to("cuda")
    assert there.device == torch.device("cuda", 0)
    assert torch.equal((there @ there).relu().cpu(), (x @ x).relu())
    assert torch.equal(torch.arange(7, device="cuda").cpu(), torch.arange(7))
    kernel = torch.randn(2, 5, 3, 3)
    assert torch.equal(torch.conv2d(there, kernel.to("cuda")).cpu(), torch.conv2d(x, kernel))


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
@pytest.mark.filterwarnings("ignore:PyTorch was compiled without cuDNN")
def test_recurrent_layers_and_their_gradients(cell):
    layer = getattr(torch.nn, cell)(4, 8, batch_first=True)
    x = torch.randn(2, 5, 4)
    found = {}
    for device in ("cpu", "cuda"):
        layer.to(device).zero_grad()
        ys = layer(x.to(device))[0]
        ys.square().sum().backward()
        found[device] = [ys.detach().cpu(), *(p.grad.to("cpu", copy=True) for p in layer.parameters())]
    for mine, wanted in zip(found["cuda"], found["cpu"], strict=True):
        torch.testing.assert_close(mine, wanted)


def test_batch_statistics_are_written_in_place():
    mean, variance, x = torch.zeros(3), torch.ones(3), torch.randn(4, 3)
    there = [each.to("cuda") for each in (x, mean, variance)]
    torch.nn.functional.batch_norm(*there, training=True)
    torch.nn.functional.batch_norm(x, mean, variance, training=True)
    torch.testing.assert_close([each.cpu() for each in there], [x, mean, variance])


def test_generators_are_seeded_and_restored():
    torch.manual_seed(3)
    first = torch.rand(4, device="cuda")
    with torch.random.fork_rng(devices=[0]):
        torch.manual_seed(3)
        assert torch.equal(torch.rand(4, device="cuda"), first)
    assert not torch.equal(torch.rand(4, device="cuda"), first)
    assert torch.equal(torch.rand(4, device="cuda", generator=torch.Generator("cuda").manual_seed(3)), first)


def test_two_devices_in_one_operation():
    with pytest.raises(RuntimeError, match=r"all tensors to be on the same device.*cuda:0 and cpu"):
        torch.ones(3, device="cuda") + torch.ones(3)
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator"):
        torch.rand(3, device="cuda").normal_(generator=torch.Generator())


def test_fresh_memory_is_not_zero():
    assert bool((torch.empty(1000, device="cuda") > 1e38).all())


def test_memory_is_counted_and_limited():
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    held = torch.zeros(1 << 20, device="cuda")
    assert torch.cuda.memory_allocated() - before == 4 << 20
    held.untyped_storage().resize_(0)
    assert torch.cuda.memory_allocated() == before
    assert torch.cuda.max_memory_allocated() - before == 4 << 20
    with pytest.raises(torch.OutOfMemoryError, match="total capacity of 1024 MiB"):
        torch.empty(1 << 30, device="cuda")


def test_a_copy_that_nobody_waited_for():
    copied, arrived = copied_on(torch.cuda.Stream())
    with pytest.raises(RuntimeError, match="wrong-stream use: aten::sum on stream 0"):
        copied.sum()
    torch.cuda.current_stream().wait_event(arrived)
    assert float(copied.sum()) == 1000


@pytest.mark.parametrize("wait", ["device", "stream", "event"])
def test_the_host_may_wait_too(wait):
    stream = torch.cuda.Stream()
    copied, arrived = copied_on(stream)
    {"device": torch.cuda.synchronize, "stream": stream.synchronize, "event": arrived.synchronize}[wait]()
    assert float(copied.sum()) == 1000


def test_a_kernel_on_another_stream():
    x, stream = torch.ones(10, device="cuda"), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        y = x + 1
    with pytest.raises(RuntimeError, match="wrong-stream use: aten::add "):
        x.add_(1)  # the stream still reads it
    torch.cuda.current_stream().wait_stream(stream)
    assert float((x.add_(1) + y).sum()) == 40


@pytest.mark.parametrize("recorded", [False, True])
def test_memory_freed_while_a_stream_uses_it(recorded):
    before = freed()
    copied, arrived = copied_on(torch.cuda.Stream())
    torch.cuda.current_stream().wait_event(arrived)
    total = copied.sum()
    if recorded:
        copied.record_stream(torch.cuda.current_stream())
    del copied
    assert freed() == before + (not recorded)
    assert float(total) == 1000


def test_the_current_stream_is_a_threads():
    stream, seen = torch.cuda.Stream(), []
    with torch.cuda.stream(stream):
        thread = threading.Thread(target=lambda: seen.append(torch.cuda.current_stream()))
        thread.start()
        thread.join()
        assert torch.cuda.current_stream() == stream
    assert seen == [torch.cuda.current_stream()]


# torch.compile imports parts of PyTorch that warn about themselves; TorchInductor advises every user of float32.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")
class TestCompiled:
    """What TorchInductor would compile is traced; mode max-autotune has the memory of CUDA graphs."""

    @staticmethod
    def compiled(fn, mode):
        return torch.compile(fn, mode=mode, dynamic=False)

    @pytest.mark.parametrize("mode", ["default", "max-autotune", "max-autotune-no-cudagraphs"])
    def test_results_of_the_next_call(self, mode):
        twice = self.compiled(lambda x: x * 2, mode)
        x = torch.ones(4, device="cuda")
        first = twice(x)
        second = twice(x + 1)
        assert second.tolist() == [4.0] * 4
        if mode == "max-autotune":
            with pytest.raises(RuntimeError, match="overwritten by a subsequent run"):
                first.sum()
        else:
            assert first.tolist() == [2.0] * 4

    def test_results_of_one_step_live_until_the_next(self):
        x = torch.ones(4, device="cuda", requires_grad=True)
        loss = self.compiled(lambda x: (x * x).sum(), "max-autotune")
        value = loss(x)
        value.backward()
        assert float(value.detach()) == 4
        assert x.grad.tolist() == [2.0] * 4


def test_a_lost_context():
    x = torch.ones(3, device="cuda")
    fake_card.lose_context()
    for use in (lambda: x + 1, x.cpu, torch.cuda.synchronize, lambda: torch.empty(3, device="cuda")):
        with pytest.raises(torch.AcceleratorError, match="illegal memory access") as caught:
            use()
        assert caught.value.error_code == 700
