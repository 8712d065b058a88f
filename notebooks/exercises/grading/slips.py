"""Mistakes that are made in several exercises: wrong formulas, and what is said of them."""

import numpy as np


def row_sum(x):
    return x.sum(axis=-1, keepdims=True)


def row_mean(x):
    return x.mean(axis=-1, keepdims=True)


# ------------------------------------- dA, A -> a wrong dS, the backward of A = softmax(S)


def no_row_sum(dA, A):
    return A * dA


def diagonal_alone(dA, A):
    return A * (1 - A) * dA


def row_sum_without_A(dA, A):
    return A * (dA - row_sum(dA))


def mean_of_dA(dA, A):
    return A * (dA - row_mean(dA))


def mean_of_A_dA(dA, A):
    return A * (dA - row_mean(A * dA))


def sum_over_queries(dA, A):
    return A * (dA - (A * dA).sum(axis=-2, keepdims=True))


def one_sum_for_all(dA, A):
    return A * (dA - (A * dA).sum())


def row_sum_added(dA, A):
    return A * (dA + row_sum(A * dA))


def row_sum_not_weighted(dA, A):
    return A * dA - row_sum(A * dA)


def no_A_in_front(dA, A):
    return dA - row_sum(A * dA)


def of_other_sign(dA, A):
    return A * (row_sum(A * dA) - dA)


def dS_is_dA(dA, A):
    return dA


SOFTMAX_BACKWARD = {
    no_row_sum: "the row sum is missing: each score moves the weights of its whole row",
    diagonal_alone: "only the diagonal of the Jacobian, A (1 - A): each score moves the other weights, too",
    row_sum_without_A: "the row sum lacks A: it is the sum of A dA",
    mean_of_dA: "a mean of dA in the place of the sum of A dA",
    mean_of_A_dA: "a mean of A dA in the place of its sum",
    sum_over_queries: "the row sum runs over the wrong axis: a row is the last axis",
    one_sum_for_all: "one sum over all rows: each row has a sum of its own",
    row_sum_added: "the row sum is added: its sign is minus",
    row_sum_not_weighted: "the row sum is not multiplied by A",
    no_A_in_front: "the A in front is missing",
    of_other_sign: "the sign is the wrong way round",
    dS_is_dA: "the backward of softmax is missing: dS is dA",
}


def sum_without_keepdims(dA, A):
    return A * (dA - (A * dA).sum(axis=-1))


ON_EQUAL_SIZES = {sum_without_keepdims: "keepdims is missing: the sums of the rows are taken from the columns"}


def divided_by_A(dA, A):
    return A * (dA - row_sum(A**2 * dA / A))


WHERE_A_IS_ZERO = {divided_by_A: "divided by A, which may be 0"}


# -------------------------------------------------- scores, mask -> scores that are wrongly masked

def set_to(number):
    return lambda scores, mask: np.where(mask, scores, number)


def added(number):
    return lambda scores, mask: scores + np.where(mask, 0, number)


MASKED_BY_NUMBER = (set_to(-1e9), *(added(-(10.0**digits)) for digits in range(4, 13)))
NO_KEY_LEFT = (
    "a large negative number stands for -inf: where a row has no allowed key, all its scores are large and "
    "negative, and softmax makes weights of them; the row is 0"
)
