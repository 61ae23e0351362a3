"""The search of ``compile=max``, by times that the tests make, and once by real ones."""

import itertools
import types

import numpy as np
import pytest

from hal.contract.plan import Plan
from hal.errors import RunError, UnsupportedError


@pytest.fixture(autouse=True)
def empty(monkeypatch, tmp_path):
    monkeypatch.setenv("HAL_OPENCL_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def timed(monkeypatch):
    """Replaces the clock: a test says how long a kernel takes, and reads which were timed together."""
    from hal.backends.opencl.searching import Search

    clock = types.SimpleNamespace(seconds=lambda kernel, position: 1.0, rounds=[])

    def times(self, kernels, result, wide):
        clock.rounds.append([kernel.name for kernel in kernels])
        return [clock.seconds(kernel, position) for position, kernel in enumerate(kernels)]

    monkeypatch.setattr(Search, "_times", times)
    return clock


def source_name(source):
    return source.split("(")[0].split()[-1]


def product(xp, runtime, shapes=((96, 64), (64, 96)), pick=...):
    """The kernel of a product of two matrices, as ``compile=max`` picks it, or as the choices that hold now say."""
    from hal.backends.opencl.schedule import schedule
    from hal.backends.opencl.searching import Search

    a, b = (xp.asarray(np.ones(shape, np.float32)) for shape in shapes)
    planned = schedule([a @ b], runtime.facts, fuse=True, pick=Search(runtime) if pick is ... else pick).launches
    (kernel,) = [launch.kernel for launch in planned if launch.kernel.flops]
    return kernel


def test_the_fastest_kernel_is_taken_in_each_round(xp, runtime, timed):
    timed.seconds = lambda kernel, position: 1.0 / (1 + position)
    kernel = product(xp, runtime)
    assert len(timed.rounds[0]) > 2
    assert kernel.name == timed.rounds[-1][-1]
    # The next round starts from what won before.
    assert all(later[0] == earlier[-1] for earlier, later in itertools.pairwise(timed.rounds))


def test_the_plans_own_stays_unless_another_is_clearly_faster(xp, runtime, timed):
    timed.seconds = lambda kernel, position: 1.0 if position == 0 else 0.98
    assert product(xp, runtime).name == timed.rounds[0][0]


def test_what_won_is_taken_again_without_timing(xp, runtime, timed, empty):
    timed.seconds = lambda kernel, position: 1.0 / (1 + position)
    kernel = product(xp, runtime)
    count = len(timed.rounds)
    assert product(xp, runtime).name == kernel.name
    assert len(timed.rounds) == count
    for file in empty.glob("*.bin"):
        file.write_bytes(file.read_bytes()[:-1])
    assert product(xp, runtime).name == kernel.name
    assert len(timed.rounds) == 2 * count


def test_each_product_is_timed_for_itself(xp, runtime, timed):
    product(xp, runtime)
    count = len(timed.rounds)
    product(xp, runtime, ((32, 160), (160, 16)))
    assert len(timed.rounds) > count


def test_real_times_give_a_kernel_with_the_same_results(backend, device):
    generator = np.random.default_rng(0)
    shapes = ((8, 12, 12, 3), (363, 5), (2, 2, 3, 3))
    xs, ws, ks = (generator.standard_normal(shape).astype(np.float32) for shape in shapes)

    def loss(params, x):
        ops = backend.ops(device)
        y = ops.relu(ops.conv2d(x, params["k"], None, padding="valid"))
        return ops.mean(ops.square(ops.linear(ops.reshape(y, (8, -1)), params["w"], None))), ()

    def step(params, x):
        return backend.value_and_grad(loss)(params, x)

    found = {}
    for mode in ("default", "max"):
        plan = Plan(compile=mode).resolve(device)
        params = {"k": backend.from_host(ks, device), "w": backend.from_host(ws, device)}
        (value, _), gradients = backend.compile(step, plan)(params, backend.from_host(xs, device))
        found[mode] = [backend.to_host(each) for each in (value, gradients["k"], gradients["w"])]
    for mine, theirs in zip(found["max"], found["default"], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("when", ["built", "launched"])
def test_a_kernel_that_the_driver_refuses_is_not_taken(xp, runtime, monkeypatch, when):
    import pyopencl as cl

    refused: set[str] = set()
    built, launch = runtime._built, cl.enqueue_nd_range_kernel

    def refuse_to_build(sources):
        if when == "built" and any("hal_" in source and source_name(source) in refused for source in sources):
            raise RunError("the OpenCL compiler refused a kernel")
        return built(sources)

    def refuse_to_launch(queue, kernel, items, local):
        if when == "launched" and kernel.function_name in refused:
            raise cl.RuntimeError("clEnqueueNDRangeKernel failed: OUT_OF_RESOURCES")
        return launch(queue, kernel, items, local)

    monkeypatch.setattr(runtime, "_programs", {})
    monkeypatch.setattr(runtime, "_built", refuse_to_build)
    monkeypatch.setattr(cl, "enqueue_nd_range_kernel", refuse_to_launch)
    from hal.backends.opencl.codegen.choices import choosing

    own = product(xp, runtime, pick=None)
    for tile in ("4x8", "4x4", "2x4"):  # of processors and of cards
        with choosing({"tile": tile}):
            refused.add(product(xp, runtime, pick=None).name)
    assert own.name not in refused
    assert product(xp, runtime).name not in refused


def test_a_plan_whose_own_kernel_is_refused_fails(xp, runtime, monkeypatch):
    def refuse(sources):
        raise RunError("the OpenCL compiler refused a kernel")

    monkeypatch.setattr(runtime, "_programs", {})
    monkeypatch.setattr(runtime, "_built", refuse)
    with pytest.raises(RunError, match="refused a kernel"):
        product(xp, runtime)


def test_nothing_of_the_search_stays_allocated(xp, runtime):
    a, b = (xp.asarray(np.ones((64, 64), np.float32)) for _ in range(2))
    from hal.backends.opencl.schedule import schedule
    from hal.backends.opencl.searching import Search

    before = runtime.allocated_bytes
    schedule([a @ b], runtime.facts, fuse=True, pick=Search(runtime))
    assert runtime.allocated_bytes == before


def test_keys_that_are_searched_are_not_chosen_beside_it(device):
    tile = device.capabilities.algorithms["tile"][1]
    with pytest.raises(UnsupportedError, match=f"tile={tile} is not supported .* together with compile=max"):
        Plan(compile="max", tile=tile).resolve(device)
