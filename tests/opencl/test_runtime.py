"""The OpenCL runtime on whatever device is here: fusion, memory, programs on disk, errors."""

import gc
import types

import numpy as np
import pytest

from hal.contract.plan import Plan
from hal.errors import OutOfMemoryError, RunError, UnsupportedError


def launches(roots, runtime, *, fuse=True):
    from hal.backends.opencl.schedule import schedule

    return [launch.kernel.label for launch in schedule(roots, runtime.facts, fuse=fuse).launches]


class TestFusion:
    def test_a_chain_is_one_kernel(self, xp, runtime):
        x = xp.ones((4, 5)) + xp.asarray(np.ones((4, 5), np.float32))
        chain = xp.sqrt(xp.exp(x) + 1) * x
        assert len(launches([chain], runtime)) == 1
        assert len(launches([chain], runtime, fuse=False)) == 5

    def test_a_reduction_reads_through_a_chain_and_goes_on(self, xp, runtime):
        x = xp.asarray(np.ones((4, 5), np.float32))
        assert len(launches([xp.mean(x * x, axis=1) + 1], runtime)) == 1

    def test_bias_and_activation_follow_a_product(self, xp, runtime):
        x, w, b = (xp.asarray(np.ones(shape, np.float32)) for shape in ((4, 8), (8, 16), (16,)))
        assert len(launches([xp.tanh(xp.linear(x, w, b))], runtime)) == 1

    def test_what_is_wanted_on_the_way_keeps_its_memory(self, backend, device, xp):
        """A result that has the memory of a reduction, and is computed with further."""

        def stopped(x):
            y = xp.stop_gradient(xp.sum(x, axis=0))
            return y, xp.exp(y)

        def step(params, x):
            def loss(params):
                return xp.mean(xp.square(xp.linear(x, params["w"], params["b"]))), ()

            (value, _), gradients = backend.value_and_grad(loss)(params)
            return value, gradients, {k: params[k] - 0.1 * gradients[k] for k in params}

        x = backend.from_host(np.ones((5, 4), np.float32), device)
        plan = Plan(compile="default").resolve(device)
        y, more = backend.compile(stopped, plan)(x)
        np.testing.assert_allclose(backend.to_host(y), np.full(4, 5.0))
        np.testing.assert_allclose(backend.to_host(more), np.exp(np.full(4, 5.0)), rtol=1e-6)
        params = {"w": backend.from_host(np.ones((4, 3), np.float32), device)}
        params["b"] = backend.from_host(np.ones(3, np.float32), device)
        _, gradients, new = backend.compile(step, plan)(params, x)
        np.testing.assert_allclose(backend.to_host(gradients["b"]), np.full(3, 10 / 3), rtol=1e-6)
        np.testing.assert_allclose(backend.to_host(new["b"]), np.full(3, 1 - 1 / 3), rtol=1e-6)

    def test_an_optimizer_shares_launches(self, backend, xp, runtime):
        params = {str(n): xp.asarray(np.ones((n, 3), np.float32)) for n in range(1, 6)}
        optimizer = backend.optimizer("adam", {})
        new, state = optimizer.update(params, optimizer.init(params), params, 0.1)
        roots = [*new.values(), *state["mean"].values(), *state["square"].values(), state["step"]]
        assert len(launches(roots, runtime)) == 2

    def test_movements_cost_no_kernel(self, xp, runtime):
        x = xp.asarray(np.arange(24, dtype=np.float32).reshape(2, 3, 4))
        moved = xp.flip(xp.permute_dims(x, (2, 0, 1)), axis=0)[1:, ...]
        assert len(launches([moved + 1], runtime)) == 1


class TestFunctions:
    def test_a_rectifier_hides_no_nan(self, backend, device, xp):
        """As PyTorch's, it passes NaN on, and a gradient through NaN."""
        x = backend.from_host(np.array([np.nan, -1, 0, 2], np.float32), device)
        np.testing.assert_array_equal(backend.to_host(xp.relu(x)), [np.nan, 0, 0, 2])
        _, gradient = backend.value_and_grad(lambda x: (xp.sum(xp.relu(x)), ()))(x)
        np.testing.assert_array_equal(backend.to_host(gradient), [1, 0, 0, 1])


class TestRounding:
    def test_a_product_is_rounded_before_it_is_added_to(self, runtime):
        """A fused multiply-add would leave 2**-24 here."""
        import pyopencl as cl

        source = "__kernel void difference(__global float *out, float x, float y) { out[0]=x*x-y; }"
        kernel = cl.Kernel(runtime._built([source]), "difference")
        storage = runtime.allocate(4)
        kernel(runtime.queue, (1,), (1,), storage.buffer, np.float32(1 + 2**-12), np.float32(1 + 2**-11))
        assert runtime.download(storage, (), np.dtype(np.float32)) == 0

    def test_products_of_matrices_may_be_fused(self, xp, runtime):
        from hal.backends.opencl.schedule import schedule

        x = xp.asarray(np.ones((16, 16), np.float32))
        sources = [launch.kernel.source for launch in schedule([x @ x, x * x], runtime.facts, fuse=True).launches]
        assert sorted("FP_CONTRACT ON" in source for source in sources) == [False, True]

    @pytest.mark.parametrize(("config", "exact"), [(191, True), (63, False)])
    def test_division_is_exact_where_the_device_can(self, config, exact):
        pytest.importorskip("pyopencl")
        from hal.backends.opencl.runtime import options_of

        options = options_of(types.SimpleNamespace(single_fp_config=config))
        assert ("-cl-fp32-correctly-rounded-divide-sqrt" in options) is exact


class TestMemory:
    def test_memory_is_given_back_and_used_again(self, backend, device, runtime):
        first = backend.from_host(np.ones(1000, np.float32), device)
        held, address = runtime.allocated_bytes, first.storage.buffer.int_ptr
        del first
        gc.collect()
        assert runtime.allocated_bytes < held
        again = backend.from_host(np.zeros(1000, np.float32), device)
        assert again.storage.buffer.int_ptr == address

    @pytest.mark.usefixtures("poisoned")
    def test_a_step_reads_nothing_that_was_given_back(self, backend, device, xp):
        """No result may show what fills memory that was given back."""
        rng = np.random.default_rng(0)
        w, v, x = (rng.standard_normal(shape).astype(np.float32) for shape in ((6, 16), (16, 3), (8, 6)))

        def loss(params, x):
            hidden = xp.tanh(xp.linear(x, params["w"]))
            return xp.mean(xp.cross_entropy(xp.linear(hidden, params["v"]), xp.argmax(x[:, :3], axis=1))), ()

        step = backend.compile(backend.value_and_grad(loss), Plan(compile="default").resolve(device))
        eager = backend.compile(backend.value_and_grad(loss), Plan(compile="eager").resolve(device))
        params = {"w": backend.from_host(w, device), "v": backend.from_host(v, device)}
        found = []
        for run in (eager, step, step):
            (value, _), gradients = run(params, backend.from_host(x, device))
            found.append([backend.to_host(array) for array in (value, gradients["w"], gradients["v"])])
        for again in found[1:]:
            for one, other in zip(found[0], again, strict=True):
                assert np.isfinite(other).all()
                np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)

    def test_a_program_keeps_no_memory_that_others_need(self, backend, device, xp, runtime, monkeypatch):
        """What a compiled function was last run with is given back when the device has no more."""
        import pyopencl as cl

        class Limited(cl.Buffer):
            held = counted = 0

            def __init__(self, context, flags, size):
                if Limited.held + size > 8 << 20:
                    raise cl.MemoryError("clCreateBuffer", cl.status_code.MEM_OBJECT_ALLOCATION_FAILURE)
                super().__init__(context, flags, size)
                self.counted = size
                Limited.held += size

            def __del__(self):
                Limited.held -= self.counted

        gc.collect()
        runtime.release_pool()
        monkeypatch.setattr(cl, "Buffer", Limited)
        run = backend.compile(lambda x: xp.exp(xp.flip(xp.sort(x))), Plan(compile="default").resolve(device))
        x = np.linspace(0, 1, 1 << 18, dtype=np.float32)
        for _ in range(2):
            found = backend.to_host(run(backend.from_host(x, device)))
            np.testing.assert_allclose(found, np.exp(x[::-1]), rtol=1e-6)
            large = backend.from_host(np.ones(7 << 18, np.float32), device)
            del large
        del run
        gc.collect()
        runtime.release_pool()
        assert Limited.held == 0

    def test_programs_go_with_their_function(self, backend, device):
        from hal.backends.opencl import compiling

        run = backend.compile(lambda x: x + 1, Plan(compile="default").resolve(device))
        run(backend.from_host(np.ones(3, np.float32), device))
        held = len(compiling._PROGRAMS)
        del run
        gc.collect()
        assert len(compiling._PROGRAMS) == held - 1

    def test_more_than_a_device_has(self, backend, xp):
        with pytest.raises(OutOfMemoryError, match="at most"):
            backend.to_host(xp.ones((2**46,)) + 1)

    def test_a_driver_without_memory(self, backend, xp, runtime, monkeypatch):
        """What the driver raises is named, after unused memory was given back to it."""
        import pyopencl as cl

        def fails(*_):
            raise cl.MemoryError("clCreateBuffer", cl.status_code.MEM_OBJECT_ALLOCATION_FAILURE)

        monkeypatch.setattr(cl, "Buffer", fails)
        runtime.release_pool()
        with pytest.raises(cl.MemoryError) as caught:
            backend.to_host(xp.ones((123, 457)) * 3)
        assert isinstance(backend.classify(caught.value), OutOfMemoryError)


def _descent(backend, xp, x, carried):
    """One value in each turn; the parameters are carried on."""

    def loss(w):
        return xp.mean(xp.square(xp.matmul(xp.tanh(xp.matmul(x, w)), w))), ()

    (value, _), gradient = backend.value_and_grad(loss)(carried[0])
    return value, (carried[0] - 0.01 * gradient,)


def _state(backend, xp, x, carried):
    """A state that the value of the turn is computed from as well."""
    h = xp.tanh(xp.matmul(carried[0], x)) + 0.1
    return xp.sum(h * h), (h,)


def _cheap(backend, xp, x, carried):
    """As before; the state alone would be computed within the kernel that reads it."""
    h = carried[0] * 0.5 + x
    return xp.sum(h), (h,)


class TestLoops:
    """Loops outside of compiled functions that ask for one value in each turn."""

    @pytest.mark.usefixtures("poisoned")
    @pytest.mark.parametrize("turn", [_descent, _state, _cheap])
    def test_no_work_is_done_twice(self, backend, device, xp, runtime, monkeypatch, turn):
        from hal.backends.opencl.execution import Program

        run, counts, held, values = Program.run, [], [], []

        def counted(self, inputs):
            counts.append(len(self.launches))
            return run(self, inputs)

        monkeypatch.setattr(Program, "run", counted)
        start = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
        x = backend.from_host(start / 8, device)
        carried = (backend.from_host(start, device),)
        for _ in range(60):
            value, carried = turn(backend, xp, x, carried)
            values.append(float(value))
            held.append(runtime.allocated_bytes)
        # A state that costs next to nothing is computed again for up to 40 turns.
        assert sum(counts[31:]) <= sum(counts[1:30]) + 2
        assert max(held[30:]) <= 1.2 * max(held[:30])
        again, carried = [], (start,)
        for _ in range(60):
            value, carried = turn(backend, xp, x, [xp.asarray(np.asarray(array)) for array in carried])
            again.append(float(value))
        np.testing.assert_allclose(values, again, rtol=1e-4)

    def test_what_nobody_asked_for_waits(self, xp):
        x = xp.asarray(np.ones(4, np.float32))
        wanted = xp.exp(x)
        other = xp.cumulative_sum(wanted)
        wanted.tolist()
        assert other.storage is None
        np.testing.assert_allclose(other.tolist(), np.e * np.arange(1, 5), rtol=1e-6)

    def test_a_value_within_a_traced_function_computes_nothing_of_it(self, backend, device, xp):
        x = backend.from_host(np.full(3, 2.0, np.float32), device)
        shared = xp.exp(x)

        def traced(y):
            product = y * shared
            return product + float(xp.sum(shared))

        found = backend.compile(traced, Plan(compile="default").resolve(device))(x)
        np.testing.assert_allclose(backend.to_host(found), 5 * np.exp(2.0), rtol=1e-6)


class TestPrograms:
    def test_a_damaged_program_is_built_again(self, backend, xp, runtime, tmp_path, monkeypatch):
        from hal.backends.opencl.program_cache import load_binary

        monkeypatch.setenv("HAL_OPENCL_CACHE", str(tmp_path))
        monkeypatch.setattr(runtime, "stores_programs", True)
        expected = np.full((3, 5), 1.0625, np.float32)

        def fresh():
            monkeypatch.setattr(runtime, "_programs", {})
            return backend.to_host(xp.asarray(np.ones((3, 5), np.float32)) * 1.0625)

        assert np.array_equal(fresh(), expected)
        (file,) = tmp_path.glob("*.bin")
        whole = file.read_bytes()
        assert np.array_equal(fresh(), expected)
        for damaged in (b"", whole[:-7], whole[:40] + bytes(len(whole) - 40)):
            file.write_bytes(damaged)
            assert np.array_equal(fresh(), expected)
            assert load_binary(file.stem) is not None

    def test_programs_are_not_kept_twice(self, backend, xp, runtime, tmp_path, monkeypatch):
        from hal.backends.opencl.decisions import keeps_programs
        from hal.backends.opencl.platforms import find

        driver = next(driver for _, native, driver in find().devices if native == runtime.native)
        assert runtime.stores_programs is not keeps_programs(driver)
        monkeypatch.setenv("HAL_OPENCL_CACHE", str(tmp_path))
        monkeypatch.setattr(runtime, "stores_programs", False)
        backend.to_host(xp.asarray(np.ones((3, 5), np.float32)) * 1.015625)
        assert not [*tmp_path.iterdir()]

    def test_a_kernel_that_does_not_build(self, runtime):
        with pytest.raises(RunError, match="refused a kernel"):
            runtime._built(["__kernel void broken(__global float *out) { out[0]=nothing; }"])

    def test_other_numbers_need_no_other_program(self, backend, device, xp):
        """A learning rate is a value of a program, not a part of it."""
        seen = []

        def step(x, lr):
            seen.append(1)
            return x * lr

        run = backend.compile(step, Plan(compile="default").resolve(device))
        x = backend.from_host(np.ones(3, np.float32), device)
        assert [backend.to_host(run(x, lr))[0] for lr in (0.5, 0.25, 2.0)] == [0.5, 0.25, 2.0]
        assert len(seen) == 1


class TestRefusals:
    def test_a_value_while_a_function_is_compiled(self, backend, device, xp):
        run = backend.compile(lambda x: x + 1 if float(xp.sum(x)) > 0 else x, Plan(compile="default").resolve(device))
        with pytest.raises(UnsupportedError, match="while a function was being compiled"):
            run(backend.from_host(np.ones(3, np.float32), device))

    def test_an_array_that_is_not_on_the_device(self, backend, device):
        run = backend.compile(lambda x, y: x + 1, Plan(compile="default").resolve(device))
        with pytest.raises(UnsupportedError, match=r"(?s)given a numpy.ndarray.*from_host"):
            run(backend.from_host(np.ones(3, np.float32), device), np.ones(3, np.float32))

    def test_types_that_opencl_has_not(self, xp):
        with pytest.raises(UnsupportedError, match="not part of OpenCL"):
            xp.astype(xp.ones(2), xp.bfloat16)

    def test_another_device(self, backend, xp):
        with pytest.raises(UnsupportedError, match="is not a device of the opencl backend"):
            xp.zeros(2, device="opencl:gpu:99")


class TestRandom:
    def test_known_answers(self, backend, device, xp):
        """Threefry 2x32 with 20 rounds, from the test vectors of Random123."""
        from hal.backends._traced import dtypes
        from hal.backends.opencl import primitives as p

        for words, expected in (
            ((0, 0, 0, 0), (0x6B200159, 0x99BA4EFE)),
            ((0xFFFFFFFF,) * 4, (0x1CB996FC, 0xBB002BE7)),
            ((0x13198A2E, 0x03707344, 0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
        ):
            parts = [backend.from_host(np.array([word], np.uint32), device) for word in words]
            found = [p.mapped(f"threefry_{which}", parts, dtypes.uint32) for which in ("first", "second")]
            assert [int(backend.to_host(word)[0]) for word in found] == list(expected)
