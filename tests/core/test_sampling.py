"""Solvers integrate what they should, and with the order they claim."""

from __future__ import annotations

import numpy as np
import pytest

from gigaedge.sampling import SOLVERS, Solver, coefficients


def integrate(solver: Solver, sigmas: np.ndarray) -> float:
    """x(0) of dx/dsigma = -x + sin(9 sigma), x(1) = 1."""
    x, previous = 1.0, 0.0
    for sigma, (now, before) in zip(sigmas[:-1], coefficients(sigmas, solver), strict=True):
        velocity = -x + np.sin(9 * sigma)
        x, previous = x + now * velocity + before * previous, velocity
    return x


def even(steps: int) -> np.ndarray:
    return np.linspace(1, 0, steps + 1, dtype=np.float32)


def test_euler_is_the_difference_of_the_levels() -> None:
    sigmas = np.array([1.0, 0.7, 0.2, 0.0], np.float32)
    np.testing.assert_array_equal(coefficients(sigmas, "euler")[:, 0], np.diff(sigmas))
    assert not coefficients(sigmas, "euler")[:, 1].any()


@pytest.mark.parametrize("sigmas", [[1.0, 0.0], [1.0, 0.7, 0.2, 0.0], list(even(7))])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_constant_velocity_is_exact(solver: Solver, sigmas: list[float]) -> None:
    """The coefficients of every step sum to its length, and the first needs no step before it."""
    levels = np.array(sigmas, np.float32)
    table = coefficients(levels, solver)
    np.testing.assert_allclose(table.sum(axis=1), np.diff(levels), rtol=1e-6)
    assert table[0, 1] == 0


def test_multistep_is_exact_for_a_velocity_linear_in_sigma() -> None:
    sigmas = np.array([1.0, 0.9, 0.7, 0.25, 0.0], np.float32)
    table, x, previous = coefficients(sigmas, "multistep"), 0.0, 0.0
    for sigma, (now, before) in zip(sigmas[:-1], table, strict=True):
        x, previous = x + now * sigma + before * previous, float(sigma)
    euler_first_step = 0.5 * 0.1**2
    assert x == pytest.approx(-0.5 - euler_first_step, abs=1e-6)


def test_halving_the_steps_quarters_the_error_of_multistep_and_halves_that_of_euler() -> None:
    truth = integrate("multistep", even(4096))
    errors = {solver: [abs(integrate(solver, even(n)) - truth) for n in (32, 64, 128)] for solver in SOLVERS}
    for solver, order in (("euler", 1), ("multistep", 2)):
        ratios = np.array(errors[solver][:-1]) / np.array(errors[solver][1:])
        np.testing.assert_allclose(ratios, 2**order, rtol=0.25)
