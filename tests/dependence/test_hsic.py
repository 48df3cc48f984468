"""HSIC against other formulas for it, and what the theory says of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from optprune.dependence import category_gram, gaussian_gram, hsic, linear_gram, normalized
from optprune.dependence.hsic import Estimator, center
from optprune.dependence.stack import GramStack
from optprune.errors import ArgumentError

BOTH = pytest.mark.parametrize("estimator", ["unbiased", "biased"])
KERNELS = pytest.mark.parametrize("kernel", [linear_gram, gaussian_gram])


def features(n: int = 40, d: int = 6, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


def pair(n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Two representations that depend on each other."""
    x = features(n)
    return x, torch.tanh(x @ features(6, 4, 1)) + 0.3 * features(n, 4, 2)


def nhsic(x: torch.Tensor, y: torch.Tensor, estimator: Estimator, kernel=linear_gram) -> float:
    return float(normalized(hsic([kernel(x), kernel(y)], estimator))[0, 1])


def gram(x: torch.Tensor) -> npt.NDArray[np.float64]:
    """Inner products of features as they are, not around their means."""
    return (x @ x.T).numpy()


def test_the_biased_estimator_is_the_trace_formula() -> None:
    x, y = pair()
    n = len(x)
    h = np.eye(n) - 1 / n
    expected = np.trace(gram(x) @ h @ gram(y) @ h) / (n - 1) ** 2
    found = hsic([linear_gram(x + 3), linear_gram(y)], "biased")
    assert float(found[0, 1]) == pytest.approx(expected, rel=1e-10)


def test_the_unbiased_estimator_is_the_formula_of_song_et_al() -> None:
    x, y = pair()
    n, one = len(x), np.ones(len(x))
    k, l = gram(x), gram(y)  # noqa: E741
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l, 0)
    inner = (
        np.trace(k @ l)
        + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
        - 2 / (n - 2) * (one @ k @ l @ one)
    )
    found = hsic([linear_gram(x + 3), linear_gram(y)], "unbiased")
    assert float(found[0, 1]) == pytest.approx(inner / (n * (n - 3)), rel=1e-10)


def test_the_linear_kernel_compares_cross_covariances() -> None:
    x, y = pair()
    x, y = x - x.mean(0), y - y.mean(0)
    expected = (x.T @ y).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())
    assert nhsic(x, y, "biased") == pytest.approx(float(expected), rel=1e-10)


@BOTH
@KERNELS
def test_it_is_symmetric_and_one_with_itself(estimator: Estimator, kernel) -> None:
    grams = [kernel(features(seed=seed)) for seed in range(4)] + [kernel(pair()[1])]
    found = hsic(grams, estimator)
    assert torch.equal(found, found.T)
    found = normalized(found)
    assert torch.equal(found.diagonal(), torch.ones(5, dtype=torch.float64))
    assert (found.abs() <= 1).all()
    if estimator == "biased":
        assert (found >= 0).all()


@BOTH
@KERNELS
def test_rotation_scale_shift_and_order_do_not_matter(estimator: Estimator, kernel) -> None:
    x, y = pair()
    before = nhsic(x, y, estimator, kernel)
    rotation = torch.linalg.qr(features(6, 6, 3)).Q
    samples = torch.randperm(len(x), generator=torch.Generator().manual_seed(4))
    for x_changed, y_changed in (
        (x @ rotation, y),
        (50 * x, y / 7),
        (x + 10, y - 3),
        (x[:, [3, 1, 5, 0, 2, 4]], y),
        (x[samples], y[samples]),
    ):
        assert nhsic(x_changed, y_changed, estimator, kernel) == pytest.approx(before, abs=1e-9)


@BOTH
@KERNELS
def test_a_general_invertible_map_matters(estimator: Estimator, kernel) -> None:
    x, y = pair()
    stretch = torch.diag(torch.tensor([1.0, 1, 1, 5, 1, 1], dtype=torch.float64))
    change = nhsic(x @ stretch, y, estimator, kernel) - nhsic(x, y, estimator, kernel)
    assert abs(change) > 0.01


@pytest.mark.parametrize(("n", "expected"), [(100, 0.95), (450, 0.82)])
def test_independent_wide_features_look_dependent_to_the_biased_estimator_alone(
    n: int, expected: float
) -> None:
    x, y = features(n, 2000, 1), features(n, 2000, 2)
    assert nhsic(x, y, "biased") == pytest.approx(expected, abs=0.01)
    assert abs(nhsic(x, y, "unbiased")) < 0.02


def test_the_unbiased_estimator_averages_to_the_truth() -> None:
    # all samples of four from a population of three points: the expectation is a plain sum
    points = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 1.0]], dtype=torch.float64)
    k, l = gram(points[:, :1]), gram(points[:, 1:])  # noqa: E741
    truth = (k * l).mean() + k.mean() * l.mean() - 2 * (k.mean(0) * l.mean(0)).mean()
    draws = [points[list(index)] for index in itertools.product(range(3), repeat=4)]

    def mean(estimator: Estimator) -> float:
        each = [
            hsic([linear_gram(draw[:, :1]), linear_gram(draw[:, 1:])], estimator)[0, 1]
            for draw in draws
        ]
        return float(torch.stack(each).mean())

    assert mean("unbiased") == pytest.approx(truth, rel=1e-10)
    assert abs(mean("biased") - truth) > 0.01 * truth


@BOTH
def test_the_gaussian_kernel_sees_what_the_linear_one_cannot(estimator: Estimator) -> None:
    x = torch.linspace(-1, 1, 201, dtype=torch.float64)[:, None]
    assert abs(nhsic(x, x**2, estimator)) < 0.01
    assert nhsic(x, x**2, estimator, gaussian_gram) > 0.2


@BOTH
@KERNELS
def test_a_constant_depends_on_nothing(estimator: Estimator, kernel) -> None:
    x = features()
    constant = torch.full((40, 3), 0.1, dtype=torch.float64)
    found = normalized(hsic([kernel(x), kernel(constant), kernel(x)], estimator))
    expected = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


@BOTH
def test_a_feature_that_varies_by_rounding_alone_adds_nothing(estimator: Estimator) -> None:
    x = features().float()
    noisy = 1e4 + (torch.arange(40) % 2 * torch.finfo(torch.float32).eps * 1e4)[:, None]
    assert noisy.unique().numel() == 2
    found = hsic([linear_gram(x), linear_gram(noisy)], estimator)
    assert float(found[1, 1]) == 0
    torch.testing.assert_close(linear_gram(torch.cat((x, noisy), 1)), linear_gram(x))


def test_samples_that_are_all_equally_far_apart_are_constant_without_the_diagonal() -> None:
    far = torch.eye(8, dtype=torch.float64)
    found = hsic([linear_gram(far), linear_gram(features(8))], "unbiased")
    assert found[0].tolist() == [0, 0]
    assert float(hsic([linear_gram(far)], "biased")[0, 0]) > 0


def test_the_width_of_the_gaussian_kernel_is_the_lower_median_of_the_distances() -> None:
    x = torch.tensor([[0.0], [1.0], [3.0], [3.0]], dtype=torch.float64)
    # distances of different samples: 1, 2, 2, 3, 3; the pair of equal ones is left out
    expected = np.exp(-((x.numpy() - x.numpy().T) ** 2) / (2 * 2.0**2))
    np.testing.assert_allclose(gaussian_gram(x).numpy(), expected, atol=1e-12)
    # 1, 2, 3, 4, 5, 6: the lower of the two in the middle
    x = torch.tensor([[0.0], [1.0], [4.0], [6.0]], dtype=torch.float64)
    assert float(gaussian_gram(x)[0, 1]) == pytest.approx(np.exp(-1 / (2 * 3.0**2)))


def test_equal_samples_have_a_gaussian_kernel_of_ones() -> None:
    same = torch.full((5, 2), 0.3)
    assert torch.equal(gaussian_gram(same), torch.ones(5, 5, dtype=torch.float64))


def test_categories_are_one_hot_vectors_to_both_kernels() -> None:
    labels = torch.arange(40) % 3
    one_hot = torch.nn.functional.one_hot(labels).double()
    assert torch.equal(category_gram(labels[:, None]), one_hot @ one_hot.T)
    x = features()
    grams = [linear_gram(x), category_gram(labels[:, None]), gaussian_gram(one_hot)]
    found = normalized(hsic(grams, "unbiased"))
    assert float(found[0, 1]) == pytest.approx(float(found[0, 2]), abs=1e-12)
    two = torch.stack((labels, labels % 2), 1)
    assert float(category_gram(two)[0, 2]) == 1


def test_wide_features_are_taken_in_parts() -> None:
    x = features(6, 9000)
    around = x - x.mean(0)
    torch.testing.assert_close(linear_gram(x), around @ around.T)


def test_many_samples_are_multiplied_once_for_each_pair() -> None:
    x = features(300, 5)
    around = x - x.mean(0)
    found = linear_gram(x)
    torch.testing.assert_close(found, around @ around.T)
    kept = torch.empty(300, 300, dtype=torch.float64)
    assert linear_gram(x, out=kept) is kept
    assert torch.equal(kept, found)
    assert flops(lambda: linear_gram(x)) < 0.75 * 2 * 300 * 300 * 5


def flops(function: Callable[[], object]) -> int:
    """Return the floating-point operations of the products in a function."""

    def added(_: object, left: tuple[int, int], right: tuple[int, int], **__: object) -> int:
        return 2 * left[0] * left[1] * right[1]

    in_place = {torch.ops.aten.addmm_: added}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        function()
    return counter.get_total_flops()


def test_all_pairs_are_one_product_after_one_for_each_representation() -> None:
    count, n, d = 8, 32, 20
    x = [features(n, d, seed) for seed in range(count)]
    own, all_pairs = count * 2 * n * n * d, 2 * count**2 * (n * (n + 1) // 2)
    assert flops(lambda: hsic([linear_gram(each) for each in x])) == own + all_pairs


def test_a_stack_keeps_matrices_and_their_products() -> None:
    matrices = [features(7, 7, seed) for seed in range(3)]
    matrices = [matrix + matrix.T for matrix in matrices]
    stack = GramStack(3, 7)
    for index, matrix in enumerate(matrices):
        stack.add(index, matrix / 2)
        stack.add(index, matrix / 2)
        torch.testing.assert_close(stack[index], matrix)
    expected = torch.stack([torch.stack([(a * b).sum() for b in matrices]) for a in matrices])
    torch.testing.assert_close(stack.products(), expected)
    stack.apply(torch.exp)
    torch.testing.assert_close(stack[1], matrices[1].exp())


def test_a_stack_takes_gaussian_kernels_of_all_its_matrices() -> None:
    labels = torch.nn.functional.one_hot(torch.arange(40) % 2).double()
    x = [features(), labels, torch.ones(40, 2)]
    stack = GramStack(3, 40)
    for index, each in enumerate(x):
        stack.add(index, linear_gram(each))
    stack.to_gaussian()
    for index, each in enumerate(x):
        torch.testing.assert_close(stack[index], gaussian_gram(each), rtol=1e-12, atol=0)


@BOTH
def test_centering_leaves_no_mean_and_its_argument_as_it_was(estimator: Estimator) -> None:
    given = gaussian_gram(features())
    before = given.clone()
    found = center(given, estimator)
    assert torch.equal(given, before)
    torch.testing.assert_close(
        found.sum(0), torch.zeros(40, dtype=torch.float64), atol=1e-12, rtol=0
    )
    assert torch.equal(center(torch.ones(40, 40).double(), estimator), 0 * given)


def test_it_says_what_is_wrong() -> None:
    x = features(3)
    with pytest.raises(ArgumentError, match=r"unbiased estimator .* 4 samples .* have 3"):
        hsic([linear_gram(x)])
    assert hsic([linear_gram(x)], "biased").shape == (1, 1)
    with pytest.raises(ArgumentError, match=r"\[\(3, 3\), \(4, 4\)\]"):
        hsic([linear_gram(x), linear_gram(features(4))])
    with pytest.raises(ArgumentError, match="at least one"):
        hsic([])
    with pytest.raises(ArgumentError, match="floating-point matrix"):
        linear_gram(torch.arange(6).view(2, 3))
    with pytest.raises(ArgumentError, match=r"out must be float64 of shape \(3, 3\)"):
        linear_gram(x, out=torch.zeros(3, 3))
    with pytest.raises(ArgumentError, match="finite"):
        linear_gram(torch.tensor([[1.0], [float("nan")]]))
    with pytest.raises(ArgumentError, match=r"got \(4,\)"):
        category_gram(torch.arange(4))
