"""The data sets: format of the prompts, hidden labels, real data as published, splits and bad input."""

import hashlib
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

import wflow.datasets
from wflow.datasets import Dataset, diabetes, digits, from_npz, in_context_regression
from wflow.errors import InputError

FILES = Path(wflow.datasets.__file__).parent
PATCHES = [(1, 1), (2, 2), (4, 4), (8, 8), (1, 8), (8, 1), (2, 4)]


def same(a, b):
    """Whether two data sets are equal to the last bit."""
    return all(np.array_equal(getattr(a, key), getattr(b, key)) for key in ("tokens", "labels", "readout"))


def points(data, d):
    """Inputs (B, n, d) and values (B, n) of regression prompts, the label put back in its place."""
    values = data.tokens[:, d].copy()
    values[:, -1] = data.labels
    return data.tokens[:, :d].transpose(0, 2, 1), values


def raw(name):
    with np.load(FILES / name, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


# in-context regression


@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.parametrize("teacher", ["linear", "tanh", "relu"])
def test_column_format(teacher, positions):
    d, context = 3, 5
    data = in_context_regression(7, d, context, 1, teacher=teacher, positions=positions, noise=0.1)
    assert data.tokens.shape == (7, d + (3 if positions else 1), context + 1)
    assert data.labels.shape == (7,)
    assert np.all(data.tokens[:, d, :-1] != 0)
    assert np.all(data.tokens[:, d, -1] == 0)  # the label is hidden
    assert np.argwhere(data.readout).tolist() == [[0, d, context]]
    assert np.all(data.read(data.tokens) == 0)
    if positions:
        assert np.all(data.tokens[:, d + 1] == 1)
        assert np.all(data.tokens[:, d + 2] == np.eye(context + 1)[-1])


def test_linear_label_is_the_teachers_value():
    data = in_context_regression(50, 4, 9, 2)
    x, y = points(data, 4)
    for inputs, values in zip(x, y, strict=True):
        beta = np.linalg.lstsq(inputs[:-1], values[:-1], rcond=None)[0]
        np.testing.assert_allclose(inputs @ beta, values, atol=1e-12)


@pytest.mark.parametrize("teacher", ["tanh", "relu"])
def test_network_with_one_unit(teacher):
    # In one dimension y = a act(b x), which two numbers determine; the query must lie on the same curve.
    data = in_context_regression(40, 1, 30, 3, teacher=teacher, width=1)
    x, y = points(data, 1)
    for inputs, values in zip(x[..., 0], y, strict=True):
        if teacher == "relu":
            on = values != 0
            assert on[inputs > 0].all() != on[inputs < 0].any()
            assert np.ptp(values[on] / inputs[on]) < 1e-12
        else:  # monotone, with the sign of x or of -x
            order = np.argsort(inputs)
            assert np.all(np.diff(values[order]) * np.sign(values[order][-1]) > 0)
            assert np.all(np.sign(values * inputs) == np.sign(values[0] * inputs[0]))


@pytest.mark.parametrize("teacher", ["linear", "relu"])
def test_moments(teacher):
    data = in_context_regression(20_000, 3, 2, 4, teacher=teacher)
    x, y = points(data, 3)
    np.testing.assert_allclose(np.mean(x.reshape(-1, 3), axis=0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(x.reshape(-1, 3).T), np.eye(3), atol=0.03)
    assert abs(np.mean(y)) < 0.03
    assert np.mean(y**2) == pytest.approx(1, abs=0.06)


def test_noise_is_added_to_every_label():
    clean, noisy = (in_context_regression(2000, 2, 3, 5, noise=noise) for noise in (0.0, 0.3))
    difference = points(noisy, 2)[1] - points(clean, 2)[1]
    np.testing.assert_allclose(difference.std(axis=0), 0.3, rtol=0.1)


def test_seed_and_generator():
    a = in_context_regression(5, 2, 3, 7)
    rng = np.random.default_rng(7)
    assert same(a, in_context_regression(5, 2, 3, rng))
    assert not same(a, in_context_regression(5, 2, 3, rng))  # the generator has moved on
    assert not same(a, in_context_regression(5, 2, 3, 8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_prompts": 0}, "n_prompts must be a positive integer, got 0"),
        ({"dimension": 2.0}, r"dimension must be a positive integer, got 2\.0"),
        ({"context": True}, "context must be a positive integer, got True"),
        ({"width": -1}, "width must be a positive integer, got -1"),
        ({"noise": -0.1}, r"noise must be a non-negative finite number, got -0\.1"),
        ({"noise": np.nan}, "noise must be .* got nan"),
        ({"noise": "0.1"}, "noise must be .* got '0.1'"),
        ({"teacher": "sine"}, "teacher must be one of linear, tanh, relu, got 'sine'"),
        ({"teacher": ["linear"]}, "teacher must be"),
        ({"positions": "onehot"}, "positions must be True or False, got 'onehot'"),
        ({"rng": None}, r"rng must be a seed >= 0 or a numpy Generator \(np\.random\.default_rng\(0\)\), got None"),
        ({"rng": -1}, "rng must be a seed >= 0 .* got -1"),
        ({"rng": np.random.default_rng}, "rng must be"),
    ],
)
def test_in_context_bad_input(change, message):
    arguments = {"n_prompts": 2, "dimension": 2, "context": 3, "rng": 0} | change
    with pytest.raises(InputError, match=message):
        in_context_regression(**arguments)


# files


def test_checksums():
    rows = re.findall(r"\| `(\w+\.npz)` \| (\d+) \| `([0-9a-f]{64})` \|", (FILES / "SOURCES.md").read_text())
    assert {name for name, _, _ in rows} == {path.name for path in FILES.glob("*.npz")}
    for name, size, digest in rows:
        content = (FILES / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (int(size), digest)


def test_diabetes_file_is_the_published_table():
    file = raw("diabetes.npz")
    data, target = file["data"], file["target"]
    assert data.shape == (442, 10) and target.shape == (442,)
    assert file["features"].tolist() == ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
    assert data[0].tolist() == [59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.8598, 87] and target[0] == 151
    fit = np.column_stack([np.ones(442), data])
    residual = target - fit @ np.linalg.lstsq(fit, target, rcond=None)[0]
    assert 1 - residual.var() / target.var() == pytest.approx(0.5177, abs=5e-5)  # as known since 2004


def test_digits_file_has_the_published_class_counts():
    file = raw("digits.npz")
    assert file["images"].shape == (1797, 8, 8) and file["images"].dtype == np.uint8
    assert (file["images"].min(), file["images"].max()) == (0, 16)
    assert np.bincount(file["labels"]).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


# diabetes


def diabetes_rows(data, d):
    """The patient (row of the table) behind each column of the prompts, (B, n)."""
    file = raw("diabetes.npz")
    table = np.column_stack([file["data"], file["target"]])
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    x, y = points(data, d)
    found = np.concatenate([x, y[..., None]], axis=2)
    distance = np.abs(found[:, :, None] - table[None, None]).max(axis=-1)
    assert distance.min(axis=-1).max() < 1e-12
    return distance.argmin(axis=-1)


def test_diabetes_prompts_are_distinct_standardised_patients():
    data = diabetes(20, 30, 0)
    assert data.tokens.shape == (20, 13, 31)
    assert np.all(data.tokens[:, 10, -1] == 0)
    assert np.all(data.tokens[:, 11] == 1)
    assert np.all(data.tokens[:, 12] == np.eye(31)[-1])
    assert np.argwhere(data.readout).tolist() == [[0, 10, 30]]
    assert all(len(set(row)) == 31 for row in diabetes_rows(data, 10).tolist())


def test_diabetes_standardisation():
    data = diabetes(1, 441, 0)  # the whole table in one prompt
    x, y = points(data, 10)
    for columns in (x[0], y[0]):
        np.testing.assert_allclose(columns.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(columns.var(axis=0), 1, atol=1e-12)


def test_diabetes_split():
    train, held = (
        set(diabetes_rows(diabetes(1, n - 1, 3, rows=rows), 10).ravel().tolist())
        for rows, n in (("train", 354), ("heldout", 88))
    )
    assert held == set(range(4, 442, 5))
    assert train == set(range(442)) - held


def test_diabetes_features():
    full, some = diabetes(6, 4, 9), diabetes(6, 4, 9, features=["s5", "bmi"])
    assert np.array_equal(some.tokens[:, :2], full.tokens[:, [8, 2]])
    assert np.array_equal(some.labels, full.labels)
    assert some.dimension == 5


def test_diabetes_seed():
    assert same(diabetes(5, 6, 1), diabetes(5, 6, np.random.default_rng(1)))
    assert not same(diabetes(5, 6, 1), diabetes(5, 6, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_prompts": 1.5}, r"n_prompts must be a positive integer, got 1\.5"),
        ({"context": 0}, "context must be a positive integer, got 0"),
        ({"context": 442}, r"context must be at most 441 for rows='all' \(442 patients.*\), got 442"),
        ({"context": 88, "rows": "heldout"}, "context must be at most 87"),
        ({"rng": "0"}, "rng must be .* got '0'"),
        ({"features": "bmi"}, "features must be a sequence of names such as .* got 'bmi'"),
        ({"features": []}, r"features must be a sequence of names such as .* got \[\]"),
        ({"features": ["bmi", "weight"]}, "unknown name 'weight'; the names are age, sex, bmi, bp, s1"),
        ({"features": ["bmi", "bmi"]}, "features must not repeat a name"),
        ({"rows": "test"}, "rows must be 'all', 'train' or 'heldout', got 'test'"),
    ],
)
def test_diabetes_bad_input(change, message):
    with pytest.raises(InputError, match=message):
        diabetes(**({"n_prompts": 2, "context": 3, "rng": 0} | change))


# digits


@pytest.mark.parametrize("positions", ["coordinates", "onehot"])
@pytest.mark.parametrize("patch", PATCHES)
def test_digits_layout(patch, positions):
    file = raw("digits.npz")
    h, w = patch
    data = digits((4, 9), patch=patch, positions=positions)
    images = file["images"][np.isin(file["labels"], (4, 9))]
    p, n_patches = h * w, 64 // (h * w)
    n_positions = 2 if positions == "coordinates" else n_patches
    assert data.tokens.shape == (361, p + 3 + n_positions, n_patches + 1)
    again = np.zeros_like(images)
    for j in range(n_patches):  # every patch goes back to its place
        top, left = h * (j // (8 // w)), w * (j % (8 // w))
        again[:, top : top + h, left : left + w] = (data.tokens[:, :p, j].reshape(-1, h, w) + 1) * 8
        where = data.tokens[0, p + 3 :, j]
        if positions == "coordinates":
            np.testing.assert_allclose(where, [(top + h / 2) / 4 - 1, (left + w / 2) / 4 - 1])
        else:
            assert np.array_equal(where, np.eye(n_patches)[j])
    assert np.array_equal(again, images)
    assert np.all(data.tokens[:, p] == 0)  # the read row
    assert np.all(data.tokens[:, p + 1] == 1)
    assert np.all(data.tokens[:, p + 2] == np.eye(n_patches + 1)[-1])
    assert np.all(data.tokens[:, p + 3 :] == data.tokens[0, p + 3 :])
    class_token = data.tokens[:, :, -1]
    assert np.all(class_token == class_token[0]) and class_token[0].nonzero()[0].tolist() == [p + 1, p + 2]
    assert np.argwhere(data.readout).tolist() == [[0, p, n_patches]]


def test_digits_labels():
    file = raw("digits.npz")
    digit = file["labels"]
    pair = digits((9, 4))
    assert np.array_equal(pair.labels, np.where(digit[np.isin(digit, (4, 9))] == 9, -1.0, 1.0))
    three = digits([7, 1, 3])
    assert np.array_equal(three.labels.argmax(axis=1), [[7, 1, 3].index(d) for d in digit if d in (7, 1, 3)])
    ten = digits("all")
    assert np.array_equal(ten.labels, np.eye(10)[digit])
    assert np.argwhere(ten.readout).tolist() == [[k, 4 + k, 16] for k in range(10)]
    assert np.all(ten.read(ten.tokens) == 0)
    assert ten.dimension == 4 + 10 + 2 + 2
    assert same(ten, digits(range(10)))


def test_digits_split():
    whole = digits("all")
    train, held = digits("all", heldout=0.2)
    assert np.array_equal(held.labels.sum(axis=0), np.round(0.2 * whole.labels.sum(axis=0)))
    assert np.array_equal(train.labels.sum(axis=0) + held.labels.sum(axis=0), whole.labels.sum(axis=0))
    images = [{token.tobytes() for token in data.tokens} for data in (train, held, whole)]
    assert len(images[2]) == 1797  # no image occurs twice, so that the bytes identify it
    assert not images[0] & images[1] and images[0] | images[1] == images[2]
    assert held.name == "digits (held out)"


def test_digits_split_by_seed():
    first, again, other = (digits((4, 9), heldout=0.2, rng=seed) for seed in (0, 0, 1))
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert all(same(a, b) for a, b in zip(first, digits((4, 9), heldout=0.2), strict=True))
    assert not same(first[1], other[1])
    # whether an image of a four is held out does not depend on the other classes
    fours = [data.tokens[data.labels == -1] for data in (first[1], digits((4, 7), heldout=0.2)[1])]
    assert np.array_equal(*fours)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 4}, "classes must be 'all' or two or more different digits .* got 4"),
        ({"classes": (4,)}, r"classes must be .* got \(4,\)"),
        ({"classes": (4, 4)}, "classes must be .* different"),
        ({"classes": (4, 10)}, "classes must be .* between 0 and 9"),
        ({"classes": ("4", "9")}, "classes must be"),
        ({"classes": {4, 9}}, "classes must be"),
        ({"classes": "both"}, "classes must be .* got 'both'"),
        ({"patch": (3, 3)}, r"patch must be .* divide 8 .* got \(3, 3\)"),
        ({"patch": 2}, r"patch must be \(height, width\) .* got 2"),
        ({"patch": (2, 2, 2)}, "patch must be"),
        ({"patch": (0, 2)}, "patch must be"),
        ({"positions": True}, "positions must be 'coordinates' or 'onehot', got True"),
        ({"heldout": 1}, "heldout must be a fraction between 0 and 1 .* got 1"),
        ({"heldout": 20}, "heldout must be a fraction"),
        ({"heldout": 0.001}, r"leaves images of every class on both sides, such as 0\.2, got 0\.001"),
        ({"heldout": "0.2"}, "heldout must be a fraction"),
        ({"heldout": 0.2, "rng": None}, "rng must be .* got None"),
    ],
)
def test_digits_bad_input(change, message):
    with pytest.raises(InputError, match=message):
        digits(**change)


# npz


@pytest.mark.parametrize("one_label", [True, False])
def test_npz_round_trip(tmp_path, one_label):
    data = in_context_regression(4, 2, 3, 0) if one_label else digits((0, 1, 2), patch=(4, 4))
    np.savez_compressed(tmp_path / "mine.npz", tokens=data.tokens, labels=data.labels, readout=data.readout)
    again = from_npz(tmp_path / "mine.npz")
    assert same(data, again) and again.name == "mine"
    assert same(data, from_npz(str(tmp_path / "mine.npz")))


def test_npz_without_readout(tmp_path):
    np.savez(tmp_path / "mine.npz", tokens=np.ones((2, 3, 4), np.float32), labels=[1, 2])
    assert same(from_npz(tmp_path / "mine.npz"), Dataset(np.ones((2, 3, 4)), [1, 2]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, r"mine\.npz: no array labels; the arrays there are: tokens"),
        ({"labels": None, "tokens": None}, "no array tokens and no array labels; the arrays there are: none"),
        ({"readuot": (0, 0)}, "unknown array readuot; .* the arrays there are: labels, readuot, tokens"),
        ({"labels": np.ones(3)}, r"mine\.npz: labels must have one entry a prompt"),
        ({"readout": (5, 0)}, r"mine\.npz: readout entry \(5, 0\) is outside"),
        ({"labels": np.array([1, "a"], dtype=object)}, r"mine\.npz: cannot be read as arrays of numbers"),
    ],
)
def test_npz_bad_arrays(tmp_path, change, message):
    arrays = {"tokens": np.ones((2, 3, 4)), "labels": np.ones(2)} | change
    np.savez(tmp_path / "mine.npz", **{key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(InputError, match=message):
        from_npz(tmp_path / "mine.npz")


def test_npz_bad_files(tmp_path):
    path = tmp_path / "mine.npz"
    with pytest.raises(InputError, match=r"mine\.npz: no such file"):
        from_npz(path)
    with pytest.raises(InputError, match="no such file"):
        from_npz(tmp_path)
    np.savez(path, tokens=np.random.default_rng(0).random((50, 30, 4)), labels=np.ones(50))
    whole = path.read_bytes()
    for content in (b"", b"tokens, labels\n", pickle.dumps([1, 2]), whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"mine\.npz: not an \.npz file"):
            from_npz(path)
    path.write_bytes(whole[:2000] + bytes(2000) + whole[4000:])
    with pytest.raises(InputError, match="cannot be read as arrays of numbers"):
        from_npz(path)
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(InputError, match=r"one\.npy: not an \.npz file"):
        from_npz(tmp_path / "one.npy")


# Error rates and splits


@pytest.mark.parametrize("column", [False, True])
def test_the_error_rate_of_signs_is_a_count(column):
    """Also of a single column of labels; a prediction of zero is on no side, and so on the wrong one."""
    labels, predictions = [1, -1, 1, -1, 1, -1, -1], [0.1, -3.0, -0.2, 5.0, 0.0, 0.0, -1e-9]
    shape = (7, 1) if column else (7,)
    data = Dataset(np.zeros((7, 1, 1)), np.reshape(labels, shape))
    assert data.error_rate(np.reshape(predictions, shape)) == pytest.approx(4 / 7)
    assert data.error_rate(data.labels) == 0 and data.error_rate(-data.labels) == 1


def test_the_error_rate_of_classes_is_a_count():
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(5, size=60), rng.standard_normal((60, 5))
    data = Dataset(np.zeros((60, 5, 1)), np.eye(5)[truth], readout=[(k, 0) for k in range(5)])
    right = sum(all(row[k] >= other for other in row) for row, k in zip(scores, truth))
    assert 0 < right < 60
    assert data.error_rate(scores) == pytest.approx(1 - right / 60)
    assert data.error_rate(data.labels) == 0 and data.error_rate(-data.labels) == 1


@pytest.mark.parametrize("n_labels", [1, 3])
def test_a_split_shares_out_the_prompts_with_their_labels(n_labels):
    rng = np.random.default_rng(1)
    tokens = rng.standard_normal((20, 3, 2))
    labels = tokens[:, :, 0].sum(axis=1) if n_labels == 1 else tokens[:, :, 0] ** 2
    data = Dataset(tokens, labels, (0, 0) if n_labels == 1 else [(k, 1) for k in range(3)])
    kept, out = data.split(0.3, np.random.default_rng(2))
    assert (kept.n_prompts, out.n_prompts, out.name) == (14, 6, "data (held out)")
    parts = [prompt.tobytes() for part in (kept, out) for prompt in part.tokens]
    assert sorted(parts) == sorted(prompt.tobytes() for prompt in tokens) and len(set(parts)) == 20
    for part in (kept, out):
        value = part.tokens[:, :, 0].sum(axis=1) if n_labels == 1 else part.tokens[:, :, 0] ** 2
        assert np.array_equal(part.labels, value) and np.array_equal(part.readout, data.readout)
