# %% [markdown]
# # 01 Lateral inhibition
# *Deep dive; the whole idea in 45 minutes is in [start_here](start_here.ipynb).*
#
# In the eye of the horseshoe crab *Limulus* a receptor that sees light silences its neighbours a
# little, and they silence it. This one idea, *each unit subtracts what the others do*, sharpens
# edges, rejects what all units have in common and, made strong, lets one unit win. Differential
# gated self-attention (M-DGSA) takes its motive from it: each of its heads (section 8) subtracts an
# inhibitory average from an excitatory one. This notebook builds the idea from two receptors up.
# Its last section says which parts of it are in M-DGSA.
#
# **You will do**
# - solve two receptors by hand, then any number by one linear solve;
# - derive what such a network does to the mean and to differences, and when a naive solver fails;
# - derive the bright and dark bands at an edge, and check a simulation against the formula;
# - put a photograph through the network, and make the inhibition so strong that one receptor
#   silences all others.
#
# **You will learn** common-mode rejection, spectral radius and convergence, recurrent and
# feed-forward inhibition, winner-take-all.
#
# **You need** linear algebra (eigenvectors), one second-order differential equation, NumPy. No
# neuroscience, no attention: section 8 says what one attention head computes and runs it; notebook
# 03 explains how.
#
# **Time** about 45 minutes, and 15 for the eight blanks: in a cell that begins with `# Your turn`
# replace the dots and run it again, and it says whether you are right.

# %%
try:
    import dgsa_np  # noqa: F401
except ModuleNotFoundError:  # as on Colab: install it, from where this notebook comes
    source = "..[notebooks]"  # this checkout; make address puts the repository here
    get_ipython().run_line_magic("pip", f'install --quiet "{source}"')  # noqa: F821

# %%
import matplotlib.pyplot as plt
import numpy as np
import sympy as sp
from sklearn.datasets import load_sample_image

from dgsa_np.attention import gated_head_forward
from dgsa_np.lab.blank import blank

plt.style.use("dgsa_np.lab.viz")
rng = np.random.default_rng(0)
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"

# %% [markdown]
# ## 1. Two receptors, by hand
#
# Hartline and Ratliff (1957) measured how receptors of *Limulus* act on each other, and summed it
# up in one equation for the steady state (see also Knight, *Scholarpedia* 6(1):2121). Receptor $p$
# would fire at the rate $e_p$ if it were alone in the light. Together they fire at the rates $r_p$:
#
# $$ r_p = e_p - \sum_j K_{pj}\,[\,r_j - r^0_{pj}\,]_+ , \qquad K_{pp} = 0 $$
#
# - $e_p$, $r_p$: rates in impulses per second. $e$ stands for excitation.
# - $K_{pj} \ge 0$: how strongly $j$ inhibits $p$, a pure number.
# - $[u]_+ = \max(u, 0)$, and $r^0_{pj}$ is a threshold: $j$ inhibits $p$ only by what it fires
#   above it.
# - The sum holds $r_j$, not $e_j$. A receptor that is itself inhibited inhibits less. That is
#   called *recurrent*.
#
# Take two receptors with $e = (10, 6)$, both $K_{12} = K_{21} = 0.2$, no thresholds. Then
# $r_1 = 10 - 0.2\,r_2$ and $r_2 = 6 - 0.2\,r_1$. Put the second into the first:
# $r_1 = 10 - 0.2\,(6 - 0.2\,r_1) = 8.8 + 0.04\,r_1$. So $r_1 = 8.8 / 0.96 = 9.1\overline{6}$ and
# $r_2 = 6 - 1.8\overline{3} = 4.1\overline{6}$.

# %%
r_1 = 8.8 / 0.96
r_2 = 6 - 0.2 * r_1
print("alone:    10.000  6.000   sum 16.000   difference 4.000")
print(f"together: {r_1:6.3f} {r_2:6.3f}   sum {r_1 + r_2:.3f}   difference {r_1 - r_2:.3f}")


def right_side(r, e, K, r0=0.0):
    """e_p - sum_j K_pj max(r_j - r0_pj, 0), for all p."""
    return e - (K * np.maximum(r - r0, 0)).sum(axis=1)


e = np.array([10.0, 6.0])
K = np.array([[0, 0.2], [0.2, 0]])
r = np.array([r_1, r_2])
assert abs(r - right_side(r, e, K)).max() < 1e-13

# %% tags=["blank"]
# Your turn, on paper: both receptors see the same light, e = (12, 12). How much does each fire?
rate_of_each = ...
blank(rate_of_each, np.linalg.solve(np.eye(2) + K, [12, 12])[0], "By symmetry r_1 = r_2: write one r for both.")

# %% [markdown]
# Look at the last two columns. Both rates went down, and the sum went down with them. But the
# *difference* went **up**, from 4 to 5. Section 3 says by how much in general.
#
# With thresholds one must know who is above them. Set both thresholds to 6. Guess that receptor 2
# stays below 6: then it inhibits nobody, $r_1 = 10$, and $r_2 = 6 - 0.2\,(10 - 6) = 5.2$. That is
# below 6, so the guess was right.
#
# **The usual mistake** is to keep solving the linear equations when a threshold is in the way. It
# is caught by putting the answer back into the equation.

# %%
r0 = 6.0
by_guess = np.array([10, 6 - 0.2 * (10 - 6)])
assert abs(by_guess - right_side(by_guess, e, K, r0)).max() < 1e-13

no_clipping = np.linalg.solve(np.eye(2) + K, e + K.sum(axis=1) * r0)  # r = e - K (r - r0)
left_over = abs(no_clipping - right_side(no_clipping, e, K, r0)).max()
print("guess, check:", by_guess, "  linear solve:", no_clipping.round(3), " misses by", left_over.round(3))
assert left_over > 0.1

# %% [markdown]
# ## 2. The linear network
#
# Up to section 6 all thresholds are 0, and we drop the $[\;]_+$, as we may where no rate is
# negative. The equation becomes linear, $r = e - K r$, and moving $K r$ to the left solves it for
# any number of receptors:
#
# $$ r = (I + K)^{-1} e $$

# %%
def steady_state(e, K):
    return np.linalg.solve(np.eye(len(e)) + K, e)


assert abs(steady_state(e, K) - r).max() < 1e-13  # the two receptors of section 1

N = 8
K = rng.uniform(0, 0.1, (N, N)) * (1 - np.eye(N))
e = rng.uniform(5, 15, N)
r = steady_state(e, K)
assert r.min() > 0  # all above their threshold of 0: the linear equation is the true one
assert abs(r - right_side(r, e, K)).max() < 1e-13
print("e", e.round(1), "\nr", r.round(1))

# %% tags=["blank"]
# Your turn: undo it. You know the rates r, and K. Which light was it? One line of NumPy.
light_before = ...
blank(light_before, e, "Solve r = e - K r for e.")

# %% [markdown]
# ## 3. Everyone inhibits everyone: the mean and the contrasts
#
# Let each of $N$ receptors inhibit each other one with the same strength $k$:
# $K = k\,(\mathbf 1 \mathbf 1^T - I)$, all entries $k$ but zeros on the diagonal. What does $K$ do
# to a vector $u$? Its entry $p$ is $k$ times the sum of all others,
# $(K u)_p = k\,(\sum_j u_j - u_p)$. Any light is its mean, the same everywhere, plus a rest that
# sums to 0. So two cases say everything:
#
# - **The mean.** $u = \mathbf 1$: the sum of the others is $N - 1$. So
#   $K \mathbf 1 = (N-1)k\,\mathbf 1$.
# - **A contrast**, a vector whose entries sum to 0, such as $(1, -1, 0, \dots)$: the others sum to
#   $-u_p$. So $K u = -k\,u$.
#
# These are all eigenvectors: one mean, $N - 1$ independent contrasts. $(I + K)^{-1}$ has the same
# eigenvectors, and divides each by 1 + its eigenvalue:
#
# $$ \text{gain of the mean} = \frac{1}{1 + (N-1)k}, \qquad \text{gain of a contrast} = \frac{1}{1 - k} $$

# %%
k = 0.2
K = k * (np.ones((N, N)) - np.eye(N))
mean = np.ones(N)
contrast = rng.normal(size=N)
contrast -= contrast.mean()

gain_mean, gain_contrast = 1 / (1 + (N - 1) * k), 1 / (1 - k)
assert abs(steady_state(mean, K) - gain_mean * mean).max() < 1e-13
assert abs(steady_state(contrast, K) - gain_contrast * contrast).max() < 1e-13

eigenvalues = np.linalg.eigvalsh(K)  # ascending: the contrasts first
assert abs(eigenvalues - np.array([-k] * (N - 1) + [(N - 1) * k])).max() < 1e-13
print(f"N = {N}, k = {k}: the mean is multiplied by {gain_mean:.3f}, every contrast by {gain_contrast:.3f}")

# %% [markdown]
# This explains section 1: $N = 2$, $k = 0.2$, so the sum 16 became $16/1.2 = 13.\overline 3$ and
# the difference 4 became $4/0.8 = 5$.
#
# Engineers call what is equal on all inputs the *common mode*, and ask of an amplifier by how much
# it prefers differences to it. That is the **common-mode rejection ratio**, the quotient of the two
# gains:
#
# $$ \mathrm{CMRR} = \frac{1 + (N-1)k}{1 - k} $$

# %%
def rejection(N, k):
    return (1 + (N - 1) * k) / (1 - k)


assert abs((r_1 - r_2) / (10 - 6) / ((r_1 + r_2) / (10 + 6)) - rejection(2, 0.2)) < 1e-13  # by hand
assert abs(gain_contrast / gain_mean - rejection(8, 0.2)) < 1e-13
print(f"two receptors: {rejection(2, 0.2):.2f}   eight: {rejection(8, 0.2):.2f}")

# %% tags=["blank"]
# Your turn: how many receptors, with k = 1/2, reject the common mode tenfold?
enough = ...
blank(enough, np.searchsorted(rejection(np.arange(50), 0.5), 10), "Both gains count: contrasts are doubled.")

# %% mystnb={"image": {"alt": "Left: over the strength k, the gain of a contrast rises without bound as k nears 1, while the gain of the mean falls below 1, furthest for 32 receptors. Right: the quotient of the two rises with k, and is largest for 32."}}
ks = np.linspace(0, 0.98, 200)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
left.plot(ks, 1 / (1 - ks), color=ORANGE, label="a contrast, any N")
for N_shown, style in ((2, "-"), (8, "--"), (32, ":")):
    left.plot(ks, 1 / (1 + (N_shown - 1) * ks), style, color=BLUE, label=f"the mean, N = {N_shown}")
    right.plot(ks, rejection(N_shown, ks), style, color=GREEN, label=f"N = {N_shown}")
left.axhline(1, color="0.6", lw=1)
left.set(xlabel="strength k (no unit)", ylabel="gain (no unit)", yscale="log", ylim=(0.025, 60))
left.set_title("Contrasts are amplified, the mean is reduced")
right.set(xlabel="strength k (no unit)", ylabel="contrast gain / mean gain", yscale="log")
right.set_title("More neighbours reject the common mode more")
left.legend()
right.legend()
plt.show()

# %% [markdown]
# Left: the grey line is a gain of 1, no change. Contrasts lie above it, the mean below it, and the
# contrast gain has a pole at $k = 1$. Right: the ratio of the two.
#
# **Stop and think.** Inhibition only ever subtracts something positive. How can it make a
# difference *larger*?
# <details><summary>Answer</summary>
#
# A receptor does not inhibit itself, $K_{pp} = 0$. The bright one is inhibited by the sum of the
# others, which lacks the bright one; the dark one is inhibited by a sum that holds it. So the dark
# one loses more. Let each inhibit itself as well, $K = k\,\mathbf 1 \mathbf 1^T$: all lose the
# same, contrasts have gain exactly 1, and the mean $1/(1+Nk)$. The next cell checks it.
# </details>

# %%
K_with_self = k * np.ones((N, N))
assert abs(steady_state(contrast, K_with_self) - contrast).max() < 1e-13
assert abs(steady_state(mean, K_with_self) - mean / (1 + N * k)).max() < 1e-13

# %% [markdown]
# ## 4. The naive iteration, and when it fails
#
# A tempting way to find $r$ without a solve: start anywhere and repeat $r \leftarrow e - K r$ until
# nothing changes. Let $r^*$ be the solution and $\varepsilon = r - r^*$ the error before a step.
# Subtract $r^* = e - K r^*$ from the step; the error after it is
#
# $$ \varepsilon_\text{next} = -K\,\varepsilon $$
#
# So a component of the error along an eigenvector of $K$ is multiplied by minus its eigenvalue each
# time: by $k$ for a contrast, by $-(N-1)k$ for the mean. The largest absolute eigenvalue is the
# **spectral radius**, here $(N-1)k$. The iteration converges from every start if and only if it is
# below 1: $(N-1)k < 1$.

# %% tags=["blank"]
# Your turn: eight receptors, k = 0.2, and all rates 1 too high (the error is +1 everywhere). What is the
# error of each after three naive steps?
error_after_3 = ...
blank(error_after_3, -(K @ K @ K @ np.ones(N))[0], "The same everywhere: that is the mean. Mind the sign.")

# %%
def errors(e, k, step, n_steps=40):
    """Largest error after each step of r <- (1 - step) r + step (e - K r); naive is step = 1."""
    K = k * (np.ones((N, N)) - np.eye(N))
    solution = steady_state(e, K)
    r, sizes = np.zeros(N), []
    for _ in range(n_steps):
        sizes.append(abs(r - solution).max())
        r = (1 - step) * r + step * (e - K @ r)
    return np.array(sizes)


converging, diverging = errors(e, 0.1, step=1), errors(e, 0.2, step=1)
for k, sizes in ((0.1, converging), (0.2, diverging)):
    factor = sizes[30] / sizes[29]
    print(f"k = {k}: (N-1)k = {(N - 1) * k:.1f}, measured factor per step {factor:.12f}")
    assert abs(factor - (N - 1) * k) < 1e-9
assert converging[-1] < 1e-4 and diverging[-1] > 1e5

# %% [markdown]
# At $k = 0.2$ the network itself is fine: section 3 solved it. Only the *solver* fails. It
# overcorrects: if all rates are too high, all are then inhibited too much, all become too low, and
# so on, a little worse each time.
#
# The cure is to go only a part $a$ of the way: $r \leftarrow (1-a)\,r + a\,(e - K r)$. The same
# subtraction as before gives $\varepsilon_\text{next} = (I - a\,(I + K))\,\varepsilon$. The
# eigenvalues of $I + K$ are $1 - k$ and $1 + (N-1)k$, so errors are multiplied by $1 - a(1-k)$ and
# $1 - a(1 + (N-1)k)$. For $0 < k < 1$ both eigenvalues are positive, and both factors lie in
# $(-1, 1)$ when $0 < a < 2/(1 + (N-1)k)$. The best $a$ makes the two equal in size and opposite in
# sign, $1 - a(1-k) = -1 + a(1 + (N-1)k)$; any other $a$ makes one of them larger in size. Solve for
# $a$:
#
# $$ a = \frac{2}{2 + (N-2)k}, \qquad \text{factor per step} = \frac{N k}{2 + (N-2)k} < 1 \iff k < 1 $$

# %%
def best_step(k):
    return 2 / (2 + (N - 2) * k)


damped = errors(e, 0.2, step=best_step(0.2))
factor = N * 0.2 / (2 + (N - 2) * 0.2)  # the error of the mean changes sign each step: compare over two
assert abs(damped[12] / damped[10] - factor**2) < 1e-9

for k in (0.1, 0.3, 0.5, 0.7, 0.9):  # the whole stable range
    sizes = errors(e, k, step=best_step(k), n_steps=2000)
    factor = N * k / (2 + (N - 2) * k)
    print(f"k = {k}: factor {factor:.3f}, error after 40 steps {sizes[40]:.0e}, after 2000 {sizes[-1]:.0e}")
    assert sizes[-1] < 1e-12 * e.max() / (1 - k)  # rounding: contrasts of r are up to e / (1 - k)

# %% mystnb={"image": {"alt": "Largest error over 40 steps, on a logarithmic axis: three straight lines. The naive iteration rises at k = 0.2 and falls at k = 0.1; the damped one, at k = 0.2, falls fastest."}}
figure, ax = plt.subplots(figsize=(8, 3.8))
ax.plot(diverging, "s-", color=ORANGE, label="naive, k = 0.2: (N-1)k = 1.4")
ax.plot(converging, "o-", color=BLUE, label="naive, k = 0.1: (N-1)k = 0.7")
ax.plot(damped, "^-", color=GREEN, label=f"damped, k = 0.2: a = {best_step(0.2):.3f}")
ax.set(xlabel="step", ylabel="largest error (impulses per second)", yscale="log", ylim=(1e-13, 1e9))
ax.set_title("The naive iteration diverges where the network is sound; a smaller step converges")
figure.legend(loc="outside lower center", ncols=3)
plt.show()

# %% [markdown]
# Straight lines (after the first steps) on a logarithmic axis: each error is multiplied by a
# constant per step. The orange and the green curve solve the *same* network.
#
# A real eye does not iterate. It follows something like $\tau\,\dot r = -r + e - K r$ with a time
# constant $\tau$, and the damped iteration is Euler's method for that equation with
# $a = \Delta t / \tau$. It settles if all eigenvalues of $I + K$ are positive, that is for $k < 1$.
# What happens beyond is section 7.

# %% [markdown]
# ## 5. Bands at an edge
#
# Now receptors on a line, where inhibition falls off with distance. Let $x$ be the place and let
# the total strength be $\kappa$ and the reach $\ell$:
#
# $$ r(x) = e(x) - \int K(x - y)\, r(y)\, dy, \qquad K(x) = \frac{\kappa}{2\ell}\, e^{-|x|/\ell}, \qquad
#    \int K(x)\,dx = \kappa $$
#
# This kernel is chosen because its Fourier transform is simple:
# $\hat K(\omega) = \kappa / (1 + \ell^2 \omega^2)$. With it a convolution becomes a product, the
# equation becomes $\hat r = \hat e - \hat K \hat r$, and we can read off the gain of every spatial
# frequency $\omega$ (in radians per unit of length):
#
# $$ \frac{\hat r}{\hat e} = \frac{1}{1 + \hat K} = \frac{1 + \ell^2\omega^2}{1 + \kappa + \ell^2\omega^2} $$
#
# Slow variations ($\omega \to 0$) are divided by $1 + \kappa$; fast ones ($\omega \to \infty$) pass
# unchanged. None is amplified, unlike the contrasts of section 3: on a continuum one neighbour
# alone has no weight, so it is as if $k$ there went to 0. (For the same reason $K(0)$ need not be 0
# here.)

# %%
x, l, kappa, w = sp.symbols("x l kappa omega", positive=True)
kernel = kappa / (2 * l) * sp.exp(-x / l)  # for x > 0; it is even, so integrate over x > 0 and double
assert sp.simplify(2 * sp.integrate(kernel, (x, 0, sp.oo)) - kappa) == 0
transform = 2 * sp.integrate(kernel * sp.cos(w * x), (x, 0, sp.oo))
assert sp.simplify(transform - kappa / (1 + l**2 * w**2)) == 0

gain = 1 / (1 + transform)
assert sp.simplify(gain - (1 + l**2 * w**2) / (1 + kappa + l**2 * w**2)) == 0
assert sp.limit(gain, w, 0) == 1 / (1 + kappa) and sp.limit(gain, w, sp.oo) == 1

# %% [markdown]
# **From the transform to a differential equation.** Call the inhibition $h = K * r$ (a
# convolution). From $\hat h = \hat K \hat r$ follows
# $(1 + \ell^2\omega^2)\,\hat h = \kappa\,\hat r$. A factor $-\omega^2$ is a second derivative, so
# $h - \ell^2 h'' = \kappa\, r$. Put in $r = e - h$:
#
# $$ (1 + \kappa)\,h - \ell^2 h'' = \kappa\, e $$
#
# **A step of light**: $e = E_1$ for $x < 0$ and $E_2$ for $x > 0$. On each side the right-hand side
# is constant, and the solution that stays finite is a constant plus an exponential that dies away
# from the edge: $h = \frac{\kappa E}{1+\kappa} + c\,e^{-m|x|/\ell}$ with $m = \sqrt{1+\kappa}$,
# $c = c_1$ on the left and $c_2$ on the right. At 0 the equation lets $h''$ jump with $e$, but it
# stays finite, so $h'$ and $h$ are continuous. For $h'$ that says $c_1 = -c_2$, for $h$ it says
# $c_1 - c_2 = \frac{\kappa\,(E_2 - E_1)}{1+\kappa}$, so $c_1$ is half of this. With $r = e - h$:
#
# $$ r(x) = \frac{E(x)}{1+\kappa}
#    + \mathrm{sign}(x)\, \frac{\kappa\,(E_2 - E_1)}{2\,(1+\kappa)}\; e^{-\sqrt{1+\kappa}\,|x|/\ell} $$

# %%
E1, E2 = sp.symbols("E1 E2", positive=True)
m, c = sp.sqrt(1 + kappa), kappa * (E2 - E1) / (2 * (1 + kappa))  # c is c_1
h_left = kappa * E1 / (1 + kappa) + c * sp.exp(m * x / l)  # x < 0
h_right = kappa * E2 / (1 + kappa) - c * sp.exp(-m * x / l)  # x > 0
for h, E in ((h_left, E1), (h_right, E2)):
    assert sp.simplify((1 + kappa) * h - l**2 * sp.diff(h, x, 2) - kappa * E) == 0  # the equation of h
assert sp.simplify((h_left - h_right).subs(x, 0)) == 0  # no jump
assert sp.simplify(sp.diff(h_left - h_right, x).subs(x, 0)) == 0  # no kink

step_formula = E2 / (1 + kappa) + c * sp.exp(-m * x / l)
assert sp.simplify(E2 - h_right - step_formula) == 0  # r = e - h, for x > 0
assert sp.simplify((E2 - h_right - E1 + h_left).subs(x, 0) - (E2 - E1)) == 0  # the jump of r at the edge

# %% tags=["blank"]
# Your turn, on paper: kappa = 2, a step of light from 10 to 20. The rates just left and just right of it?
at_the_edge = ...  # a list of two numbers
numbers = {x: 0, kappa: 2, E1: 10, E2: 20}
right_there = [float((E1 - h_left).subs(numbers)), float((E2 - h_right).subs(numbers))]
blank(at_the_edge, right_there, "Put x = 0 into the formula, with the sign of each side.")

# %% [markdown]
# Note the last assert. The plateaus come closer, from $E_2 - E_1$ to $(E_2 - E_1)/(1+\kappa)$, but
# the **jump** at the edge is $E_2 - E_1$, as large as in the light: a jump is made of the highest
# frequencies, and those pass with gain 1.
#
# **Simulation**, with $\kappa = 2$ and $\ell = 1$. Put receptors at distance $\Delta$ from each
# other, replace the integral by a sum, solve. The closed form is for an infinite line; ours is 40
# units long, and we compare where the ends are too far away to matter. A grid is an approximation:
# its error must *shrink* with $\Delta$, like a power of it. The exponent is called the order.

# %%
def line(spacing, light, kappa=2.0, reach=1.0, half_length=20.0):
    """Receptors at -20 + spacing/2, ..., their light and rates; the edge x = 0 lies between two."""
    n = round(2 * half_length / spacing)
    x = (np.arange(n) + 0.5) * spacing - half_length
    K = kappa / (2 * reach) * np.exp(-abs(x[:, None] - x) / reach) * spacing
    e = light(x)
    return x, e, steady_state(e, K), K


def step_response(x, E1, E2, kappa=2.0, reach=1.0):
    E = np.where(x < 0, E1, E2)
    band = kappa * (E2 - E1) / (2 * (1 + kappa)) * np.exp(-np.sqrt(1 + kappa) * abs(x) / reach)
    return E / (1 + kappa) + np.sign(x) * band


def step(x):
    return np.where(x < 0, 10.0, 20.0)


spacings = 1 / np.array([4, 8, 16, 32])
deviations = []
for spacing in spacings:
    x, e, r, K = line(spacing, step)
    deviations.append(abs(r - step_response(x, 10, 20))[abs(x) < 8].max())

# %%
orders = np.log2(np.array(deviations[:-1]) / deviations[1:])  # each spacing is half the one before
for spacing, deviation in zip(spacings, deviations, strict=True):
    print(f"spacing {spacing:.5f}: largest deviation {deviation:.1e} impulses per second")
print("observed orders", orders.round(3))
assert r.min() > 0  # no rate is clipped
assert deviations[-1] < 2e-3
assert (np.diff(orders) > 0).all() and abs(orders[-1] - 2) < 0.05  # towards 2 as the grid gets finer
assert abs(r - right_side(r, e, K)).max() < 1e-11  # the network is solved exactly; the rest is the grid

# %% [markdown]
# Half the spacing, a quarter of the error: the sum is a second-order approximation of the integral,
# and the formula is right.
#
# **Stop and think.** Bands are famous from pictures where the light does *not* jump but rises along
# a ramp (Mach bands). Nothing there is brighter than the bright plateau. Would the network still
# show a band? The right panel answers.

# %% mystnb={"image": {"alt": "Left: at a step of light from 10 to 20 the network's rate dips, jumps by 10, peaks and decays to a plateau, exactly as the closed form. Right: at the two knees of a ramp it has a small dip and a small peak. The feed-forward curves are negative, lower where the light is brighter."}}
def ramp(x):
    return 15 + 5 * np.clip(x / 1.5, -1, 1)


figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.7), sharey=True)
for ax, light in ((left, step), (right, ramp)):
    x, e, r, K = line(1 / 16, light)
    ax.plot(x, e, color="0.6", label="light e")
    ax.plot(x, r, color=GREEN, lw=3.5, alpha=0.6, label="recurrent network r")
    ax.plot(x, e - K @ e, "--", color=ORANGE, label="feed-forward e - K e")
    ax.set(xlabel="place x (units of the reach)", xlim=(-5, 5))
    if light is step:
        ax.axvspan(-1 / np.sqrt(3), 1 / np.sqrt(3), color="0.93", zorder=0)
        ax.plot(x, step_response(x, 10, 20), "k:", lw=1.5, label="closed form")
left.set_ylabel("impulses per second")
left.set_title("A step: the jump stays, the plateaus come closer")
right.set_title("A ramp: bands where the light has knees")
figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
plt.show()
assert r.max() > r[x > 4][0] + 0.2  # the ramp's band lies above its plateau

# %% [markdown]
# The black dots lie on the green line. The bands fade over $\ell/\sqrt{1+\kappa}$ (the grey strip).
# **The usual mistake** is to expect $\ell$. But the network is recurrent: the inhibitors near the
# edge are inhibited too.
#
# The orange curve is the other kind of inhibition: subtract the neighbours' *light*, once, without
# feedback, $e - K e$. With $\kappa = 2$ it turns brightness round (the gain of the mean is
# $1 - \kappa = -1$). The recurrent network cannot do that: its mean gain $1/(1+\kappa)$ stays
# positive. M-DGSA is of the orange kind.

# %%
x, e, r, K = line(1 / 32, step)
far = (abs(x) > 6) & (abs(x) < 8)
assert abs((e - K @ e)[far] - (1 - 2.0) * e[far]).max() < 0.05  # feed-forward: plateaus times 1 - kappa = -1
assert abs(r[far] - e[far] / (1 + 2.0)).max() < 2e-3  # recurrent: plateaus divided by 1 + kappa = 3

# %% [markdown]
# ## 6. A photograph
#
# The same network in two dimensions, one receptor per pixel. The photograph is one that
# scikit-learn ships (China), made grey, cropped, and made smaller (means of 2 by 2 pixels). Light
# is in $[0, 1]$, 1 is white. The kernel falls off as $e^{-\text{distance}/\ell}$ with $\ell = 4$
# pixels, is 0 at distance 0, and sums to $\kappa = 1$.
#
# 16,384 receptors make a matrix of 268 million entries. But the network is the same everywhere, so
# if we let the picture continue periodically (left neighbours of the left border are on the right
# border), Fourier modes are the eigenvectors and each gets its own gain, as in section 5 (the
# frequency $\omega$ is now a pair):
#
# $$ \hat r(\omega) = \frac{\hat e(\omega)}{1 + \hat K(\omega)} $$

# %%
def kernel_2d(size, kappa=1.0, reach=4.0):
    """Strength against the offset on a periodic grid, offset (0, 0) first; sums to kappa."""
    offset = np.minimum(np.arange(size), size - np.arange(size))
    strength = np.exp(-np.hypot(offset[:, None], offset) / reach)
    strength[0, 0] = 0
    return kappa * strength / strength.sum()


def inhibit(e, kernel):
    gain = 1 / (1 + np.fft.fft2(kernel).real)  # the kernel is even, its transform real
    assert gain.min() > 0  # all eigenvalues of I + K are positive: the network is stable
    return np.fft.ifft2(np.fft.fft2(e) * gain).real


small, kernel = rng.uniform(size=(16, 16)), kernel_2d(16)  # small enough for the matrix: 256 receptors
K = np.array([np.roll(kernel, (i, j), axis=(0, 1)).ravel() for i in range(16) for j in range(16)])
assert abs(inhibit(small, kernel).ravel() - steady_state(small.ravel(), K)).max() < 1e-13

# %%
photograph = load_sample_image("china.jpg").mean(axis=2) / 255
light = photograph[30:286, 80:336].reshape(128, 2, 128, 2).mean(axis=(1, 3))  # (128, 128)
kernel = kernel_2d(128)
rates = inhibit(light, kernel)

left_over = rates + np.fft.ifft2(np.fft.fft2(kernel) * np.fft.fft2(rates)).real - light
assert abs(left_over).max() < 1e-13  # r = e - K r, at every pixel
assert abs(rates.mean() - light.mean() / (1 + 1)) < 1e-13  # the mean is the frequency 0

jump_light, jump_rates = np.diff(light, axis=1), np.diff(rates, axis=1)
assert light[30, 90] < light[30, 120] and rates[30, 90] > rates[30, 120]  # the seam beside the roof
assert abs(jump_rates.std() / jump_light.std() - 1) < 0.05
print(f"mean:                          {light.mean():.3f} -> {rates.mean():.3f}")
print(f"steps, pixel to pixel (std):   {jump_light.std():.3f} -> {jump_rates.std():.3f}")
print(f"standard deviation:            {light.std():.3f} -> {rates.std():.3f}")
print(f"pixels with a negative rate:   {(rates < 0).mean():.1%}")

# %% tags=["blank"]
# Your turn: make the photograph 0.2 brighter everywhere. By how much does every rate rise, and by how much
# do the steps from pixel to pixel?
rise_and_steps = ...  # a list of two numbers
risen = inhibit(light + 0.2, kernel) - rates
blank(rise_and_steps, [risen.mean(), abs(np.diff(risen, axis=1)).max()], "What is added has the frequency 0.")

# %% mystnb={"image": {"alt": "A pagoda in grey; its rates, with a greyer sky and a bright seam around the roof; and both along row 30: the rates lie lower, keep the steep edges, and peak beside the roof."}}
row = 30
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), width_ratios=(1, 1, 1.25))
for ax, image, title in ((axes[0], light, "light e"), (axes[1], rates, "rates r, own grey scale")):
    ax.imshow(image, cmap="gray")
    ax.axhline(row, color=ORANGE, lw=1)
    ax.set(title=title, xlabel="column (pixels)")
    ax.grid(False)
axes[0].set_ylabel("row (pixels)")
axes[2].plot(light[row], color="0.6", label="light")
axes[2].plot(rates[row], color=GREEN, label="rates")
axes[2].axhline(0, color="0.8", lw=1)
axes[2].set(xlabel="column (pixels)", ylabel="light, rate (0 to 1)", ylim=(-0.15, 1.15))
axes[2].set_title("Edges stay, plateaus sink")
axes[2].legend(ncols=2, loc="upper center")
plt.show()

# %% [markdown]
# The mean falls to a half, the steps from pixel to pixel keep their size: relative to the mean,
# edges became twice as strong. In the middle picture the sky is grey, with a bright seam around the
# roof, and its large bright and dark areas have come closer together. The right panel is the orange
# line: compare the sky at column 90, beside the roof, with the sky at column 120: less light, but a
# higher rate. Two cautions:
#
# - Some rates are negative (the share is printed above). A real receptor cannot fire a negative
#   rate; there the linear equation of section 2 is not the equation of section 1, and what we drew
#   is the linear approximation.
# - Along the border there are false seams: the left border was inhibited by the right one. That is
#   our periodic shortcut, not the eye.

# %% [markdown]
# ## 7. Too strong: the winner takes all
#
# In section 3 the contrast gain $1/(1-k)$ had a pole at $k = 1$. Beyond it the gain is negative,
# and the network does not settle there. The dynamics say what happens instead. Take two receptors
# that see the same light and follow $\dot r = -r + e - K r$ (section 4), with time in units of
# $\tau$. Receptor 1 loses $k\,r_2$, receptor 2 loses $k\,r_1$. Subtract the two equations; $e$
# drops out, and for the difference $u = r_1 - r_2$
#
# $$ \dot u = -(1 - k)\,u \quad\Rightarrow\quad u(t) = u(0)\,e^{(k-1)t} $$
#
# For $k < 1$ a difference dies out; for $k > 1$ it **grows**, however small it was.

# %%
def simulate(e, k, start, rectified, time=20.0, dt=0.01):
    """Rates at every time step, (steps, N), by Euler's method; rectified: no drive below 0."""
    N, r = len(e), np.array(start, float)
    K = k * (np.ones((N, N)) - np.eye(N))
    path = [r]
    for _ in range(round(time / dt)):
        drive = e - K @ r
        r = r + dt * (-r + (np.maximum(drive, 0) if rectified else drive))
        path.append(r)
    return np.array(path)


for k in (0.5, 1.0, 1.5):
    path = simulate(np.array([10.0, 10.0]), k, start=(3.01, 2.99), rectified=False, time=4, dt=0.001)
    u = path[:, 0] - path[:, 1]
    formula = 0.02 * np.exp((k - 1) * 4)
    print(f"k = {k}: the difference went from {u[0]:.4f} to {u[-1]:.4f}, formula {formula:.4f}")
    assert abs(u[-1] / formula - 1) < 2e-3  # Euler's error at dt = 0.001

# %% [markdown]
# A growing difference pushes one rate to zero, and there the linear equation ends: no rate is
# negative, and a silent receptor inhibits nobody. So use $\dot r = -r + [\,e - K r\,]_+$ (the
# bracket is called the *drive*): rates that start at or above 0 stay there. Who can be the last one
# firing? Suppose only receptor $w$ fires. Nobody inhibits it: $r_w = e_w$. The others get
# $e_j - k\,e_w$, and remain silent if that is not positive:
#
# $$ w \text{ alone is a steady state} \iff e_j \le k\,e_w \quad \text{for all } j \ne w $$
#
# (For $k < 1$ at most one receptor passes, since $e_j \le k\,e_w < e_w$ says that it has the most
# light.) For $e = (10, 9)$ and $k = 1.5$ each of the two can be the winner: $9 \le 15$ and
# $10 \le 13.5$. For $k = 1.05$ only the first: $10 > 9.45$.

# %%
e = np.array([10.0, 9.0])
first = simulate(e, 1.5, start=(1, 0), rectified=True)[-1]
second = simulate(e, 1.5, start=(0, 5), rectified=True)[-1]
print("k = 1.5, receptor 1 has a head start:", first.round(6), "  receptor 2 has:", second.round(6))
assert abs(first - [10, 0]).max() < 1e-6 and abs(second - [0, 9]).max() < 1e-6

only = simulate(e, 1.05, start=(0, 9), rectified=True, time=200)[-1]
print("k = 1.05, receptor 2 starts as the winner:", only.round(6))
assert abs(only - [10, 0]).max() < 1e-3

balance = np.linalg.solve([[1, 1.5], [1.5, 1]], e)  # both fire: a steady state, but an unstable one
assert abs(simulate(e, 1.5, start=balance, rectified=True, time=1)[-1] - balance).max() < 1e-12
nudged = simulate(e, 1.5, start=balance + np.array([1e-6, 0]), rectified=True, time=60)[-1]
assert abs(nudged - [10, 0]).max() < 1e-6

# %% tags=["blank"]
# Your turn: three receptors, e = (10, 9, 8), k = 1.2. How many of them can be the last one firing?
can_win = ...
three = np.array([10.0, 9.0, 8.0])
ends = np.array([simulate(three, 1.2, ahead, rectified=True, time=100)[-1] for ahead in 9 * np.eye(3)])
blank(can_win, (ends.argmax(axis=1) == np.arange(3)).sum(), "Try the rule for each of the three as the winner.")

# %% mystnb={"image": {"alt": "Paths of two rates. At k = 0.5 all end at one point, where both receptors fire. At k = 1.5 some end with receptor 1 alone and some with receptor 2 alone; a cross between them marks the unstable balance."}}
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.9), sharey=True)
edge = [(a, b) for a in (0, 4, 8, 12) for b in (0, 12)] + [(a, b) for a in (0, 12) for b in (4, 8)]
starts = [*edge, (1.5, 0), (0, 1.5), (2, 5), (4, 4)]
for ax, k in ((left, 0.5), (right, 1.5)):
    for start in starts:
        path = simulate(e, k, start, rectified=True)
        end_is_first = path[-1, 0] > path[-1, 1]
        ax.plot(*path.T, color=BLUE if end_is_first else ORANGE, lw=1.2)
        ax.plot(*path[-1], "o", color=BLUE if end_is_first else ORANGE, ms=10, clip_on=False, zorder=5)
    ax.set(xlabel="rate of receptor 1 (impulses per second)", xlim=(0, 12.2), ylim=(0, 12.2))
note = {"arrowprops": {"arrowstyle": "->"}, "bbox": {"fc": "white", "ec": "none", "pad": 1}, "zorder": 7}
rest = np.linalg.solve([[1, 0.5], [0.5, 1]], e)
left.annotate("all paths end here", rest, (8.2, 2.2), **note)
right.plot(*balance, "kx", ms=9, mew=2, zorder=6)
right.annotate("balance, unstable", balance, (5.6, 6.9), **note)
left.set_ylabel("rate of receptor 2 (impulses per second)")
left.set_title("k = 0.5: both fire, whatever the start")
right.set_title("k = 1.5: one wins, and the start decides which")
plt.show()

# %% [markdown]
# Each line is a path of the two rates from another start. Left: one resting point. Right: blue
# paths end with receptor 1 alone, orange ones with receptor 2 alone, although receptor 1 always has
# more light. The cross is the point where both fire; a millionth beside it is enough to leave it.
#
# **Stop and think.** Three receptors with equal light, $k = 1.5$, all starting at exactly 0. Who
# wins?
# <details><summary>Answer</summary>
#
# Nobody. The start is symmetric and so are the equations; the three stay equal for ever, at
# $e/(1 + 2k)$. It is the mean mode, which is stable. A start that differs a little breaks the tie.
# The next cell shows both.
# </details>

# %%
e = np.array([10.0, 10.0, 10.0])
tie = simulate(e, 1.5, start=(0, 0, 0), rectified=True)[-1]
broken = simulate(e, 1.5, start=(0, 1e-3, 0), rectified=True, time=60)[-1]
print("exact tie:", tie.round(4), "  a thousandth ahead:", broken.round(4))
assert abs(tie - 10 / (1 + 2 * 1.5)).max() < 1e-6 and abs(broken - [0, 10, 0]).max() < 1e-6

# %% [markdown]
# ## 8. What of this is in M-DGSA, and what is not
#
# A head of attention reads $T$ vectors, the *tokens* (patches of an image, say). By learned
# matrices it makes three vectors of each: a *query*, a *key* and a *value*. Output $i$ is an
# average of all values $v_j$; the better query $i$ fits key $j$ (inner product), the larger the
# weight $A_{ij}$. The weights are positive, each row sums to 1 (softmax, notebook 03). A head of
# M-DGSA has two queries and two keys per token, so two tables of weights, $A_\text{exc}$ and
# $A_\text{inh}$. A gate $g \in (0, 1)$ per row mixes them [eq:gated-head, machine review] (labels
# like this are explained in `docs/equations.md`):
#
# $$ A = g\,A_\text{exc} - (1 - g)\,A_\text{inh}, \qquad o = A\,v $$
#
# **What carries over: signed weights and a rejected common mode.** Each row of $A$ sums to
# $g - (1 - g) = 2g - 1$. So a constant $c$ added to all values moves the output by $(2g - 1)\,c$,
# and at $g = 1/2$ not at all: like the mean in section 3, but with a gain that can be exactly 0.

# %%
T, d = 10, 4
q_exc, q_inh, k_exc, k_inh = rng.normal(size=(4, 1, 1, T, d))  # queries, keys: 1 input, 1 head, T tokens
v = rng.normal(size=(1, 1, T, 2 * d))  # values are twice as wide in M-DGSA
z_gate = rng.normal(size=(1, 1, T))  # the gate is g = 1 / (1 + exp(-z_gate))
o, cache = gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, z_gate)
g = cache.gate[..., None]
assert abs(cache.A - (g * cache.A_exc - (1 - g) * cache.A_inh)).max() < 1e-13
assert abs(o - cache.A @ v).max() < 1e-13

shifted, _ = gated_head_forward(q_exc, k_exc, q_inh, k_inh, v + 7.0, z_gate)
assert abs(shifted - o - (2 * g - 1) * 7.0).max() < 1e-13
half = np.zeros((1, 1, T))  # logit 0: g = 1/2
o_half, _ = gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, half)
shifted, _ = gated_head_forward(q_exc, k_exc, q_inh, k_inh, v + 7.0, half)
print(f"values + 7 at g = 1/2: the output moves by {abs(shifted - o_half).max():.0e}")
assert abs(shifted - o_half).max() < 1e-13

# %% tags=["blank"]
# Your turn: add 7 to all values again, now at g = 0.2. By how much does the output move?
moved_by = ...
logit = np.full((1, 1, T), np.log(0.2 / 0.8))  # of g = 0.2
before, after = (gated_head_forward(q_exc, k_exc, q_inh, k_inh, values, logit)[0] for values in (v, v + 7.0))
blank(moved_by, (after - before).mean(), "What do the rows of A sum to at this g? Mind the sign.")

# %% [markdown]
# **What does not carry over: neighbours.** In sections 5 and 6 it mattered who sits beside whom. A
# head has no such order: hand it the same keys and values in a shuffled order, and the output is
# the same. Shuffle the light on the line of section 5, and the rates change: each receptor has
# other neighbours now.

# %%
order = rng.permutation(T)
o_shuffled, _ = gated_head_forward(
    q_exc, k_exc[:, :, order], q_inh, k_inh[:, :, order], v[:, :, order], z_gate
)
assert abs(o_shuffled - o).max() < 1e-13  # attention: order plays no part

x, e, r, K = line(1 / 4, step)
places = rng.permutation(len(e))
r_shuffled = steady_state(e[places], K)  # the same light, dealt out to other places of the same eye
print(f"line of receptors: shuffling changes the rates by up to {abs(r_shuffled - r[places]).max():.1f}")
assert abs(r_shuffled - r[places]).max() > 1

# %% [markdown]
# **What does not carry over: inhibition made of excitation.** In the eye, inhibition is a fixed
# function of what the others fire. In the head, $A_\text{inh}$ has queries and keys of its own. It
# can be anything, whatever $A_\text{exc}$ is; nothing makes it broader or even related. Training
# decides.
#
# **What does not carry over: feedback.** The head subtracts once; the output does not inhibit
# itself. So no iteration, no spectral radius, no winner-take-all by instability: the absolute
# weights of a row sum to at most $g + (1 - g) = 1$ whatever the scores are.

# %%
_, other = gated_head_forward(q_exc, k_exc, 3 * rng.normal(size=q_inh.shape), k_inh, v, z_gate)
assert abs(other.A_exc - cache.A_exc).max() == 0  # the same excitation ...
assert abs(other.A_inh - cache.A_inh).max() > 0.1  # ... under another inhibition

_, extreme = gated_head_forward(100 * q_exc, k_exc, 100 * q_inh, k_inh, v, z_gate)
assert abs(extreme.A).sum(axis=-1).max() <= 1 + 1e-14

# %% [markdown]
# | | *Limulus* (this notebook) | a head of M-DGSA |
# |---|---|---|
# | what is subtracted | what the neighbours fire | a second average of the values, with learned weights |
# | strength | fixed wiring $K$ | made anew from each input (softmax), and $1 - g$ |
# | neighbourhood | distance on the retina | none: tokens are a set; places enter only if the tokens carry them |
# | feedback | yes, $r$ on both sides | no, one pass |
# | gain of the common mode | $1/(1 + \kappa)$, above 0 | $2g - 1$ for a shift of the values; any sign |
# | can a difference run away | yes, for $k > 1$ | no, absolute weights of a row sum to at most 1 |
#
# One more caution. A brighter image is not simply a shift of all values: it passes other layers
# first. So "M-DGSA rejects brightness as the eye does" does not follow from the above.
#
# ## What you now know
#
# 1. All-to-all inhibition multiplies the mean by $1/(1 + (N-1)k)$ and contrasts by $1/(1-k)$; the
#    naive iteration needs $(N-1)k < 1$, the network itself only $k < 1$.
# 2. At an edge the plateaus are divided by $1 + \kappa$ and the jump is kept; bands fade over
#    $\ell/\sqrt{1+\kappa}$. For $k > 1$ one receptor wins, and the start matters.
# 3. M-DGSA shares with this the subtraction and the rejected common mode, not the neighbours, the
#    feedback or the fixed wiring.
#
# **To try**
# - Give the line of section 5 a thin bright line on a dark ground. How does the response depend on
#   the width of the line?
# - Replace the kernel of section 6 by one with $\ell = 1$ and by one with $\ell = 16$. Which
#   outlines get seams?
# - In section 7, use eight receptors with random light and $k = 1.2$, and find by experiment who
#   can win. Compare with the rule.
#
# Next: [02 Centre and surround](02_centre_and_surround.ipynb), where one setting of M-DGSA *is* a
# receptive field, exactly.
