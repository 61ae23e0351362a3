"""The search for the largest batch, with compilers made up here."""

from hypothesis import given
from hypothesis import strategies as st

from hal.targets.largest_batch import Attempt, largest_batch


class Compiler:
    """Memory that grows with the batch, and a limit; it tells what it needs, or not."""

    def __init__(self, *, fixed=0, each=1, capacity=1000, tells=True, squeezes=1.0, broken_from=None, refusal_s=1.0):
        self.fixed, self.each, self.capacity, self.tells = fixed, each, capacity, tells
        self.squeezes, self.broken_from = squeezes, broken_from
        self.refusal_s = refusal_s
        self.asked = {}

    def __call__(self, batch):
        assert batch not in self.asked, "the same program was built twice"
        needed = self.fixed + self.each * batch
        if self.broken_from and batch >= self.broken_from:
            answer = Attempt(False, None, "sizes beyond int32", self.refusal_s)
        elif needed > self.capacity * self.squeezes:
            answer = Attempt(False, needed if self.tells else None, "too big", self.refusal_s)
        else:
            answer = Attempt(True, min(needed, self.capacity) if self.tells else None, seconds=1.0)
        self.asked[batch] = answer
        return answer


@st.composite
def compilers(draw):
    capacity = draw(st.integers(1, 10**9))
    return Compiler(
        fixed=draw(st.integers(0, capacity)),
        each=draw(st.integers(1, 10**4)),
        capacity=capacity,
        tells=draw(st.booleans()),
        squeezes=draw(st.floats(0.7, 1.3)),
        broken_from=draw(st.none() | st.integers(1, 10**6)),
        refusal_s=draw(st.sampled_from([1.0, 0.01])),
    )


class TestLargest:
    @given(compilers(), st.integers(1, 10**5), st.sampled_from([1, 4, 8, 48]), st.booleans())
    def test_both_ends_are_built(self, compiler, start, unit, hint):
        found = largest_batch(
            compiler,
            start=start,
            unit=unit,
            capacity_bytes=compiler.capacity if hint else None,
            ceiling=10**7,
        )
        assert found.builds == len(compiler.asked)
        assert all(batch % unit == 0 for batch in compiler.asked)
        if found.batch:
            assert compiler.asked[found.batch].fits
        else:
            assert not any(answer.fits for answer in compiler.asked.values())
        if found.refused is None:
            assert found.batch == 10**7 // unit * unit
            assert "the largest that the search tries" in found.stopped
        else:
            assert not compiler.asked[found.refused].fits
            assert found.reason == compiler.asked[found.refused].reason
            assert found.refused > found.batch
            if found.batch:
                assert found.step == found.refused - found.batch
                assert found.step <= max(unit, found.batch / 60)

    @given(st.integers(0, 10**6), st.integers(1, 1000), st.integers(1, 4096))
    def test_few_builds_where_memory_is_a_line(self, fixed, each, start):
        compiler = Compiler(fixed=fixed, each=each, capacity=10**9)
        found = largest_batch(compiler, start=start, capacity_bytes=compiler.capacity)
        assert found.builds <= 12
        assert found.batch * each + fixed <= 10**9 < found.refused * each + fixed

    @given(st.floats(0.8, 1.3), st.integers(1, 4096))
    def test_few_that_fit_where_refusing_is_cheap(self, squeezes, start):
        compiler = Compiler(fixed=10**6, each=1000, capacity=10**10, squeezes=squeezes, refusal_s=0.01)
        found = largest_batch(compiler, start=start, capacity_bytes=compiler.capacity)
        fitting = [batch for batch, answer in compiler.asked.items() if answer.fits]
        # What was asked for, the answer, and rarely one on the way.
        assert len(fitting) <= 4
        assert len(compiler.asked) <= 90
        assert found.batch in fitting

    def test_what_is_known_is_not_built_again(self):
        compiler = Compiler()
        found = largest_batch(compiler, start=8, known=Attempt(True, 8), capacity_bytes=1000)
        assert 8 not in compiler.asked
        assert (found.batch, found.refused) == (1000, 1000 + found.step)

    def test_a_program_that_never_builds(self):
        found = largest_batch(lambda batch: Attempt(False, None, "no such op"), start=128)
        assert (found.batch, found.reason, found.builds) == (0, "no such op", 2)

    def test_nothing_fits(self):
        found = largest_batch(Compiler(fixed=2000), start=128, capacity_bytes=1000)
        assert (found.batch, found.refused, found.reason) == (0, 1, "too big")

    def test_another_limit_than_memory(self):
        found = largest_batch(Compiler(capacity=10**9, broken_from=5000), start=128, capacity_bytes=10**9)
        assert (found.batch, found.refused, found.reason) == (4992, 5000, "sizes beyond int32") or found.step <= 80
        assert found.reason == "sizes beyond int32"

    def test_the_budget_ends_it(self):
        now = iter(range(1000))
        compiler = Compiler(capacity=10**9, refusal_s=0.01)
        found = largest_batch(compiler, start=1, capacity_bytes=10**9, budget_s=5, clock=lambda: next(now))
        assert found.builds < 12
        assert compiler.asked[found.batch].fits
        assert not compiler.asked[found.refused].fits

    def test_no_time_is_left_for_it(self):
        compiler = Compiler(capacity=10**9)
        found = largest_batch(compiler, start=8, known=Attempt(True, 8, seconds=60.0), budget_s=-1.0)
        assert (found.batch, found.builds) == (8, 0)
        assert "before the search began" in found.stopped

    def test_a_build_that_is_given_up_ends_it(self):
        compiler = Compiler(capacity=10**6)

        def build(batch):
            if 10**4 < batch <= 10**6:
                raise TimeoutError("too slow")
            return compiler(batch)

        found = largest_batch(build, start=64, capacity_bytes=10**6)
        assert (found.batch, found.stopped) == (64, "too slow")
        assert not compiler.asked[found.refused].fits
        assert found.builds == len(compiler.asked)
        assert found.likely is None, "it was given up no later than a refusal would have come"

    def test_one_that_is_not_refused_in_time_probably_fits(self):
        """Refusals are quick, and a build takes all the time that there is."""
        now = [0.0]

        def build(batch):
            fits = batch <= 10**5
            now[0] += 100.0 if fits and batch > 64 else 0.1
            if fits and batch > 64:
                raise TimeoutError("the time limit was reached")
            return Attempt(fits, 10 * batch, "too big", 5.0 if fits else 0.1)

        found = largest_batch(build, start=64, capacity_bytes=10**6, budget_s=50, clock=lambda: now[0])
        assert found.batch == 64
        assert found.likely <= 10**5 < found.refused < 1.05 * found.likely
