"""Multinomial logistic regression by L-BFGS in the space of the texts or of the features, the smaller one.

For sparse or dense features X, (N, F), labels y, weights of the rows v and the inverse of the regularisation C:

    minimise  Σ_i v_i · -log softmax(Z_i)[y_i] + ‖W‖² / (2 C)      with  Z = X W + b

The gradient for W is Xᵀ R + W / C, with R = v · (softmax(Z) - Y), so from W = 0 on, W and every direction are Xᵀ times some
matrix of N rows. L-BFGS needs no more than sums and inner products of such matrices:

    W = Xᵀ A        ⟨Xᵀ A, Xᵀ B⟩ = ⟨A, K B⟩        K = X Xᵀ

So it keeps A and X W = K A, both (N, K), which are far smaller than W, (F, K), for texts: N-grams outnumber texts. An
iteration takes one product with K, that is one with Xᵀ and one with X. The margins Z along a direction are linear in the step,
so the line search takes no product at all. With fewer features than texts, W is kept instead: it is smaller, and K is singular,
so that A would not be unique.

Two classes have one column of margins, z, whose logits are -z/2 and z/2.

Products sum each row in one order, so that they do not depend on the number of threads.

Shapes: N texts, F features, C classes, K columns of margins: 1 for two classes, else C.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

#: Most pairs of steps and gradient differences that L-BFGS remembers, and most numbers in all of them, 4 bytes each.
PAIRS, MAX_NUMBERS = 8, 256_000_000
#: Most iterations of a fit, unless its caller wants another number.
ITERATIONS = 80
#: Share of the first gradient's norm at which a fit ends.
TOLERANCE = 1e-4
#: Trial steps of a line search, and the share of the slope at 0 at which it ends.
TRIALS, FLATNESS = 12, 0.1
#: Iterations between calls of ``stop``.
STOP_EVERY = 10
#: From this number of columns on, PyTorch's product with all threads is faster than SciPy's.
WIDE = 4


class Rows:
    """A sparse matrix, float32, (N, F), that is multiplied with dense ones."""

    def __init__(self, matrix: csr_matrix) -> None:
        self.matrix = matrix
        self.indices = torch.from_numpy(matrix.indices.astype(np.int64, copy=False))
        self.starts = torch.from_numpy(matrix.indptr[:-1].astype(np.int64))
        self.values = torch.from_numpy(matrix.data)

    def __matmul__(self, dense: Tensor) -> Tensor:
        """The product with (F, K), float32, (N, K)."""
        if dense.shape[1] < WIDE or not len(self.values):
            return torch.from_numpy(self.matrix @ dense.numpy())
        return F.embedding_bag(self.indices, dense, self.starts, mode="sum", per_sample_weights=self.values)


class Point(NamedTuple):
    """W and b, with the product X W; or a direction, or a gradient."""

    a: Tensor  # A, (N, K), of W = Xᵀ A; or W, (F, K)
    image: Tensor  # X W, (N, K)
    bias: Tensor  # (K,)

    @property
    def dual(self) -> Tensor:
        """The factor D for which ⟨W', W⟩ = ⟨a', D⟩, with a' of another point: X W if ``a`` is A, else W."""
        return self.image if len(self.a) == len(self.image) else self.a

    def dot(self, other: Self) -> float:
        """The inner product of both W and both b."""
        return float(torch.dot(self.a.flatten(), other.dual.flatten()) + torch.dot(self.bias, other.bias))

    def plus(self, factor: float, other: Self) -> Point:
        """This point and ``factor`` times another."""
        return Point(*(mine.add(theirs, alpha=factor) for mine, theirs in zip(self, other, strict=True)))

    def times(self, factor: float) -> Point:
        """``factor`` times this point."""
        return Point(*(mine * factor for mine in self))


class Problem:
    """The data of a fit: features, float32, (N, F), labels 0 … C - 1, int64, (N,), and weights of the rows, (N,)."""

    rows: Rows | Tensor
    columns: Rows | Tensor

    def __init__(
        self, features: csr_matrix | Tensor, labels: np.ndarray, n_classes: int, row_weights: np.ndarray | None = None
    ) -> None:
        if isinstance(features, Tensor):
            self.rows, self.columns = features, features.T
        else:
            self.rows, self.columns = Rows(features), Rows(features.T.tocsr())
        self.n_features = features.shape[1]
        self.labels = torch.from_numpy(labels.astype(np.int64))
        self.weights = torch.ones(len(labels)) if row_weights is None else torch.from_numpy(row_weights).float()
        self.width = 1 if n_classes == 2 else n_classes
        #: Whether points keep W, (F, K), instead of A, (N, K). With as many features as texts they keep A.
        self.keeps_weights = self.n_features < len(labels)

    def start(self) -> Point:
        """W = 0 and b = 0."""
        a = torch.zeros(self.n_features if self.keeps_weights else len(self.labels), self.width)
        return Point(a, torch.zeros(len(self.labels), self.width), torch.zeros(self.width))

    def weights_of(self, point: Point) -> Tensor:
        """W of a point, (F, K)."""
        return point.a if self.keeps_weights else self.columns @ point.a

    def gradient(self, point: Point, residual: Tensor, penalty: float) -> Point:
        """The gradient at a point with R, (N, K)."""
        a = (self.columns @ residual if self.keeps_weights else residual).add(point.a, alpha=penalty)
        return Point(a, self.rows @ (a if self.keeps_weights else self.columns @ a), residual.sum(dim=0))

    def loss(self, margins: Tensor) -> tuple[float, Tensor]:
        """The sum of losses at margins, (N, K), and its gradient R, (N, K)."""
        log_shares = logits_of(margins).log_softmax(dim=1)  # (N, C)
        own = self.labels[:, None]
        total = -float((log_shares.gather(1, own)[:, 0] * self.weights).sum(dtype=torch.float64))
        gradient = log_shares.exp_().scatter_add_(1, own, torch.full((len(own), 1), -1.0)) * self.weights[:, None]
        return total, (gradient[:, 1:] - gradient[:, :1]) / 2 if self.width == 1 else gradient


def logits_of(margins: Tensor) -> Tensor:
    """Logits, (N, C), from margins, (N, K)."""
    return torch.cat([-margins, margins], dim=1) / 2 if margins.shape[1] == 1 else margins


def fit(
    problem: Problem,
    inverse_regularisation: float,
    start: Point | None = None,
    iterations: int = ITERATIONS,
    stop: Callable[[Point], bool] | None = None,
) -> Point:
    """Minimise the objective.

    Args:
        inverse_regularisation: C.
        start: of the iterations, such as the fit with a lower C.
        iterations: at most.
        stop: is asked every STOP_EVERY iterations whether to end the fit.
    """
    with torch.no_grad():
        return _fit(problem, 1 / inverse_regularisation, start or problem.start(), iterations, stop)


def _fit(problem: Problem, penalty: float, point: Point, iterations: int, stop: Callable[[Point], bool] | None) -> Point:
    most = max(2, min(PAIRS, MAX_NUMBERS // (2 * (point.a.numel() + point.image.numel()))))  # two points a pair
    pairs: list[tuple[Point, Point, float]] = []  # step, difference of gradients, 1 / their product
    _, residual = problem.loss(problem.start().image)
    norm = problem.gradient(problem.start(), residual, penalty)
    smallest = TOLERANCE**2 * norm.dot(norm)
    loss, residual = problem.loss(point.image + point.bias)
    gradient = problem.gradient(point, residual, penalty)
    for iteration in range(iterations):
        if gradient.dot(gradient) <= smallest:
            break
        if stop is not None and iteration and not iteration % STOP_EVERY and stop(point):
            break
        direction = _direction(gradient, pairs)
        slope = gradient.dot(direction)
        first = 1.0 if pairs else min(1.0, gradient.dot(gradient) ** -0.5)
        found = _line_search(problem, point, direction, penalty, loss, slope, first) if slope < 0 else None
        if found is None or found.change >= 0:  # rounding: begin anew from the steepest descent, or end there
            if not pairs:
                break
            pairs.clear()
            continue
        step, loss = found.step, found.loss
        point = point.plus(step, direction)
        following = problem.gradient(point, found.residual, penalty)
        moved, change = direction.times(step), following.plus(-1.0, gradient)
        if (product := moved.dot(change)) > 0:
            pairs = [*pairs, (moved, change, 1 / product)][-most:]
        gradient = following
    return point


def _direction(gradient: Point, pairs: list[tuple[Point, Point, float]]) -> Point:
    """The two loops of Nocedal & Wright 2006, "Numerical Optimization", algorithm 7.4."""
    found = gradient.times(-1.0)
    factors = []
    for step, change, inverse in reversed(pairs):
        factors.append(inverse * step.dot(found))
        found = found.plus(-factors[-1], change)
    if pairs:
        _, change, inverse = pairs[-1]
        found = found.times(1 / (inverse * change.dot(change)))
    for (step, change, inverse), factor in zip(pairs, reversed(factors), strict=True):
        found = found.plus(factor - inverse * change.dot(found), step)
    return found


class LineSearchResult(NamedTuple):
    """Where a line search ended: the step, the change of the objective, the sum of losses and R, (N, K)."""

    step: float
    change: float
    loss: float
    residual: Tensor


def _line_search(
    problem: Problem, point: Point, direction: Point, penalty: float, loss: float, slope: float, first: float
) -> LineSearchResult:
    """A step along a descent direction where the objective, which is convex, is nearly flat.

    The secant of the last two slopes proposes the next step, kept inside of the bracket of the minimum.
    """
    margins, rate = point.image + point.bias, direction.image + direction.bias
    linear = penalty * float(torch.dot(direction.a.flatten(), point.dual.flatten()))
    quadratic = penalty * float(torch.dot(direction.a.flatten(), direction.dual.flatten()))
    below, above = 0.0, float("inf")
    last, last_slope, step = 0.0, slope, first
    for trial in range(TRIALS):
        there, residual = problem.loss(margins.add(rate, alpha=step))
        here = float(torch.dot(residual.flatten(), rate.flatten())) + linear + quadratic * step
        if abs(here) <= FLATNESS * abs(slope) or trial == TRIALS - 1:
            break
        below, above = (below, step) if here > 0 else (step, above)
        proposed = step - here * (step - last) / (here - last_slope) if here != last_slope else float("inf")
        last, last_slope = step, here
        if above == float("inf"):
            step = min(max(proposed, 1.1 * step), 10 * step)
        else:
            margin = 0.05 * (above - below)
            step = proposed if below + margin < proposed < above - margin else (below + above) / 2
    return LineSearchResult(step, there - loss + linear * step + quadratic * step**2 / 2, there, residual)
