"""Laws of the initial measure and their particles."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from wflow import Dataset, FeedForward, InputError, Particles, SoftmaxAttention, TransformerObjective, initial
from wflow.encoders import Group
from wflow.initial import KINDS, Law, atoms, ball, gaussian, product


class Shift:
    """A user's encoder, without parameter groups."""

    def n_parameters(self, dimension: int) -> int:
        return dimension

    def mean(self, tokens: Any, parameters: Any, weights: Any) -> Any:
        return np.broadcast_to((weights @ parameters)[:, None], tokens.shape).copy()

    def vjp(self, tokens: Any, parameters: Any, weights: Any, cotangent: Any) -> Any:
        return np.zeros_like(tokens), np.tile(cotangent.sum(axis=(0, 2)), (len(parameters), 1))


def objective(
    attention: Any = None, feedforward: Any = None, D: int = 2, layers: int = 4, depth: str = "split-euler"
) -> TransformerObjective:
    data = Dataset(np.ones((1, D, 2)), [1.0])
    return TransformerObjective(data, attention, feedforward, layers=layers, depth=depth)


BOTH = objective(SoftmaxAttention(), FeedForward())  # p = 8 and 4
NEURONS = objective(feedforward=FeedForward())
SINGLE = objective(feedforward=Shift(), D=1, layers=16)  # p = 1


def same(a: Particles, b: Particles) -> bool:
    return all(np.array_equal(a.points(block), b.points(block)) for block in a.blocks)


# -- laws ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "law, mean, second, fourth",
    [
        # second and fourth central moments of every coordinate, in p = 4 dimensions
        (gaussian(std=1.5, mean=0.7), 0.7, 1.5**2, 3 * 1.5**4),
        (ball(2.0), 0.0, 4 / 6, 3 * 16 / (6 * 8)),  # R^2/(p+2), 3 R^4/((p+2)(p+4))
    ],
)
def test_moments(kind: str, law: Law, mean: float, second: float, fourth: float) -> None:
    """All coordinates have the exact mean and second moment, to five standard errors; none are correlated."""
    M = 4000
    x = law.sample(NEURONS, M, 3, kind=kind).w - mean
    clouds = x[:1] if kind == "shared" else x
    n = clouds.shape[0] * M
    assert np.abs(clouds.mean(axis=(0, 1))).max() < 5 * math.sqrt(second / n)
    covariance = np.einsum("lmi,lmj->ij", clouds, clouds) / n
    assert np.abs(np.diag(covariance) - second).max() < 5 * math.sqrt((fourth - second**2) / n)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 5 * second / math.sqrt(n)


@pytest.mark.parametrize("D, radius", [(1, 1.0), (4, 3.0), (40, 0.5)])
def test_ball_is_uniform(D: int, radius: float) -> None:
    """P(|x| <= r) = (r/R)^p, and directions and radii are independent."""
    x = ball(radius).sample(objective(feedforward=Shift(), D=D), 1000, 1).w.reshape(-1, D)
    r = np.linalg.norm(x, axis=1) / radius
    assert r.max() <= 1 + 1e-14
    assert stats.kstest(r**D, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(r, x[:, 0] / np.linalg.norm(x, axis=1))[0, 1]) < 5 / math.sqrt(len(x))


def test_gaussian_distribution() -> None:
    x = gaussian(std=2.0, mean=1.0).sample(NEURONS, 1000, 2).w
    assert stats.kstest((x.ravel() - 1) / 2, "norm").pvalue > 0.01


def test_mean_per_parameter() -> None:
    mean = [1.0, -2.0, 3.0, 0.0]
    x = gaussian(std=1e-9, mean=mean).sample(NEURONS, 5, 0).w
    assert_allclose(x, np.broadcast_to(mean, x.shape), atol=1e-7)
    assert gaussian(1, np.array(mean)) == gaussian(1.0, mean)


# -- atoms --------------------------------------------------------------------------------------------------

POINTS = np.arange(12.0).reshape(3, 4)


@pytest.mark.parametrize("weights", [None, [0.2, 0.5, 0.3]])
@pytest.mark.parametrize("kind", KINDS)
def test_atoms_are_drawn_with_their_weights(kind: str, weights: Any) -> None:
    rho = atoms(POINTS, weights).sample(NEURONS, 4000, 5, kind=kind)
    drawn = rho.w[:1] if kind == "shared" else rho.w
    assert rho.has_equal_weights("w")
    mass = np.full(3, 1 / 3) if weights is None else np.asarray(weights)
    share = (drawn[:, :, None] == POINTS).all(axis=3).mean(axis=(0, 1))
    assert share.sum() == pytest.approx(1, abs=1e-14)  # nothing but atoms
    n = drawn.shape[0] * drawn.shape[1]
    assert (np.abs(share - mass) < 5 * np.sqrt(mass * (1 - mass) / n)).all()


def test_as_many_draws_as_atoms_are_still_draws() -> None:
    law = atoms(POINTS)
    drawn = [len(np.unique(law.sample(NEURONS, 3, seed).w[0], axis=0)) for seed in range(20)]
    assert set(drawn) == {1, 2, 3}


def test_all_atoms_in_every_layer() -> None:
    rho = atoms(POINTS).sample(NEURONS, None, 0)
    assert_array_equal(rho.w, np.broadcast_to(POINTS, (4, 3, 4)))
    assert rho.has_equal_weights("w")
    weights = [0.2, 0.5, 0.3]
    rho = atoms(POINTS, weights).sample(NEURONS, None, 0, dtype=np.float32)
    assert rho.dtype == np.float32
    assert_array_equal(rho.weights("w"), np.broadcast_to(weights, (4, 3)))
    # one block of atoms beside a random one
    rho = product(theta=gaussian(), w=atoms(POINTS)).sample(BOTH, {"w": None, "theta": 7}, 0, kind="net")
    assert rho.theta.shape == (4, 7, 8)
    assert_array_equal(rho.w, np.broadcast_to(POINTS, (4, 3, 4)))


def test_atoms_that_move_with_depth() -> None:
    rho = atoms(lambda t: POINTS + t).sample(objective(feedforward=FeedForward(), depth="rk4-nodes"), None, 0)
    assert_array_equal(rho.w, POINTS + rho.t[:, None, None])


# -- groups -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("law", [gaussian(0.5, 0.2), gaussian("he"), gaussian("lecun", 0.1), ball(1.5)], ids=repr)
def test_densities_are_those_of_the_particles(law: Law, n: int) -> None:
    """They have mass one without being scaled, and the moments of the quantiles, also where fan-ins differ."""
    group = initial.Group("w", slice(0, n), np.array([8.0, 18.0, 5.0])[:n])
    cells = {1: 4000, 2: 160, 3: 50}[n]
    box = np.array([-3.2, 3.2]) + (0.1 if isinstance(law, gaussian) else 0.0)
    axis = box[0] + (np.arange(cells) + 0.5) * np.ptp(box) / cells
    x = np.stack(np.meshgrid(*[axis] * n, indexing="ij"), axis=-1).reshape(-1, n)
    mass = law.density(x, 0.0, group) * (np.ptp(box) / cells) ** n
    assert mass.sum() == pytest.approx(1, rel=0.01)
    points = law.quantile(np.random.default_rng(0).random((20000, n)), 0.0, group)
    assert_allclose(mass @ x, points.mean(axis=0), atol=0.02)
    assert_allclose(mass @ x**2, (points**2).mean(axis=0), rtol=0.05)


def test_densities_on_grids_change_with_depth() -> None:
    """Each group has its own law, each slice that of its depth, and the grid the nodes of the objective."""
    Q = objective(feedforward=FeedForward(), D=1, layers=1, depth="rk4-nodes")
    law = product(W_1=gaussian(lambda t: 0.3 + 0.4 * t, lambda t: t - 0.5), W_2=ball(lambda t: 2 - t))
    rho = law.on_grid(Q, {"w": ((-5, 5), (-4, 4))}, {"w": (200, 160)})
    assert_allclose(rho.t, [0, 0.5, 1])
    assert_allclose(rho.depth_weights, [1 / 6, 2 / 3, 1 / 6])
    assert_allclose(rho.moment(1).w, np.stack([rho.t - 0.5, 0 * rho.t], axis=1), atol=1e-10)
    variances = rho.moment(2).w - rho.moment(1).w ** 2
    assert_allclose(variances, np.stack([(0.3 + 0.4 * rho.t) ** 2, (2 - rho.t) ** 2 / 3], axis=1), rtol=0.02)


@pytest.mark.parametrize(
    "attention, fan_in",
    [
        (SoftmaxAttention(), {"V": 5, "W": 5}),
        (SoftmaxAttention(factored=True), {"W_V": 5, "W_O": 5, "W_K": 5, "W_Q": 5}),
        (SoftmaxAttention(factored=True, rank=2), {"W_V": 5, "W_O": 2, "W_K": 5, "W_Q": 5}),
    ],
)
@pytest.mark.parametrize("name, gain", [("lecun", 1.0), ("he", 2.0)])
def test_scalings_of_attention(attention: Any, fan_in: dict[str, int], name: str, gain: float) -> None:
    x = gaussian(name).sample(objective(attention, D=5), 1000, 0).theta
    check_scaling(x, attention.groups(5), fan_in, gain)


@pytest.mark.parametrize(
    "feedforward, fan_in",
    [
        (FeedForward(), {"W_1": 5, "W_2": 1}),
        (FeedForward(hidden=3), {"W_1": 5, "W_2": 3}),
        (FeedForward(hidden=3, bias=True), {"W_1": 6, "W_2": 3}),
    ],
)
@pytest.mark.parametrize("name, gain", [("lecun", 1.0), ("he", 2.0)])
def test_scalings_of_feedforward(feedforward: Any, fan_in: dict[str, int], name: str, gain: float) -> None:
    x = gaussian(name).sample(objective(feedforward=feedforward, D=5), 1000, 0).w
    check_scaling(x, feedforward.groups(5), fan_in, gain)


def check_scaling(x: Any, groups: dict[str, Group], fan_in: dict[str, int], gain: float) -> None:
    assert list(groups) == list(fan_in)
    covered = np.concatenate([np.arange(x.shape[2])[group.place] for group in groups.values()])
    assert_array_equal(covered, np.arange(x.shape[2]))
    for name, group in groups.items():
        part = x[..., group.place]
        assert group.fan_in == fan_in[name]
        assert part.var() == pytest.approx(gain / fan_in[name], rel=5 * math.sqrt(2 / part.size))


def test_groups_are_where_the_matrices_are() -> None:
    """Perturbing a group changes its matrix and no other."""
    for head in (SoftmaxAttention(), SoftmaxAttention(factored=True, rank=2)):
        groups, p = head.groups(3), head.n_parameters(3)
        theta = np.zeros((1, p))
        for i, group in enumerate(groups.values()):
            theta[:, group.place] = i + 1
        if head.factored:
            values = [np.unique(part).tolist() for part in head._factors(theta, 3)]
        else:
            values = [np.unique(part).tolist() for part in head.matrices(theta, 3)]
        assert values == [[i + 1] for i in range(len(groups))]
    neuron, tokens = FeedForward("sigmoid", hidden=2, bias=True), np.random.default_rng(0).standard_normal((2, 3, 4))
    w = np.zeros((1, neuron.n_parameters(3)))
    w[:, neuron.groups(3)["W_2"].place] = 1
    np.testing.assert_array_equal(neuron.mean(tokens, w, np.ones(1)), np.ones((2, 3, 4)))  # two halves
    np.testing.assert_array_equal(neuron.mean(tokens, 1 - w, np.ones(1)), 0)


@pytest.mark.parametrize("kind", KINDS)
def test_product_gives_groups_their_laws(kind: str) -> None:
    law = product(V=ball(0.5), W=gaussian(3.0), W_2=gaussian(1e-9, mean=2.0), W_1=atoms([[7.0, 8.0]]))
    rho = law.sample(BOTH, 1024, 0, kind=kind)
    r = np.linalg.norm(rho.theta[..., :4], axis=2)
    assert r.max() <= 0.5 + 1e-14 and r.max() > 0.45
    assert rho.theta[..., 4:].std() == pytest.approx(3, rel=0.1)
    assert_array_equal(rho.w[..., :2], np.broadcast_to([7.0, 8.0], (4, 1024, 2)))
    assert_allclose(rho.w[..., 2:], 2, atol=1e-7)


def test_order_of_names_does_not_matter() -> None:
    a = product(V=gaussian(), W=ball(1.0), w=gaussian("he")).sample(BOTH, 5, 0)
    b = product(w=gaussian("he"), W=ball(1.0), V=gaussian()).sample(BOTH, 5, 0)
    assert same(a, b)


def test_a_users_encoder() -> None:
    Q = objective(feedforward=Shift(), D=3)
    for law in (gaussian(), ball(1.0), atoms([[1.0, 2.0, 3.0]]), product(w=ball(1.0))):
        assert law.sample(Q, 6, 0).w.shape == (4, 6, 3)


# -- depth --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", ["split-euler", "midpoint", "rk4-nodes"])
def test_depth_dependent_laws_are_read_at_the_nodes(depth: str) -> None:
    Q = objective(SoftmaxAttention(), FeedForward(), depth=depth)
    law = product(theta=gaussian(std=lambda t: 1 + t, mean=lambda t: 10 * t), w=ball(lambda t: math.exp(t)))
    rho = law.sample(Q, 20000, 0)
    assert_array_equal(rho.t, Q.rule.nodes)
    assert_array_equal(rho.depth_weights, Q.rule.weights)
    assert Q.prepare(rho) is not None
    n = 20000 * 8
    assert_allclose(rho.theta.mean(axis=(1, 2)), 10 * rho.t, atol=5 * 2 / math.sqrt(n))
    assert_allclose(rho.theta.std(axis=(1, 2)), 1 + rho.t, rtol=5 / math.sqrt(2 * n))
    assert_allclose(np.linalg.norm(rho.w, axis=2).max(axis=1), np.exp(rho.t), rtol=1e-3)


def test_shared_clouds_are_identical() -> None:
    rho = gaussian("he").sample(BOTH, {"theta": 3, "w": 6}, 0, kind="shared")
    for x in rho.blocks.values():
        assert_array_equal(x, np.broadcast_to(x[:1], x.shape))
        assert len(np.unique(x[0])) == x[0].size
    moving = gaussian(std=lambda t: 1 + t).sample(NEURONS, 6, 0, kind="shared")
    assert_allclose(moving.w, (1 + moving.t)[:, None, None] * moving.w[0], rtol=1e-14)


def test_independent_layers_differ() -> None:
    for kind in ("iid", "net"):
        x = gaussian().sample(NEURONS, 8, 0, kind=kind).w
        assert len(np.unique(x)) == x.size


# -- nets ---------------------------------------------------------------------------------------------------


def smooth(rho: Particles) -> float:
    """An average over depth and both blocks of smooth functions that change with t."""
    t = rho.t[:, None]
    f, h = np.exp(0.3 * t * rho.theta.sum(axis=2)), np.sin((1 - t) * rho.w.sum(axis=2) + 0.5)
    return float(f.mean() + h.mean())


@pytest.mark.parametrize("layers, M, factor", [(16, 16, 5), (16, 64, 8), (12, 15, 2.5)])
def test_net_beats_independent_particles(layers: int, M: int, factor: float) -> None:
    Q = objective(SoftmaxAttention(), FeedForward(), layers=layers, depth="midpoint")
    law = gaussian(0.25)
    errors = {
        kind: np.std([smooth(law.sample(Q, M, seed, kind=kind)) for seed in range(40)]) for kind in ("iid", "net")
    }
    assert errors["net"] < errors["iid"] / factor


def test_net_is_stratified_in_depth_and_parameter() -> None:
    """With S M = 2^k, every slice has one point in each of M equal strata of a single coordinate."""
    x = ball(1.0).sample(SINGLE, 32, 0, kind="net").w[..., 0]
    strata = np.sort(np.floor((x + 1) / 2 * 32), axis=1)
    assert_array_equal(strata, np.broadcast_to(np.arange(32), (16, 32)))


def test_net_is_sorted_by_depth() -> None:
    points = stats.qmc.Sobol(2, scramble=True, seed=np.random.default_rng(9)).random_base2(9)
    u = points[np.argsort(points[:, 0]), 1]
    assert_allclose(ball(1.0).sample(SINGLE, 32, 9, kind="net").w.ravel(), 2 * u - 1, atol=1e-8)


def test_net_with_other_numbers_is_unbiased_in_every_slice() -> None:
    Q = objective(feedforward=Shift(), D=1, layers=5)
    x = np.array([ball(1.0).sample(Q, 3, seed, kind="net").w[..., 0] for seed in range(400)])
    assert (np.abs(x.mean(axis=0)) < 5 * math.sqrt(1 / 3 / 400)).all()
    assert (np.abs((x**2).mean(axis=0) - 1 / 3) < 5 * math.sqrt((1 / 5 - 1 / 9) / 400)).all()


def test_blocks_of_equal_width_share_a_net() -> None:
    """Jointly the two blocks have different points, and unequal widths work too."""
    rho = gaussian().sample(BOTH, 8, 0, kind="net")
    assert len(np.unique(np.concatenate([rho.theta.ravel(), rho.w.ravel()]))) == 4 * 8 * 12
    rho = gaussian().sample(BOTH, {"theta": 8, "w": 3}, 0, kind="net")
    assert rho.theta.shape == (4, 8, 8) and rho.w.shape == (4, 3, 4)


# -- reproducibility ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("law", [gaussian(), ball(1.0), product(theta=gaussian("he"), w=atoms(POINTS))])
def test_samples_are_determined_by_the_seed(law: Law, kind: str) -> None:
    a = law.sample(BOTH, 9, 7, kind=kind)
    assert same(a, law.sample(BOTH, 9, np.random.default_rng(7), kind=kind))
    assert not same(a, law.sample(BOTH, 9, 8, kind=kind))
    single = law.sample(BOTH, 9, 7, kind=kind, dtype="float32")
    assert a.dtype == np.float64 and single.dtype == np.float32
    for block in a.blocks:
        assert_array_equal(single.points(block), a.points(block).astype(np.float32))


def test_a_generator_moves_on() -> None:
    rng = np.random.default_rng(0)
    for kind in KINDS:
        assert not same(gaussian().sample(NEURONS, 4, rng, kind=kind), gaussian().sample(NEURONS, 4, rng, kind=kind))


def test_laws_are_plain_data() -> None:
    law = product(theta=gaussian("he"), W_1=gaussian(0.5, mean=[1, 2]), W_2=ball(1))
    text = "product(theta=gaussian(std='he', mean=0.0), W_1=gaussian(std=0.5, mean=(1.0, 2.0)), W_2=ball(radius=1.0))"
    assert repr(law) == text
    assert eval(text) == law == pickle.loads(pickle.dumps(law))
    points = [[1.0, 2.0, 3.0, 4.0]]
    fixed = atoms(points)
    points[0][0] = 9.0
    assert fixed.sample(NEURONS, None, 0).w[0, 0, 0] == 1.0


# -- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: gaussian(0.0), "std must be a positive finite number, got 0.0"),
        (lambda: gaussian(-1), "std must be a positive"),
        (lambda: gaussian("xavier"), "lecun, he"),
        (lambda: gaussian(mean=math.nan), "mean must be finite"),
        (lambda: gaussian(mean=[[1.0]]), "mean must have shape"),
        (lambda: ball(0.0), "radius must be a positive"),
        (lambda: atoms([1.0, 2.0]), r"atoms must have shape \(K, p\)"),
        (lambda: atoms(np.empty((0, 4))), "must not be empty"),
        (lambda: atoms([[1.0]], weights=[0.5]), "positive and sum to 1"),
        (lambda: atoms([[1.0], [2.0]], weights=[1.0, 0.0]), "positive and sum to 1"),
        (lambda: product(theta=1.0), "theta must be a law"),  # type: ignore[arg-type]
        (lambda: product(theta=product(V=gaussian())), "theta must be a law"),
    ],
)
def test_wrong_laws(make: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize(
    "law, M, words",
    [
        (gaussian(), 0, "M must be a positive integer.*got 0"),
        (gaussian(), 2.5, "M must be a positive integer"),
        (gaussian(), True, "M must be a positive integer"),
        (gaussian(), {"theta": 3, "w": -1}, "M must be a positive integer"),
        (gaussian(), {"theta": 3}, "name the blocks theta, w"),
        (gaussian(), {"theta": 3, "w": 3, "v": 3}, "name the blocks theta, w"),
        (gaussian(), None, "block 'theta' has another law; give a number"),
        (product(V=atoms(np.ones((2, 4))), W=gaussian(), w=gaussian()), None, "another law"),
        (gaussian(lambda t: t - 0.5), 3, "std at t=0 must be a positive"),
        (gaussian(mean=[1.0, 2.0]), 3, "mean for 'theta' must have 8 entries, got 2"),
        (gaussian(mean=lambda t: [t]), 3, "mean for 'theta' must have 8 entries, got 1"),
        (ball(lambda t: -t), 3, "radius at t=0 must be a positive"),
        (atoms(POINTS), 3, r"atoms for 'theta' must have shape \(K, 8\), got \(3, 4\); .*product\(theta="),
        (product(theta=gaussian(), w=atoms(lambda t: [1.0])), 3, r"shape \(K, p\)"),
        (product(theta=gaussian(), w=atoms(POINTS, [0.5, 0.5])), 3, "3 atoms and 2 weights"),
        (
            product(theta=gaussian(), w=atoms(lambda t: POINTS[: 1 + int(4 * t)])),
            {"theta": 3, "w": None},
            "equally many atoms at every depth",
        ),
        (
            product(theta=gaussian(), W_3=gaussian()),
            3,
            r"names W_3, but .* has theta \(or its groups V, W\), w \(or its groups W_1, W_2\)",
        ),
        (product(theta=gaussian()), 3, "leaves out w; name w, or all of its groups W_1, W_2"),
        (product(theta=gaussian(), W_1=gaussian()), 3, "leaves out W_2"),
        (product(theta=gaussian(), V=gaussian(), w=gaussian()), 3, "theta and its groups V: name one"),
    ],
)
def test_wrong_samples(law: Law, M: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        law.sample(BOTH, M, 0)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"kind": "sobol"}, "kind must be one of iid, shared, net, got 'sobol'"),
        ({"dtype": "float16"}, "dtype must be float32 or float64"),
        ({"dtype": int}, "dtype must be float32 or float64"),
        ({"rng": None}, "rng must be a seed"),
        ({"rng": -1}, "rng must be a seed"),
    ],
)
def test_wrong_options(options: Any, words: str) -> None:
    arguments = {"objective": NEURONS, "M": 3, "rng": 0} | options
    with pytest.raises(InputError, match=words):
        gaussian().sample(**arguments)


def test_users_encoders_have_no_fan_in_and_no_groups() -> None:
    Q = objective(SoftmaxAttention(), Shift())
    with pytest.raises(InputError, match="'he' needs a fan-in, which the encoder of block 'w' does not have"):
        gaussian("he").sample(Q, 3, 0)
    with pytest.raises(InputError, match=r"has theta \(or its groups V, W\), w$"):
        product(theta=gaussian(), W_1=gaussian()).sample(Q, 3, 0)
    with pytest.raises(InputError, match=r"leaves out w; name w$"):
        product(theta=gaussian()).sample(Q, 3, 0)


def test_nets_need_equal_slices_and_few_dimensions() -> None:
    with pytest.raises(InputError, match=r"rk4-nodes have different weights; use depth='split-euler'"):
        gaussian().sample(objective(feedforward=FeedForward(), depth="rk4-nodes"), 4, 0, kind="net")
    with pytest.raises(InputError, match=r"21633 dimensions .* none beyond 21201; use kind='iid'"):
        gaussian().sample(objective(SoftmaxAttention(), D=104, layers=1), 1, 0, kind="net")


def test_only_transformers() -> None:
    with pytest.raises(InputError, match=r"expected a wflow\.TransformerObjective to sample for, got Dataset"):
        gaussian().sample(BOTH.dataset, 3, 0)  # type: ignore[arg-type]
