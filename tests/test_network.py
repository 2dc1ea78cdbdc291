"""The network: compiled against plain, whatever is read, grouped or done by whom."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest
from conftest import random_data, random_measure
from numpy.testing import assert_allclose

from wflow import Dataset, FeedForward, Particles, SoftmaxAttention, TransformerObjective
from wflow.network import DEPTH_RULES, CompiledExecutor, Network, PlainExecutor, Program, depth_rule
from wflow.network.batches import tree_sum
from wflow.network.blocks import Block
from wflow.problems import SineEncoder

BLOCKS: dict[str, tuple[Any, Any]] = {
    "both": (SoftmaxAttention(), FeedForward("tanh")),
    "factored": (SoftmaxAttention(factored=True, rank=1), FeedForward("relu", hidden=2)),
    "heads": (SoftmaxAttention(), None),
    "neurons": (None, FeedForward("gelu", bias=True)),
    "exchanged": (FeedForward("tanh", bias=True), SoftmaxAttention()),
    "heads twice": (SoftmaxAttention(), SoftmaxAttention(factored=True)),
    "neurons twice": (FeedForward("tanh", hidden=2), FeedForward("silu", bias=True)),
}
READOUTS = {"one token": [(-1, -1)], "two tokens": [(0, 0), (1, 2)], "every token": [(0, 0), (1, 1), (0, 2), (1, 3)]}


def plainly(objective: TransformerObjective) -> TransformerObjective:
    """The objective, run by the plain executor."""
    network, D = objective.network, objective.dataset.dimension
    blocks = {name: Block(encoder, network.program, D) for name, encoder in objective.encoders.items()}
    network.executor = PlainExecutor(network.program, blocks)
    return objective


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("depth", DEPTH_RULES)
@pytest.mark.parametrize("blocks", BLOCKS)
def test_compiled_and_plain_executors_agree(blocks: str, depth: str, readout: str, dtype: type) -> None:
    rng, entries = np.random.default_rng(5), READOUTS[readout]
    data = Dataset(rng.standard_normal((5, 2, 4)), rng.standard_normal((5, len(entries))), entries)
    compiled, plain = (
        TransformerObjective(data, *BLOCKS[blocks], weight_decay=0.1, depth=depth, layers=3) for _ in range(2)
    )
    assert isinstance(compiled.network.executor, CompiledExecutor)
    plainly(plain)
    points = {
        block: rng.standard_normal((compiled.rule.n_slices, 3, p)).astype(dtype)
        for block, p in compiled.n_parameters.items()
    }
    rho = Particles(**points)
    ours, theirs = compiled.evaluate(rho), plain.evaluate(rho)
    bound = {np.float64: 1e-13, np.float32: 1e-4}[dtype]
    assert_allclose(ours.value, theirs.value, rtol=bound)
    assert_allclose(compiled.predict(rho), plain.predict(rho), rtol=bound, atol=bound)
    phi, again = compiled.first_variation(rho), plain.first_variation(rho)
    for block in points:
        size = np.abs(theirs.velocity[block]).max()
        assert_allclose(ours.velocity[block], theirs.velocity[block], rtol=0, atol=bound * size)
        assert_allclose(phi[block], again[block], rtol=0, atol=bound * np.abs(phi[block]).max())


@pytest.mark.parametrize("depth", DEPTH_RULES)
@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("columns", [[5], [0, 3]])
def test_tokens_that_nothing_reads_may_be_left_out(depth: str, blocks: str, columns: list[int]) -> None:
    rng = np.random.default_rng(2)
    readout = np.zeros((2, 3, 6))
    readout[:, :, columns] = rng.standard_normal((2, 3, len(columns)))
    data = Dataset(rng.standard_normal((7, 3, 6)), rng.standard_normal((7, 2)), readout)
    objective = TransformerObjective(data, *BLOCKS[blocks], weight_decay=0.1, depth=depth, layers=3)
    rho = random_measure(objective, {"theta": 9, "w": 11}, rng, np.float64, True)
    kept = [len(tokens) for tokens in objective.network.program.tokens]
    assert kept[-1] == len(columns) and (kept[0] == 6 or blocks.startswith("neurons"))
    short = objective.evaluate(rho)
    network, everything = objective.network, np.arange(6)
    network.program = Program.of(objective.rule, objective.encoders, everything, 6)
    del network.executor
    network.readout = readout.reshape(2, -1)
    assert all(len(tokens) == 6 for tokens in network.program.tokens)
    long = objective.evaluate(rho)
    assert short.value == pytest.approx(long.value, rel=1e-14)
    for block in rho.blocks:
        assert_allclose(short.velocity[block], long.velocity[block], rtol=1e-11, atol=1e-14)


class Shifted:
    """``f(T, beta)_i = beta o T_{i+1}``, zero for the last token: what a token becomes depends on its neighbour."""

    def n_parameters(self, dimension: int) -> int:
        return dimension

    def _shift(self, tokens: Any, by: int) -> Any:
        out = np.zeros_like(tokens)
        out[:, :, : tokens.shape[2] - 1] = tokens[:, :, 1:]
        return out

    def mean(self, tokens: Any, parameters: Any, weights: Any) -> Any:
        return (weights @ parameters)[:, None] * self._shift(tokens, 1)

    def vjp(self, tokens: Any, parameters: Any, weights: Any, cotangent: Any) -> Any:
        tokens_bar = np.zeros_like(tokens)
        tokens_bar[:, :, 1:] = (weights @ parameters)[:, None] * cotangent[:, :, :-1]
        slope = np.einsum("bdn,bdn->d", self._shift(tokens, 1), cotangent)
        return tokens_bar, np.tile(slope, (len(parameters), 1))


class Knowing(Shifted):
    """The same, which says what it reads."""

    def reads(self, columns: Any, n_tokens: int) -> Any:
        return columns[columns < n_tokens - 1] + 1


@pytest.mark.parametrize("depth", DEPTH_RULES)
def test_an_encoder_that_says_what_it_reads_gives_the_same(depth: str) -> None:
    rng = np.random.default_rng(3)
    data = Dataset(rng.standard_normal((4, 2, 6)), rng.standard_normal(4), (0, 1))
    one, other = (
        TransformerObjective(data, E(), FeedForward("tanh"), depth=depth, layers=2) for E in (Shifted, Knowing)
    )
    rho = random_measure(one, {"theta": 3, "w": 2}, rng)
    assert [len(tokens) for tokens in one.network.program.tokens] != [len(t) for t in other.network.program.tokens]
    assert one.value(rho) == pytest.approx(other.value(rho), rel=1e-14)
    for block in rho.blocks:
        assert_allclose(one.velocity(rho)[block], other.velocity(rho)[block], rtol=1e-12, atol=1e-15)


def problem(dtype: type, prompts: int = 300) -> tuple[TransformerObjective, Particles]:
    rng = np.random.default_rng(0)
    data = random_data(rng, prompts, 4, 5)
    objective = TransformerObjective(data, SoftmaxAttention(), FeedForward("gelu"), 0.1, layers=2)
    return objective, random_measure(objective, {"theta": 160, "w": 175}, rng, dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("prompts", [3, 70, 300])
def test_results_do_not_depend_on_the_number_of_threads(
    prompts: int, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wflow.network.batches.GROUPED_WORK", 1)
    monkeypatch.setattr("wflow.network.batches.GROUP_WORK", 1_000_000)
    objective, rho = problem(dtype, prompts)
    assert len(objective.network.groups(rho, prompts)) > 1
    results = []
    for threads in (1, 2):
        monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", threads)
        results.append((objective.evaluate(rho), objective.linearise(rho), objective.predict(rho)))
    (one, first, seen), (two, second, again) = results
    assert one.value == two.value and (seen == again).all()
    for block in rho.blocks:
        assert (one.velocity[block] == two.velocity[block]).all()
        assert (first.first_variation[block] == second.first_variation[block]).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_groups_and_batches_change_nothing_but_rounding(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    objective, rho = problem(dtype, 40)
    whole = objective.evaluate(rho)
    monkeypatch.setattr("wflow.network.batches.GROUP_WORK", 1)
    monkeypatch.setattr("wflow.network.batches.GROUP_PROMPTS", 3)
    monkeypatch.setattr("wflow.network.batches.SUM_BYTES", 1)
    groups = objective.network.groups(rho, 40)
    assert len(groups) == 40 and all(len(batches) == 1 for batches in groups)
    parts = objective.evaluate(rho)
    eps = np.finfo(dtype).eps
    assert_allclose(parts.value, whole.value, rtol=16 * eps)
    for block in rho.blocks:
        size = np.abs(whole.velocity[block]).max()
        assert_allclose(parts.velocity[block], whole.velocity[block], rtol=0, atol=64 * eps * size)


def test_groups_depend_on_sizes_alone_and_feed_many_threads() -> None:
    """No cap: eight times as many prompts make about eight times as many groups, each prompt in one of them."""
    rng = np.random.default_rng(0)
    counts = []
    for prompts in (512, 4096):
        data = random_data(rng, prompts, 6, 11)
        objective = TransformerObjective(data, SoftmaxAttention(), FeedForward("tanh"), layers=16)
        p = objective.n_parameters
        rho = Particles(**{block: np.zeros((16, 256, p[block])) for block in p})
        groups = objective.network.groups(rho, prompts)
        flat = [b for group in groups for batch in group for b in range(batch.start, batch.stop)]
        assert flat == list(range(prompts))
        counts.append(len(groups))
        assert 24 <= prompts / counts[-1] <= 33
    assert counts[1] >= 124


def test_what_is_no_number_is_added_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Derivatives that leave the numbers, of either sign in different groups: the answer says so, numpy does not."""
    for name in ("GROUPED_WORK", "GROUP_WORK"):
        monkeypatch.setattr(f"wflow.network.batches.{name}", 1)
    tokens = np.ones((40, 1, 2))
    tokens[20:] = -1
    data = Dataset(tokens, np.zeros(40))
    objective = TransformerObjective(data, feedforward=FeedForward("identity"), layers=1)
    assert len(objective.network.groups(Particles(w=[[[1.0, 1.0]]]), 40)) > 1
    with np.errstate(over="ignore", invalid="ignore"):
        answer = objective.evaluate(Particles(w=[[[1e160, 1e160]]]))
    assert not np.isfinite(answer.velocity.w).all()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 13, 64])
@pytest.mark.parametrize("threads", [1, 3])
def test_sums_follow_one_tree(count: int, threads: int) -> None:
    """Whatever the order in which terms are made; and few sums wait at a time."""

    def tree(names: list[str]) -> str:
        while len(names) > 1:
            pairs = [names[i : i + 2] for i in range(0, len(names), 2)]
            names = [f"({''.join(pair)})" if pair[1:] else pair[0] for pair in pairs]
        return names[0]

    alive, most, lock = [0], [0], threading.Lock()

    def term(i: int) -> str:
        with lock:
            alive[0] += 1
            most[0] = max(most[0], alive[0])
        return f"{i:02d}"

    def add(a: str, b: str) -> str:
        with lock:
            alive[0] -= 1
        return f"({a}{b})"

    def share(work: Callable[[int], None], n: int) -> None:
        order = iter(range(n)) if threads == 1 else iter(np.random.default_rng(n).permutation(n).tolist())
        if threads == 1:
            for i in order:
                work(i)
            return
        taken = threading.Lock()

        def run() -> None:
            while True:
                with taken:
                    i = next(order, None)
                if i is None:
                    return
                work(i)

        workers = [threading.Thread(target=run) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    assert tree_sum(term, count, add, share) == tree([f"{i:02d}" for i in range(count)])
    if threads == 1:
        assert most[0] <= 1 + int(np.ceil(np.log2(count))) + 1


def test_the_network_is_one_choice_of_executor() -> None:
    """Encoders with a compiled form get the compiled one, in either block; a user's among them the plain one."""
    data = random_data(np.random.default_rng(0), 4, 2, 3)
    rule = depth_rule("split-euler", 2)
    for encoders, kind in (
        ({"theta": FeedForward(), "w": SoftmaxAttention()}, CompiledExecutor),
        ({"theta": SoftmaxAttention(), "w": SineEncoder()}, PlainExecutor),
    ):
        assert isinstance(Network(rule, encoders, data.readout).executor, kind)
