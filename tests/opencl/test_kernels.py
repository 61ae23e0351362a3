"""The kernels that are generated for devices other than the one that is here."""

import numpy as np
import pytest

import hal
from hal.contract.plan import Plan


class TestKernelsOfCards:
    """What is generated for devices that are no processors, one element a work-item, run on whatever is here."""

    @pytest.fixture
    def card(self, runtime, monkeypatch):
        from hal.backends.opencl.codegen.kernel import Facts

        monkeypatch.setattr(runtime, "facts", Facts(cpu=False, units=2, local_size=64))

    @pytest.mark.usefixtures("card")
    def test_they_compute_the_same(self, backend, xp):
        rng = np.random.default_rng(0)
        a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((70, 9), (9, 5)))
        x, y = xp.asarray(a), xp.asarray(b)
        for found, expected in (
            (xp.tanh(x @ y + 1), np.tanh(a @ b + 1)),
            (xp.sum(x * x, axis=0), (a * a).sum(axis=0)),
            (xp.argmax(x, axis=0), a.argmax(axis=0)),
            (xp.sort(x, axis=0), np.sort(a, axis=0)),
            (xp.cumulative_sum(x, axis=1), a.cumsum(axis=1)),
            (xp.concat([x, -x], axis=1), np.concatenate([a, -a], axis=1)),
            (xp.take(x, xp.asarray([3, 0, 3]), axis=0), a[[3, 0, 3]]),
        ):
            np.testing.assert_allclose(backend.to_host(found), expected, rtol=1e-5, atol=1e-5)

    @pytest.mark.usefixtures("poisoned")
    def test_a_training_step(self, backend, device, xp, runtime, monkeypatch):
        """Two convolutions and Adam, compiled for a large card, against the processor's kernels one by one."""
        from hal.backends.opencl.codegen.kernel import Facts

        rng = np.random.default_rng(0)
        shapes = {"k": (3, 3, 1, 8), "b": (8,), "l": (3, 3, 8, 16), "c": (16,), "w": (256, 10)}
        start = {
            name: (rng.standard_normal(s) / np.prod(s[:-1]) ** 0.5).astype(np.float32) for name, s in shapes.items()
        }
        images = rng.random((3, 16, 16, 16, 1)).astype(np.float32)
        labels = rng.integers(0, 10, (3, 16))

        def loss(p, x, y):
            hidden = xp.max_pool2d(xp.relu(xp.conv2d(x, p["k"], p["b"])))
            hidden = xp.max_pool2d(xp.relu(xp.conv2d(hidden, p["l"], p["c"])))
            return xp.mean(xp.cross_entropy(xp.linear(xp.reshape(hidden, (16, -1)), p["w"]), y)), ()

        optimizer = backend.optimizer("adam", {})

        def step(params, state, x, y):
            (value, _), gradients = backend.value_and_grad(loss)(params, x, y)
            params, state = optimizer.update(gradients, state, params, 3e-3)
            return value, params, state

        def trained(mode, facts):
            monkeypatch.setattr(runtime, "facts", facts)
            run = backend.compile(step, Plan(compile=mode).resolve(device))
            params = {name: backend.from_host(host, device) for name, host in start.items()}
            state, losses = optimizer.init(params), []
            for x, y in zip(images, labels, strict=True):
                value, params, state = run(params, state, *(backend.from_host(host, device) for host in (x, y)))
                losses.append(float(backend.to_host(value)))
            return losses, {name: backend.to_host(array) for name, array in params.items()}

        expected, weights = trained("eager", runtime.facts)
        losses, found = trained("default", Facts(cpu=False, units=132, local_size=1024))
        np.testing.assert_allclose(losses, expected, rtol=1e-5)
        for name, host in weights.items():
            np.testing.assert_allclose(found[name], host, atol=1e-4, err_msg=name)


CHOICES = [
    {"tile": "4x16", "workgroup": "8"},
    {"tile": "8x16", "workgroup": "1"},
    {"tile": "4x24", "sums": "whole"},
    {"tile": "4x8"},
]
CHOICES_OF_WIDE = [
    {},
    {"tile": "6x32", "workgroup": "8"},
    {"tile": "4x48", "workgroup": "1"},
    {"tile": "8x16", "sums": "whole"},
    {"tile": "6x16"},
]
"""Of processors whose vector registers hold 16 floats."""
CHOICES_OF_LAYERS = [{"recurrence": "whole"}, {"recurrence": "steps"}]
CHOICES_OF_CARDS = [
    {"tile": "4x8", "workgroup": "128"},
    {"tile": "8x4", "workgroup": "64"},
    {"tile": "8x8", "sums": "whole"},
    {"tile": "2x4"},
]


class TestChoices:
    """Each choice of kernels that a plan offers computes the same."""

    @pytest.mark.parametrize(
        ("facts", "key"),
        [
            *(({"cpu": True}, choice) for choice in CHOICES),
            *(({"cpu": True, "vector": 16}, choice) for choice in CHOICES_OF_WIDE),
            *(({"cpu": False}, choice) for choice in CHOICES_OF_CARDS),
        ],
    )
    def test_products(self, backend, xp, runtime, monkeypatch, facts, key):
        """Sizes that no tile divides, several products side by side, and what follows element by element."""
        from hal.backends.opencl.codegen.choices import choosing
        from hal.backends.opencl.codegen.kernel import Facts

        monkeypatch.setattr(runtime, "facts", Facts(**facts, units=2, local_size=256))
        rng = np.random.default_rng(0)
        a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 71, 37), (3, 37, 45)))
        with choosing(key):
            found = backend.to_host(xp.asarray(a) @ xp.asarray(b) + 1)
        np.testing.assert_allclose(found, a @ b + 1, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("vector", [8, 16])
    @pytest.mark.parametrize("key", CHOICES_OF_LAYERS)
    def test_recurrent_layers(self, backend, xp, runtime, monkeypatch, key, vector):
        from hal.backends.opencl.codegen.choices import choosing
        from hal.backends.opencl.codegen.kernel import Facts

        monkeypatch.setattr(runtime, "facts", Facts(cpu=True, units=2, local_size=256, vector=vector))
        rng = np.random.default_rng(0)
        shapes = ((3, 4, 5), (5, 24), (6, 24), (24,))
        x, kernel, weights, bias = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
        with choosing(key):
            found, _ = xp.lstm(xp.asarray(x), None, *map(xp.asarray, (kernel, weights, bias)))
            found = backend.to_host(found)
        other = hal.device("cpu").xp
        expected, _ = other.lstm(other.asarray(x), None, *map(other.asarray, (kernel, weights, bias)))
        np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("facts", [{"cpu": True}, {"cpu": True, "vector": 16}, {"cpu": False}])
    def test_they_are_what_is_tested(self, facts):
        from hal.backends.opencl.codegen.choices import offered
        from hal.backends.opencl.codegen.kernel import Facts
        from hal.contract.plan import Plan

        keys = offered(Facts(**facts, units=2, local_size=256))
        tested = [*(CHOICES_OF_WIDE if "vector" in facts else ()), *CHOICES, *CHOICES_OF_LAYERS]
        tested = tested if facts["cpu"] else CHOICES_OF_CARDS
        for key, values in keys.items():
            assert {choice[key] for choice in tested if key in choice} >= {*values[1:]}
            assert {*values} <= {*Plan.algorithms()[key]}

    def test_a_plan_chooses(self, backend, device, xp, monkeypatch):
        from hal.backends.opencl import compiling

        launched, schedule = [], compiling.schedule

        def recorded(*args, **keys):
            found = schedule(*args, **keys)
            launched.append(found.launches[0].kernel)
            return found

        monkeypatch.setattr(compiling, "schedule", recorded)
        x = backend.from_host(np.ones((48, 48), np.float32), device)
        tiles = [tile for tile in device.capabilities.choices()["tile"] if tile.endswith("16")]
        for tile in tiles:
            plan = Plan(tile=tile).resolve(device)
            backend.to_host(backend.compile(lambda x: x @ x, plan)(x))
        assert len(tiles) > 1
        for tile, kernel in zip(tiles, launched, strict=True):
            rows = int(tile.split("x")[0])
            assert [f"c{row}_0=0" in kernel.source for row in (rows - 1, rows)] == [True, False]

    def test_work_groups_that_a_device_has_not(self):
        from hal.backends.opencl.codegen.choices import choices_for, offered
        from hal.backends.opencl.codegen.kernel import Facts
        from hal.backends.opencl.codegen.local_tiles import group_of

        small, tiny = Facts(False, 2, 100), Facts(False, 2, 16)
        assert offered(small)["workgroup"] == ("64",)
        assert group_of(small, choices_for(small)) == (8, 8)
        assert group_of(tiny, choices_for(tiny)) == (4, 4)


class TestProducts:
    """Operands that lie in memory in every order, and sums of several parts."""

    @pytest.mark.parametrize("facts", [{"cpu": True}, {"cpu": True, "vector": 16}, {"cpu": False}])
    @pytest.mark.parametrize(("rows", "depth", "columns"), [(1, 300, 40), (40, 530, 1), (13, 259, 26), (64, 512, 96)])
    def test_transposed(self, backend, xp, runtime, monkeypatch, facts, rows, depth, columns):
        from hal.backends.opencl.codegen.kernel import Facts

        monkeypatch.setattr(runtime, "facts", Facts(**facts, units=2, local_size=256))
        rng = np.random.default_rng(0)
        for first, second in ((False, True), (True, False), (True, True)):
            a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((rows, depth), (depth, columns)))
            x = xp.permute_dims(xp.asarray(a.T), (1, 0)) if first else xp.asarray(a)
            y = xp.permute_dims(xp.asarray(b.T), (1, 0)) if second else xp.asarray(b)
            np.testing.assert_allclose(backend.to_host(x @ y), a @ b, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("cpu", [True, False])
    def test_integers(self, backend, xp, runtime, monkeypatch, cpu):
        from hal.backends.opencl.codegen.kernel import Facts

        monkeypatch.setattr(runtime, "facts", Facts(cpu=cpu, units=2, local_size=256))
        rng = np.random.default_rng(0)
        for kind in (np.int64, np.uint8):
            a, b = rng.integers(0, 200, (7, 300)).astype(kind), rng.integers(0, 200, (300, 11)).astype(kind)
            np.testing.assert_array_equal(backend.to_host(xp.asarray(a) @ xp.asarray(b)), a @ b)


class TestPieces:
    """Into how many pieces the sums of products are cut."""

    @pytest.mark.parametrize("cpu", [True, False])
    @pytest.mark.parametrize(("rows", "columns"), [(0, 4), (4, 0), (0, 0)])
    def test_products_without_rows_or_columns(self, backend, xp, runtime, monkeypatch, cpu, rows, columns):
        from hal.backends.opencl.codegen.kernel import Facts

        monkeypatch.setattr(runtime, "facts", Facts(cpu=cpu, units=2, local_size=64))
        x = xp.asarray(np.ones((rows, 4096), np.float32))
        y = xp.asarray(np.ones((4096, columns), np.float32))
        assert backend.to_host(x @ y).shape == (rows, columns)

    def test_a_processor_has_blocks_for_all_its_cores(self):
        """Few rows of a gradient, each a long sum over all places of all images."""
        from hal.backends.opencl.codegen.choices import choices_for
        from hal.backends.opencl.codegen.kernel import Facts
        from hal.backends.opencl.codegen.pieces import product_pieces
        from hal.backends.opencl.codegen.register_tiles import results_of_a_block

        def pieces(units, rows, columns):
            facts = Facts(cpu=True, units=units, local_size=64)
            block = results_of_a_block(rows, columns, choices_for(facts), facts)
            return product_pieces(facts, 1 << 16, 1 << 16, rows * columns, results_of_a_group=block)

        assert pieces(2, 9, 32) == 8
        assert pieces(2, 512, 512) == 0
        assert pieces(64, 288, 64) * 288 * 64 >= 4 * 64 * 24 * 64

    def test_a_card_has_groups_for_all_its_units(self):
        from hal.backends.opencl.codegen.choices import choices_for
        from hal.backends.opencl.codegen.kernel import Facts
        from hal.backends.opencl.codegen.local_tiles import results_of_a_group
        from hal.backends.opencl.codegen.pieces import product_pieces

        facts = Facts(cpu=False, units=132, local_size=1024)
        group = results_of_a_group(facts, choices_for(facts))
        count = product_pieces(facts, 4096, 4096, 192 * 192, results_of_a_group=group)
        assert 2 * 132 <= count * (192 * 192 // group) <= 4 * 132


class TestProcessorsOfAllSizes:
    """What is generated for processors, whose compute units are many or few."""

    @pytest.mark.parametrize(
        ("cache", "products"), [(0, 256), (1 << 15, 64), (1 << 19, 256), (1 << 20, 512), (1 << 25, 1024)]
    )
    def test_parts_of_sums_fit_into_the_cache(self, backend, xp, runtime, monkeypatch, cache, products):
        from hal.backends.opencl.codegen.kernel import Facts
        from hal.backends.opencl.schedule import schedule

        facts = Facts(cpu=True, units=2, local_size=64, local_bytes=cache)
        monkeypatch.setattr(runtime, "facts", facts)
        x = xp.asarray(np.ones((4, 1024), np.float32))
        (launch,) = schedule([x @ xp.asarray(np.ones((1024, 16), np.float32))], facts, fuse=True).launches
        assert f"k0+={products})" in launch.kernel.source

    @pytest.mark.parametrize(("units", "items"), [(2, 64), (192, 768)])
    def test_all_units_have_work(self, backend, xp, runtime, monkeypatch, units, items):
        from hal.backends.opencl.codegen.kernel import Facts
        from hal.backends.opencl.schedule import schedule

        monkeypatch.setattr(runtime, "facts", Facts(cpu=True, units=units, local_size=64))
        x = np.arange(1000 * 70, dtype=np.float32).reshape(1000, 70)
        moved = xp.permute_dims(xp.asarray(x), (1, 0)) + 1
        rows = xp.max(xp.asarray(x), axis=1)
        planned = schedule([moved, rows], runtime.facts, fuse=True).launches
        assert max(launch.kernel.items[0] for launch in planned) == items
        np.testing.assert_array_equal(backend.to_host(moved), x.T + 1)
        np.testing.assert_array_equal(backend.to_host(rows), x.max(axis=1))


@pytest.mark.parametrize("mask", [(3,), (2, 4), (3, 4, 1), (3, 3)])
def test_a_mask_of_another_shape_is_refused(xp, mask):
    x = xp.asarray(np.ones((4, 3), np.float32))
    with pytest.raises(IndexError):
        x[xp.asarray(np.ones(mask, bool))]


def test_masks_fit_the_axes_that_they_are_for(backend, xp):
    host = np.arange(24).reshape(2, 3, 4)
    x, rows, columns = xp.asarray(host), np.array([True, False]), np.array([False, True, True, False])
    for key in ((rows,), (..., columns), (None, rows), (slice(None), host[0] % 2 == 0), (0, ..., columns)):
        placed = tuple(xp.asarray(k) if isinstance(k, np.ndarray) else k for k in key)
        np.testing.assert_array_equal(backend.to_host(x[placed]), host[key])
