# %% [markdown]
# # 02 Centre and surround
# *Deep dive; the whole idea in 45 minutes is in [start_here](start_here.ipynb).*
#
# Many cells of the retina respond to light in a small *centre* and are inhibited by light in a
# wider *surround*. The usual model of such a receptive field is a difference of two Gaussians. This
# notebook derives what it does, sets two other kinds of inhibition beside it (dividing and
# shunting; softmax is the first of these), and then crosses the bridge: one particular setting of a
# head of differential gated self-attention (M-DGSA) **is** a difference of Gaussians, exactly but
# for the two ends.
#
# **You will do**
# - derive gain, zero crossings and step response of the difference of Gaussians, and see it work on
#   a photograph;
# - see softmax as divisive inhibition, and a uniform inhibitory map as shunting inhibition;
# - choose queries and keys so that `gated_head_forward` is a centre-surround filter, and check it
#   to 1e-12;
# - turn the gate and watch the receptive field change.
#
# **You will learn** DC gain, zero crossing, divisive normalisation, what the gate does to a
# centre-surround field.
#
# **You need** Gaussians, partial derivatives, [01 Lateral inhibition](01_lateral_inhibition.ipynb).
# Of attention only what section 8 there says of queries, keys and values. Notebook 03 takes it
# apart.
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
from math import erf, log, pi, sqrt

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

from dgsa_np.attention import AttentionConfig, attention_forward, gated_head_forward
from dgsa_np.lab.blank import blank
from dgsa_np.ops import rmsnorm_forward, softmax_backward, softmax_forward

plt.style.use("dgsa_np.lab.viz")
rng = np.random.default_rng(0)
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"

# %% [markdown]
# ## 1. The difference of Gaussians
#
# Rodieck (1965) described the receptive field of a retinal cell as a narrow Gaussian minus a wide
# one. With weights $g$ and $1 - g$ (two free weights would only add an overall scale):
#
# $$ D(x) = g\,G(x; s_\text{exc}) - (1 - g)\,G(x; s_\text{inh}), \qquad
#    G(x; s) = \frac{e^{-x^2/(2 s^2)}}{s \sqrt{2\pi}} $$
#
# $x$ is the distance from the centre, in receptors (or pixels, or tokens);
# $s_\text{exc} < s_\text{inh}$ are the widths of centre and surround. Throughout this notebook
# $s_\text{exc} = 2$ and $s_\text{inh} = 6$.
#
# First by hand, at $g = 1/2$. In the middle, $G(0; 2) = 0.1995$ and $G(0; 6) = 0.0665$, so
# $D(0) = (0.1995 - 0.0665)/2 = 0.0665 > 0$. Four places away, $G(4; 2) = 0.0270$ and
# $G(4; 6) = 0.0532$, so $D(4) = -0.0131 < 0$. The narrow one wins in the middle, the wide one
# outside.

# %%
S_EXC, S_INH = 2.0, 6.0


def gaussian(x, s):
    return np.exp(-(x**2) / (2 * s**2)) / (s * sqrt(2 * pi))


def field(x, g):
    """The difference of Gaussians D(x)."""
    return g * gaussian(x, S_EXC) - (1 - g) * gaussian(x, S_INH)


for x in (0.0, 4.0):
    exc, inh = gaussian(x, S_EXC), gaussian(x, S_INH)
    print(f"x = {x:.0f}: G_exc {exc:.4f}, G_inh {inh:.4f}, D at g = 1/2: {field(x, 0.5):+.4f}")
    assert abs(field(x, 0.5) - (exc - inh) / 2) < 1e-14
assert abs(field(0.0, 0.5) - 0.0665) < 5e-5 and abs(field(4.0, 0.5) + 0.0131) < 5e-5

# %% [markdown]
# **DC gain.** What does the cell answer to constant light 1? The integral of $D$. Each Gaussian
# integrates to 1:
#
# $$ \int D(x)\,dx = g - (1 - g) = 2g - 1 $$
#
# (DC, direct current, is the engineer's word for the constant part.) At $g = 1/2$ it is 0: a
# *balanced* cell does not see constant light. Below that, constant light *silences* the cell.

# %%
x = np.linspace(-60, 60, 12001)  # ten widths of the surround on each side
for g in (0.2, 0.5, 0.8, 1.0):
    dc_gain = field(x, g).sum() * (x[1] - x[0])
    print(f"g = {g}: DC gain {dc_gain:+.12f}")
    assert abs(dc_gain - (2 * g - 1)) < 1e-12

# %% [markdown]
# **Zero crossings.** $D(x) = 0$ says
# $\frac{g}{s_\text{exc}} e^{-x^2/(2 s_\text{exc}^2)} = \frac{1-g}{s_\text{inh}} e^{-x^2/(2 s_\text{inh}^2)}$.
# Bring the numbers to one side, the exponentials to the other, take logarithms:
# $\ln \frac{g\,s_\text{inh}}{(1-g)\,s_\text{exc}} = \frac{x^2}{2} (s_\text{exc}^{-2} - s_\text{inh}^{-2})$.
# Hence
#
# $$ x_0^2 = \frac{2 \ln \frac{g\,s_\text{inh}}{(1-g)\,s_\text{exc}}}
#    {s_\text{exc}^{-2} - s_\text{inh}^{-2}} $$
#
# The next cell compares it with a root finder that knows only `field`: halve an interval in which
# the sign changes, again and again.

# %%
def crossing(g):
    return sqrt(2 * log(g * S_INH / ((1 - g) * S_EXC)) / (S_EXC**-2 - S_INH**-2))


def root_by_halving(f, low, high):
    """f(low) > 0 > f(high)"""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if f(middle) > 0 else (low, middle)
    return low


for g in (0.5, 0.6, 0.8):
    found = root_by_halving(lambda x, g=g: field(x, g), 0.0, 12.0)
    print(f"g = {g}: formula {crossing(g):.6f}, root finder {found:.6f}")
    assert abs(found - crossing(g)) < 1e-12

# %% tags=["blank"]
# Your turn: both widths are doubled, to 4 and 12, at g = 1/2. By which factor does the zero crossing move?
factor_of_x0 = ...
doubled = root_by_halving(lambda x: gaussian(x, 4.0) - gaussian(x, 12.0), 0.0, 24.0)
blank(factor_of_x0, doubled / crossing(0.5), "Only the denominator of x_0^2 changes, and x_0 is its root.")

# %% [markdown]
# **Stop and think.** For which $g$ does the field not change its sign at all?
# <details><summary>Answer</summary>
#
# The formula needs a positive logarithm: $g\,s_\text{inh} > (1-g)\,s_\text{exc}$, that is
# $g > s_\text{exc} / (s_\text{exc} + s_\text{inh})$, here $g > 1/4$. At $g = 1/4$ the field is 0 at
# $x = 0$ and negative elsewhere; below, negative everywhere, an inhibitory spot without a centre.
# And at $g = 1$ there is no surround: positive everywhere, $x_0 = \infty$. So the sign never
# changes for $g \le 1/4$ and for $g = 1$.
# </details>
#
# **The usual mistake** is to think that at $g = 1/2$ the two weighted Gaussians are equally high.
# Their *areas* are equal there. The *heights* are equal at $g = 1/4$, since $G(0; 6)$ is a third of
# $G(0; 2)$.

# %%
away = x[abs(x) > 1e-6]
assert abs(field(0.0, 0.25)) < 1e-14  # heights equal
assert (field(away, 0.25) < 0).all() and (field(x, 0.1) < 0).all() and (field(x, 1.0) > 0).all()
assert field(0.0, 0.26) > 0 > field(12.0, 0.26)  # just above 1/4: a small centre
print(f"g = 0.26: zero crossing at {crossing(0.26):.3f}")

# %% [markdown]
# ## 2. What it answers: a dot, a constant, an edge
#
# The cell at place $x$ weighs the light at $y$ with $D(x - y)$. A **dot** of light gives $D$
# itself, a **constant** gives $2g - 1$. An **edge** (dark for $y < 0$, light 1 for $y > 0$) gives
# the integral of $D$ from $-\infty$ to $x$ (substitute $u = x - y$). The integral of a Gaussian is
# the normal distribution function $\Phi(u) = \frac12 (1 + \mathrm{erf}(u/\sqrt2))$, so
#
# $$ E(x) = g\,\Phi(x / s_\text{exc}) - (1 - g)\,\Phi(x / s_\text{inh}) $$
#
# Far to the left it is 0, far to the right $2g - 1$, and *at* the edge, since $\Phi(0) = 1/2$,
# exactly half of that.

# %%
def Phi(u):
    return np.array([0.5 * (1 + erf(value / sqrt(2))) for value in np.atleast_1d(u)])


def edge_response(x, g):
    return g * Phi(x / S_EXC) - (1 - g) * Phi(x / S_INH)


spacing = 0.01  # light on a fine grid; the edge lies between two of its points
y = (np.arange(-8000, 8000) + 0.5) * spacing
places = np.arange(-20.0, 21.0)
for g in (0.3, 0.5, 0.8):
    weights = field(places[:, None] - y, g) * spacing
    summed = weights @ (y > 0)
    assert abs(summed - edge_response(places, g)).max() < 1e-6  # the error of the sum falls as spacing^2
    assert abs(edge_response(0.0, g)[0] - (2 * g - 1) / 2) < 1e-14

# %% tags=["blank"]
# Your turn: at g = 1/2 the answer to an edge has a dip and a peak. At which x > 0 is the peak?
peak_at = ...
right_of_it = np.linspace(0, 20, 2001)
measured_peak = right_of_it[edge_response(right_of_it, 0.5).argmax()]
blank(peak_at, measured_peak, "E is the integral of D. A peak is where the slope is 0.", rtol=0.01)

# %% [markdown]
# **Frequencies.** To a wave $\cos(\omega x)$ the cell answers with a wave of the same frequency,
# times the Fourier transform of $D$. That of a Gaussian of width $s$ is $e^{-s^2\omega^2/2}$:
#
# $$ \hat D(\omega) = g\,e^{-s_\text{exc}^2\omega^2/2} - (1-g)\,e^{-s_\text{inh}^2\omega^2/2} $$

# %%
def frequency_gain(omega, g):
    return g * np.exp(-(S_EXC**2) * omega**2 / 2) - (1 - g) * np.exp(-(S_INH**2) * omega**2 / 2)


omega = np.linspace(0, 2, 201)
for g in (0.3, 0.5, 0.8):
    measured = np.cos(omega[:, None] * x) @ field(x, g) * (x[1] - x[0])
    assert abs(measured - frequency_gain(omega, g)).max() < 1e-12

# %% mystnb={"image": {"alt": "Three panels, each with a curve for g = 0.3, 0.5 and 0.8. A dot: a positive centre, higher for larger g, in a negative surround. An edge: a dip and a peak, then a level of -0.4, 0 and 0.6. Waves: humps that start at these levels and end at 0."}}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.5))
fine = np.linspace(-20, 20, 401)
for g, colour, style in ((0.3, ORANGE, ":"), (0.5, GREEN, "-"), (0.8, BLUE, "--")):
    axes[0].plot(fine, field(fine, g), style, color=colour, label=f"g = {g}")
    axes[0].plot([-crossing(g), crossing(g)], [0, 0], "o", color=colour, ms=5)
    axes[1].plot(fine, edge_response(fine, g), style, color=colour)
    axes[2].plot(omega, frequency_gain(omega, g), style, color=colour)
for ax in axes:
    ax.axhline(0, color="0.6", lw=1)
axes[0].set(xlabel="distance x (receptors)", ylabel="D (per receptor)", title="A dot: centre and surround")
axes[1].set(xlabel="place x (receptors)", ylabel="response (light = 1)", title="An edge at x = 0")
axes[2].set(xlabel="frequency (radians per receptor)", ylabel="gain", title="Waves: g = 0.5 is a band-pass")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
plt.show()

# %% [markdown]
# Left: dots mark the zero crossings of the formula. Middle: at $g = 1/2$ the answer is a dip and a
# peak around the edge and 0 far from it. At $g = 0.8$ brightness gets through as well. At $g = 0.3$
# bright areas come out *negative*. Right: at frequency 0 each curve starts at $2g - 1$; at
# $g = 1/2$ a band of middle frequencies is what passes.
#
# **The photograph** of notebook 01, in two dimensions: the product of two one-dimensional Gaussians
# is a round one. Periodic borders, as before.

# %%
def field_2d(size, g):
    """Round difference of Gaussians on a periodic grid, offset (0, 0) first."""
    offset = np.minimum(np.arange(size), size - np.arange(size))
    exc, inh = gaussian(offset, S_EXC), gaussian(offset, S_INH)
    exc, inh = exc / exc.sum(), inh / inh.sum()
    return g * np.outer(exc, exc) - (1 - g) * np.outer(inh, inh)


def filter_image(light, g):
    return np.fft.ifft2(np.fft.fft2(light) * np.fft.fft2(field_2d(len(light), g))).real


photograph = load_sample_image("china.jpg").mean(axis=2) / 255
light = photograph[30:286, 80:336].reshape(128, 2, 128, 2).mean(axis=(1, 3))  # (128, 128), 1 is white
responses = {g: filter_image(light, g) for g in (0.5, 0.8)}
for g, response in responses.items():
    mean = round(response.mean(), 6) + 0.0  # no "-0"
    print(f"g = {g}: mean {light.mean():.3f} -> {mean:.3f}, standard deviation {response.std():.3f}")
    assert abs(response.mean() - (2 * g - 1) * light.mean()) < 1e-14
    brighter = filter_image(light + 0.3, g)
    assert abs(brighter - response - (2 * g - 1) * 0.3).max() < 1e-13

# %% mystnb={"image": {"alt": "A pagoda in grey, and two answers, red for positive and blue for negative. At g = 0.5 the sky is white and outlines have a red and a blue side; at g = 0.8 the sky is dark red and the building a paler, blurred red."}}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2))
drawn = axes[0].imshow(light, cmap="gray", vmin=0, vmax=1)
axes[0].set(title="light", ylabel="row (pixels)")
figure.colorbar(drawn, ax=axes[0], orientation="horizontal", label="light")
for ax, (g, response) in zip(axes[1:], responses.items(), strict=True):
    m = abs(response).max()
    drawn = ax.imshow(response, cmap="RdBu_r", vmin=-m, vmax=m)
    ax.set(title=f"g = {g}: " + ("outlines alone" if g == 0.5 else "outlines and brightness"))
    figure.colorbar(drawn, ax=ax, orientation="horizontal", label="response (scales differ)")
for ax in axes:
    ax.set(xlabel="column (pixels)")
    ax.grid(False)
plt.show()

# %% [markdown]
# Red is positive, blue negative, white zero. At $g = 1/2$ the even sky is white and each outline
# has a red and a blue side. At $g = 0.8$ bright areas are red: a blurred photograph with somewhat
# sharpened outlines. (The band along the upper border is our periodic shortcut again: the sky meets
# the lowest row.)
#
# ## 3. Inhibition by division, and softmax
#
# Subtracting is one way to inhibit. Another is to divide by what the whole population does.
# Carandini and Heeger (2012) call it divisive normalisation. Unit $j$ has an input $I_j \ge 0$ and
# answers
#
# $$ R_j = \gamma\,\frac{I_j^{\,n}}{\sigma^n + \sum_k I_k^{\,n}} $$
#
# with a maximal response $\gamma$, a constant $\sigma$ (same unit as $I$) and an exponent $n$. By
# hand: $I = (4, 2, 2)$, $\sigma = 2$, $n = 1$, $\gamma = 1$. The denominator is $2 + 8 = 10$, so
# $R = (0.4, 0.2, 0.2)$. Now raise the *second* input to 12: the denominator is 20 and the *first*
# answer falls to $0.2$, though its own input is as before.

# %%
def normalise(I, sigma, n, gamma=1.0):
    return gamma * I**n / (sigma**n + (I**n).sum())


assert abs(normalise(np.array([4.0, 2, 2]), sigma=2, n=1) - [0.4, 0.2, 0.2]).max() < 1e-13
assert abs(normalise(np.array([4.0, 12, 2]), sigma=2, n=1) - [0.2, 0.6, 0.1]).max() < 1e-13
for scale in (0.1, 1, 10, 100):
    print(f"all inputs x {scale:<5}: {normalise(scale * np.array([4.0, 2, 2]), sigma=2, n=1).round(3)}")

# %% [markdown]
# The printed rows show another property: as all inputs grow a thousandfold, the answers level off,
# and their *ratios* stay as they were.
#
# **Softmax is a special case.** Set $I_j = e^{s_j}$ for a score $s_j$ (any number; not a width),
# $\sigma = 0$, $\gamma = 1$. Then $I_j^n = e^{n s_j}$ and
#
# $$ R_j = \frac{e^{n s_j}}{\sum_k e^{n s_k}} = \mathrm{softmax}(n\,s)_j $$
#
# which is [eq:softmax, standard] with $n = 1/\text{temperature}$. As $n \to \infty$ the largest
# input takes everything: winner-take-all as in notebook 01, section 7, but without a start to
# depend on. With $\sigma = 0$ the size of all inputs together plays no part at all: $I \to 10\,I$
# is $s \to s + \ln 10$, and softmax does not see a shift.

# %%
s = np.array([2.0, 1.5, 0.5, -1.0])
for n in (0.5, 1, 2, 8):
    p, _ = softmax_forward(n * s)
    assert abs(normalise(np.exp(s), sigma=0, n=n) - p).max() < 1e-13
    assert abs(normalise(10 * np.exp(s), sigma=0, n=n) - p).max() < 1e-13
    print(f"n = {n:<4} {p.round(3)}")
winner, _ = softmax_forward(200 * s)
assert abs(winner - [1, 0, 0, 0]).max() < 1e-40

# %% [markdown]
# **Each score inhibits all others.** Differentiate $p_i = e^{s_i}/\sum_k e^{s_k}$ by the quotient
# rule. The numerator gives $p_i$ if $i = j$, the denominator $-p_i p_j$ always:
#
# $$ \frac{\partial p_i}{\partial s_j} = p_i\,(\delta_{ij} - p_j) $$
#
# Off the diagonal this is negative: raising one score lowers all other weights. So **one** softmax
# map is already inhibition, of the divisive kind. What M-DGSA adds is the subtractive kind, which a
# single softmax cannot do: its weights are never negative.

# %% tags=["blank"]
# Your turn: the scores are (2, 1.5, 0.5, -1). Which *other* score, raised a little, takes most from weight 0?
takes_most = ...  # 1, 2 or 3
blank(takes_most, softmax_backward(np.eye(4)[0], softmax_forward(s)[1]).argmin(), "It takes p_0 p_j.")

# %%
p, cache = softmax_forward(s)
jacobian = np.diag(p) - np.outer(p, p)
h = 1e-6
columns = [softmax_forward(s + h * u)[0] - softmax_forward(s - h * u)[0] for u in np.eye(4)]
numeric = np.stack(columns, axis=1) / (2 * h)  # column j: the derivative by s_j
assert abs(jacobian - numeric).max() < 1e-9
from_library = np.stack([softmax_backward(u, cache) for u in np.eye(4)])  # row i: the gradient of p_i
assert abs(jacobian - from_library).max() < 1e-13
assert (jacobian[~np.eye(4, dtype=bool)] < 0).all()
print(jacobian.round(3))

# %% mystnb={"image": {"alt": "Left: three S-shaped curves over the own input, alike but further to the right the larger the other input is. Right: bars of the weights of four scores; at n = 0.5 they fall slowly, at n = 8 the first has nearly everything."}}
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5))
own = np.logspace(-2, 3, 200)
for other, colour, style in ((0, GREEN, "-"), (10, BLUE, "--"), (100, ORANGE, ":")):
    first = [normalise(np.array([mine, other]), sigma=1, n=2)[0] for mine in own]
    left.plot(own, first, style, color=colour, label=f"other input {other}")
left.set(xscale="log", xlabel="own input I (units of sigma)", ylabel="response R (units of gamma)")
left.set_title("Division: others shift the curve to the right")
left.legend()
for n, colour, shift in ((0.5, ORANGE, -0.25), (1, GREEN, 0.0), (8, BLUE, 0.25)):
    right.bar(np.arange(4) + shift, softmax_forward(n * s)[0], 0.24, color=colour, label=f"n = {n}")
right.set_xticks(range(4), [f"s = {score}" for score in s])
right.set(xlabel="score (no unit)", ylabel="weight (no unit)", ylim=(0, 1.05))
right.set_title("Softmax: a large n lets the winner take all")
right.legend()
plt.show()

# %% [markdown]
# Left: a second unit does not pull the curve down, it moves it along the logarithmic axis: more own
# input is needed for the same answer. Right: four scores, three exponents.
#
# ## 4. Shunting: both at once
#
# A third model, Grossberg's shunting network, has inhibition that subtracts *and* divides. Activity
# $x_i$ is pushed towards a ceiling $b$ by its own input $I_i \ge 0$, towards a floor $-c$ by all
# others, and decays at rate $a$:
# $\dot x_i = -a x_i + (b - x_i) I_i - (x_i + c) \sum_{k \ne i} I_k$. Set $\dot x_i = 0$ and write
# $\Sigma = \sum_k I_k$. The terms with $x_i$ are $-x_i\,(a + I_i + \Sigma - I_i)$, the rest is
# $b I_i - c\,(\Sigma - I_i)$:
#
# $$ x_i = \frac{(b + c)\,I_i - c\,\Sigma}{a + \Sigma} $$
#
# Uniform input, $\Sigma = N I_i$, gives 0 if $c/(b + c) = 1/N$.

# %%
a, b, c, N = 1.0, 1.0, 0.25, 5
I = rng.uniform(0, 4, N)
x = np.zeros(N)
for _ in range(4000):  # Euler's method, time step 0.01
    x = x + 0.01 * (-a * x + (b - x) * I - (x + c) * (I.sum() - I))
steady = ((b + c) * I - c * I.sum()) / (a + I.sum())
assert abs(x - steady).max() < 1e-13
print("input", I.round(2), "\nrates", steady.round(3))

uniform = np.full(N, 3.0)
assert c / (b + c) == 1 / N  # this choice of b and c ...
assert abs((b + c) * uniform - c * uniform.sum()).max() < 1e-13  # ... does not see uniform input

# %% [markdown]
# **Where M-DGSA has this form.** Let $p_i = I_i / \Sigma$, shares that sum to 1, as a softmax row
# does. Without decay ($a = 0$) the steady state is $x_i = (b + c)\,p_i - c$: a multiple of the
# share minus a constant. Now take a head whose inhibitory map is uniform, $1/N$ everywhere (all its
# scores are equal). A row of $A = g\,A_\text{exc} - (1 - g)\,A_\text{inh}$ [eq:gated-head, machine
# review] is
#
# $$ A_j = g\,p_j - \frac{1 - g}{N} $$
#
# the same form, with $b + c = g$ and $c = (1-g)/N$. A uniform $p$ gives $(2g-1)/N$, which vanishes
# at $g = 1/2$; there $c/(b+c) = (1-g)/(gN) = 1/N$, the condition above.

# %%
q, k, v = rng.normal(size=(3, 1, 1, N, 4))
none = np.zeros((1, 1, N, 4))  # queries of 0: all inhibitory scores are 0, so A_inh is 1/N
for g in (0.3, 0.5, 0.8):
    z_gate = np.full((1, 1, N), log(g / (1 - g)))  # the head is given the logit of g
    _, cache = gated_head_forward(q, k, none, k, v, z_gate)
    p = cache.A_exc
    assert abs(cache.A - (g * p - (1 - g) / N)).max() < 1e-13
    c = (1 - g) / N
    b = g - c
    assert abs(cache.A - ((b + c) * p - c)).max() < 1e-13

# %% tags=["blank"]
# Your turn: g = 0.8 and N = 5, as in the last turn of the loop. Above which share p is a weight positive?
needed = ...
blank(needed, c / (b + c), "Set A_j = 0.")

# %% [markdown]
# ## 5. The bridge: attention that is a difference of Gaussians
#
# A row of attention is $\mathrm{softmax}(q_i \cdot k_j / \sqrt d)$ over $j$ [eq:softmax-map,
# standard], where query $q_i$ and key $k_j$ have $d$ entries. We look for queries and keys that
# turn it into a Gaussian of width $s$ around the query's own place $i$: the scores should be
# $-(i-j)^2/(2s^2)$. Multiply out:
#
# $$ -\frac{(i-j)^2}{2s^2} = \underbrace{-\frac{i^2}{2s^2}}_{\text{same for all } j}
#    + \underbrace{\frac{i\,j}{s^2} - \frac{j^2}{2s^2}}_{=\;(i,\,1)\,\cdot\,(j/s^2,\; -j^2/(2s^2))} $$
#
# 1. The first term depends on $i$ alone. Softmax divides by the sum over $j$, so a term that is
#    equal in the whole row **cancels row by row**. Drop it.
# 2. What is left is an inner product of two vectors of width 2, one that knows only $i$ and one
#    that knows only $j$. That is what attention can do.
# 3. The head divides by $\sqrt d = \sqrt 2$. Undo it with a factor $\sqrt 2$ on the query.
#
# $$ q_i = \sqrt2\,(i,\; 1), \qquad k_j = \Big(\frac{j}{s^2},\; -\frac{j^2}{2 s^2}\Big), \qquad d = 2 $$
#
# The width $s$ is in the keys only, so the narrow and the wide map can share their queries.

# %%
def queries(places):
    return sqrt(2) * np.stack([places, np.ones_like(places)], axis=-1)[None, None]  # (1, 1, T, 2)


def keys(places, s):
    return np.stack([places / s**2, -(places**2) / (2 * s**2)], axis=-1)[None, None]  # (1, 1, T, 2)


small = np.arange(-2.0, 3.0)  # five places
scores = queries(small)[0, 0] @ keys(small, 2.0)[0, 0].T / sqrt(2)
i, j = small[:, None], small[None, :]
assert abs(scores - i**2 / (2 * 2.0**2) - (-((i - j) ** 2) / (2 * 2.0**2))).max() < 1e-13
print("scores of the middle row, i = 0:", scores[2], " = -j^2 / 8")
wanted, _ = softmax_forward(-((i - j) ** 2) / (2 * 2.0**2))
assert abs(softmax_forward(scores)[0] - wanted).max() < 1e-13  # the term in i has cancelled

# %% [markdown]
# **The usual mistake** is to forget the $\sqrt 2$. Stop and think: what does the map look like
# then?
# <details><summary>Answer</summary>
#
# All scores are divided by $\sqrt2$, which replaces $s^2$ by $\sqrt2\,s^2$ in both of their terms.
# The map is still a Gaussian around $j = i$, of width $2^{1/4} s \approx 1.19\,s$. Nothing looks
# broken. Only a comparison of numbers catches it, as in the next cell.
# </details>

# %%
forgotten, _ = softmax_forward(scores / sqrt(2))
wider, _ = softmax_forward(-((i - j) ** 2) / (2 * (2**0.25 * 2.0) ** 2))
assert abs(forgotten - wider).max() < 1e-13 and abs(forgotten - wanted).max() > 0.01

# %% [markdown]
# Now the library's head, at 161 places, one input and one head. The claim: in rows far from both
# ends,
#
# $$ A_{ij} = g\,G(i - j;\, s_\text{exc}) - (1-g)\,G(i - j;\, s_\text{inh}) $$
#
# with the *same* $G$ as in section 1. Softmax makes each row sum to 1; that $G$ needs no new factor
# for it is because its sum over all integers is 1, to within $2 e^{-2\pi^2 s^2}$ (Poisson's
# summation formula; $10^{-34}$ for $s = 2$).

# %%
places = np.arange(-80.0, 81.0)
T = len(places)
light_in = rng.normal(size=(1, 1, T, 1))  # some values v; they do not change A


def centre_surround(g, v):
    z_gate = np.full((1, 1, T), log(g / (1 - g)))
    q = queries(places)
    return gated_head_forward(q, keys(places, S_EXC), q, keys(places, S_INH), v, z_gate)


central = abs(places) <= 30  # at least 50 places from either end: more than 8 widths of the surround
ideal_offsets = places[:, None] - places[None, :]
for g in (0.1, 0.5, 0.6, 0.8):
    o, cache = centre_surround(g, light_in)
    A_map = cache.A[0, 0]
    deviation = abs(A_map - field(ideal_offsets, g))[central].max()
    print(f"g = {g}: central rows differ from the difference of Gaussians by at most {deviation:.0e}")
    assert deviation < 1e-12
    assert abs(A_map.sum(axis=1) - (2 * g - 1)).max() < 1e-13

# %% tags=["blank"]
# Your turn: all keys of the wide map (s = 6) are multiplied by 4. How wide is its Gaussian then?
width_now = ...
row_now = softmax_forward(queries(places)[0, 0, 80] @ (4 * keys(places, S_INH)[0, 0]).T / sqrt(2))[0]
blank(width_now, sqrt((row_now * places**2).sum()), "The scores are 4 times as large. Which s does that?", rtol=1e-3)

# %%
sums = {s: gaussian(np.arange(-200, 201), s).sum() for s in (0.5, 0.7, 1.0, 2.0, 6.0)}
for s_width, total in sums.items():
    print(f"s = {s_width}: sum of G over the integers - 1 = {total - 1:+.1e}")
    assert abs(total - 1 - 2 * np.exp(-2 * pi**2 * s_width**2)) < 1e-8  # the next term of Poisson's formula

# %% [markdown]
# For widths below about one place the sampled Gaussian does not sum to 1, as a softmax row always
# does. At 2 and 6 the difference is far below rounding.
#
# **What differs: the ends.** There the window is cut, and softmax spreads the missing weight over
# what is left. In the very first row half the Gaussian is missing, so the rest is nearly doubled:
# its sum is $\sum_{m \ge 0} G(m) = (1 + G(0))/2$.

# %%
_, cache = centre_surround(0.5, light_in)
A_exc, A_inh, A_map = cache.A_exc[0, 0], cache.A_inh[0, 0], cache.A[0, 0]
for A_branch, s_width in ((A_exc, S_EXC), (A_inh, S_INH)):
    half = gaussian(places - places[0], s_width) / ((1 + gaussian(0.0, s_width)) / 2)
    assert abs(A_branch[0] - half).max() < 1e-12

by_row = abs(A_map - field(ideal_offsets, 0.5)).max(axis=1)
for row in (0, 3, 6, 12, 24, 48, 80):
    print(f"{row:2} places from the end: largest deviation {by_row[row]:.0e}")
assert by_row[0] > 0.01 and by_row[80] < 1e-12

# %% mystnb={"image": {"alt": "The upper left corner of three maps: a narrow red band along the diagonal, a wide pale one, and their difference, a red band between two pale blue ones. In the first rows the bands are stronger."}}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.9), sharey=True)
m, shown, extent = 0.5 * A_exc[80].max(), slice(0, 41), (-80.5, -39.5, -39.5, -80.5)
names = ("g A_exc: narrow", "(1 - g) A_inh: wide", "A: the first minus the second")
for ax, A_branch, name in zip(axes, (0.5 * A_exc, 0.5 * A_inh, A_map), names, strict=True):
    drawn = ax.imshow(A_branch[shown, shown], cmap="RdBu_r", vmin=-m, vmax=m, extent=extent)
    ax.set(title=name, xlabel="key, place j")
    ax.grid(False)
axes[0].set_ylabel("query, place i")
bar = figure.colorbar(drawn, ax=axes, orientation="horizontal", shrink=0.5, extend="max")
bar.set_ticks([-0.05, 0, 0.05])
bar.set_label("attention weight, g = 1/2")
plt.show()

# %% [markdown]
# The corner of the maps at $g = 1/2$, on one signed scale: a narrow band, a wide pale one, and
# their difference, red with a pale blue surround. In the first rows, at the top left, the bands are
# stronger (and the first even goes beyond the scale): the cut window.

# %% mystnb={"image": {"alt": "Left: the weights of a central row, as dots, lie on the difference of Gaussians; crosses mark its zero crossings. Right: in the third row the dots begin two places left of the centre, with a lower peak and a deeper dip than the curve."}}
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
for ax, row, title in ((axes[0], 80, "Central row: exact"), (axes[1], 2, "Third row: the window is cut")):
    offsets = places - places[row]
    near = abs(offsets) <= 20
    ax.plot(offsets[near], A_map[row][near], "o", color=GREEN, label="row of the map A")
    around = np.linspace(-20, 20, 401)
    ax.plot(around, field(around, 0.5), color="0.5", lw=1.2, label="difference of Gaussians D", zorder=1)
    ax.axhline(0, color="0.8", lw=1, zorder=0)
    ax.set(title=title, xlabel="key place minus query place")
crossings = [-crossing(0.5), crossing(0.5)]
axes[0].plot(crossings, [0, 0], "x", color=ORANGE, ms=8, mew=2, label="zero crossing, formula")
axes[0].set_ylabel("attention weight")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
plt.show()

# %% [markdown]
# Left: dots on the line. Right: the row has only two keys to its left. Both maps are rescaled, the
# wide one more, so the centre is lower and the surround deeper than it should be. But *every* row
# sums to $2g - 1$, also these: the head's answer to a constant has no border effect, which a filter
# padded with zeros would have.
#
# **Zero crossings of the map.** A map has weights at whole places only, so the sign must change
# between the two places that enclose $x_0$.

# %%
for g in (0.5, 0.6, 0.8):
    _, cache = centre_surround(g, light_in)
    right_half = cache.A[0, 0, 80, 80:]  # the row of place 0, keys 0, 1, 2, ...
    last_positive = int((right_half[:20] > 0).sum()) - 1
    print(f"g = {g}: x0 = {crossing(g):.2f}, last positive weight at {last_positive}")
    assert last_positive < crossing(g) < last_positive + 1
_, cache = centre_surround(0.25, light_in)
assert cache.A[0, 0, 80].max() < 1e-13  # g = 1/4: no centre any more

# %% [markdown]
# ## 6. A balanced head as an edge detector
#
# The light goes in as *values*: $v$ is a step from 0 to 1 between the places 0 and 1, plus noise of
# standard deviation 0.3, and $g = 1/2$. The head answers $o = A v$. Two things can be said
# beforehand:
#
# - A constant added to $v$ changes nothing, since rows sum to 0.
# - Noise: the values have independent errors of variance $0.3^2$, and $o_i = \sum_j A_{ij} v_j$, so
#
# $$ \mathrm{std}(o_i) = 0.3\,\sqrt{\textstyle\sum_j A_{ij}^2} $$

# %%
step = (places > 0.5).astype(float)[None, None, :, None]  # (1, 1, T, 1)
clean, cache = centre_surround(0.5, step)
noise = 0.3 * rng.normal(size=(2000, T))
noisy_outputs = noise @ cache.A[0, 0].T  # row: what one noise alone gives
predicted = 0.3 * sqrt((cache.A[0, 0, 80] ** 2).sum())
measured = noisy_outputs[:, central].std()
print(f"noise in 0.300, out {measured:.4f}, predicted {predicted:.4f}; the clean peak is {clean.max():.3f}")
assert abs(measured / predicted - 1) < 0.03  # 2,000 noises

o, _ = centre_surround(0.5, step + 100.0)
assert abs(o - clean).max() < 1e-12  # 100 more light everywhere: not seen

# %% tags=["blank"]
# Your turn: a head that averages all 161 places alike, A_ij = 1/161. The noise (std) in its output?
noise_left = ...
blank(noise_left, (noise @ np.full(T, 1 / T)).std(), "Put 1/T into the formula.", rtol=0.05)  # 2,000 noises

# %% [markdown]
# Where is the edge? The classical rule for a centre-surround field: take the zero crossing, here
# the sign change between the lowest dip and the highest peak. A simpler rule: take the largest
# difference of two neighbouring places. We apply the simple rule to the values, to the output of
# the head, and to the values averaged with $A_\text{exc}$ alone, which is what softmax attention
# makes of them. All get the same 2,000 noisy steps.

# %%
def locate(response):
    """Where the sign changes between dip and peak, or nan if the peak lies left of the dip."""
    dip, peak = response.argmin(), response.argmax()
    if peak < dip:
        return np.nan
    last_negative = dip + int(np.flatnonzero(response[dip : peak + 1] < 0)[-1])
    return places[last_negative] + 0.5


noisy_steps = step[0, 0, :, 0] + noise
balanced, averaged = noisy_steps @ cache.A[0, 0].T, noisy_steps @ cache.A_exc[0, 0].T
found = {
    "head, sign change": np.array([locate(response) for response in balanced]),
    "head, difference": places[np.diff(balanced, axis=1).argmax(axis=1)] + 0.5,
    "values, difference": places[np.diff(noisy_steps, axis=1).argmax(axis=1)] + 0.5,
    "softmax, difference": places[np.diff(averaged, axis=1).argmax(axis=1)] + 0.5,
}
within = {name: (abs(edges - 0.5) <= 2).mean() for name, edges in found.items()}
for name, share in within.items():
    print(f"{name:20} within 2 places of the edge in {share:.1%} of the steps")
print(f"the head's peak lay left of its dip in {np.isnan(found['head, sign change']).mean():.1%}")

# %% [markdown]
# The result is sober. The head's output locates the edge far better than the raw values do. But the
# averaging does that, not the subtraction: softmax attention with a difference after it does best
# here, and the sign change between dip and peak is the weakest rule on the head's output. What the
# subtraction gives is another thing: without noise the output *itself* is zero where the light is
# even, however bright it is.

# %%
assert within["head, sign change"] > within["values, difference"] + 0.2
assert within["softmax, difference"] >= within["head, difference"] > within["head, sign change"]

# %% mystnb={"image": {"alt": "Above: noisy dots around a step from 0 to 1. Below: the head's output wavers around zero on both sides, and has a dip and a peak at the edge, where the output of the noiseless step has them; a line marks the sign change between the two."}}
edge = found["head, sign change"][0]
figure, (above, below) = plt.subplots(2, 1, figsize=(9, 4.6), sharex=True)
above.plot(places, noisy_steps[0], ".", color="0.5", label="values v: a step and noise")
above.plot(places, step[0, 0, :, 0], color="0.2", lw=1, label="the step alone")
above.set(ylabel="light (no unit)", title="The values: a step in noise")
below.plot(places, cache.A[0, 0] @ noisy_steps[0], color=GREEN, label="output o of the noisy values")
below.plot(places, clean[0, 0, :, 0], "--", color="0.2", lw=1, label="of the step alone")
below.axvline(edge, color=ORANGE, lw=1, label=f"sign change found at {edge:.1f}")
below.axhline(0, color="0.8", lw=1, zorder=0)
below.set(xlabel="place (receptors)", ylabel="response")
below.set_title("A balanced head answers to the edge, not to the level")
for ax in (above, below):
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# The head answers to the step and not to the level. Away from the edge its answer is not 0, it is
# smoothed noise, with many sign changes of its own: only the one between the dip and the peak means
# something.
#
# ## 7. The gate turned
#
# In M-DGSA the gate $g$ is a number per query, made from the token [eq:gate, machine review]. Here
# we set it by hand, for all rows at once. Each column of the figure is one $g$: above a row of the
# map, below the answer to a step (the values of section 6 without noise).

# %% tags=["blank"]
# Your turn: exchange the two maps: the wide one excites, the narrow one inhibits. With which gate is that
# the field of g = 0.8 upside down, -D?
upside_down = ...
gates = np.linspace(0, 1, 101)[:, None]
exchanged = gates * gaussian(places, S_INH) - (1 - gates) * gaussian(places, S_EXC)
best_gate = gates[abs(exchanged + field(places, 0.8)).max(axis=1).argmin(), 0]
blank(upside_down, best_gate, "Write -D down: which factor has the wide Gaussian?")

# %% mystnb={"image": {"alt": "Five columns, g from 0 to 1. Above, a row of the map: a wide negative bump, then a negative ring, then a positive centre that grows while the surround fades. Below, the response to a step: it falls to -1, to -0.5, has a dip and a peak around 0, rises to 0.6, rises to 1."}}
def draw(g, upper, lower):
    """The receptive field and the step response of the head with gate g, into two axes."""
    z = np.clip(g, 1e-12, 1 - 1e-12)  # the logits of 0 and 1 are infinite
    o, cache = centre_surround(float(z), step)
    near = abs(places) <= 20
    row = cache.A[0, 0, 80][near]
    upper.bar(places[near], row, 1.0, color=np.where(row > 0, BLUE, ORANGE))
    lower.plot(places[near], step[0, 0, near, 0], color="0.7", lw=1)
    lower.plot(places[near], o[0, 0, near, 0], color=GREEN)
    upper.set(ylim=(-0.08, 0.21), title=f"g = {g:.2f}\nDC gain {2 * g - 1:.1f}")
    lower.set(ylim=(-1.1, 1.1), xlabel="place")
    return o, cache


figure, axes = plt.subplots(2, 5, figsize=(9, 4), sharey="row")
for column, g in zip(axes.T, (0.0, 0.25, 0.5, 0.8, 1.0), strict=True):
    o, cache = draw(g, *column)
    assert abs(o[0, 0, 120, 0] - (2 * g - 1)).max() < 1e-10  # far to the right of the step: the DC gain
axes[0, 0].set_ylabel("weight")
axes[1, 0].set_ylabel("response to a step")
plt.show()

# %% [markdown]
# Blue weights excite, orange ones inhibit; grey is the step, green the answer. From left to right:
# the inverted wide average; the field that just has no centre; the balanced edge detector; an
# average with sharpened edges (the over- and undershoot at the step); the plain narrow average,
# which is softmax attention. Move the slider for what lies between (it needs a running kernel; the
# strip above is what print and GitHub show).

# %%
def draw_one(g):
    figure, (upper, lower) = plt.subplots(1, 2, figsize=(9, 3.2))
    draw(g, upper, lower)
    upper.set(xlabel="place", ylabel="weight")
    lower.set(ylabel="response to a step")
    plt.show()
    plt.close(figure)


try:
    from ipywidgets import FloatSlider, interact

    interact(draw_one, g=FloatSlider(value=0.8, min=0, max=1, step=0.05))
except ImportError:
    pass

# %% [markdown]
# ## 8. What is special here, and what attention learns instead
#
# We chose queries and keys by hand, and made them of *places*. Could a layer with learned matrices
# make them? Yes, if its tokens carry $1$, $i$ and $i^2$: then the $q$ and $k$ above are linear in
# the token. The next cell writes the weights of a whole layer down and runs `attention_forward`
# [eq:attention, reading], without the norm per head.

# %%
tokens = np.stack([np.ones(T), places, places**2, step[0, 0, :, 0]], axis=-1)[None]  # (1, T, 4)
W_q = sqrt(2) * np.array([[0.0, 1], [1, 0], [0, 0], [0, 0]])  # (1, i, ...) -> sqrt(2) (i, 1)
W_k = np.array([[0.0, 0], [1, 0], [0, -0.5], [0, 0]])  # (1, i, i^2, ...) -> (i, -i^2 / 2)
W_v = np.zeros((4, 4))
W_v[3, 0] = 1  # the value is the light
p = {"W_q_exc": W_q, "W_k_exc": W_k / S_EXC**2, "W_q_inh": W_q, "W_k_inh": W_k / S_INH**2, "W_v": W_v}
p |= {"W_o": np.eye(4), "W_gate": np.zeros((4, 1)), "b_gate": np.zeros(1)}  # logit 0: g = 1/2
cfg = AttentionConfig(kind="dgsa", width=4, n_heads=1, head_norm=False)
y, layer = attention_forward(tokens, p, cfg)
assert abs(layer.head.A[0, 0] - field(ideal_offsets, 0.5))[central].max() < 1e-11
assert abs(y[0, :, 0] - clean[0, 0, :, 0]).max() < 1e-11

normed, _ = rmsnorm_forward(tokens, np.ones(4))  # what a transformer does to the tokens first
_, layer = attention_forward(normed, p, cfg)
damage = abs(layer.head.A[0, 0] - field(ideal_offsets, 0.5))[central].max()
print(f"after an RMSNorm the map is off by {damage:.3f}; its peak should be {field(0.0, 0.5):.3f}")
assert damage > 0.01

# %% tags=["blank"]
# Your turn: the token of place 80 is (1, 80, 6400, 1). RMSNorm divides it by its root mean square. What
# becomes of the 6400, roughly? And of the 1600 of place 40?
roughly = ...  # a list of two
blank(roughly, normed[0, [160, 120], 2], "The last but one entry is nearly all of the mean of four squares.", rtol=0.01)

# %% [markdown]
# So the weights exist. But be careful with what this proves:
#
# - **It is one point in a large space.** Places as queries and keys, no content at all. A trained
#   head makes its scores from what the tokens *are*; nothing in M-DGSA asks for neighbours, for
#   Gaussians, or for an inhibitory map wider than the excitatory one.
# - **The tokens are special too.** In a transformer an RMSNorm comes first: it divides each token
#   $(1, i, i^2, \dots)$ by its root mean square, which differs from place to place. Far from the
#   middle it makes nearly 2 of every $i^2$. The same weights are then off by what the cell printed.
# - **The gate was equal in all rows.** In M-DGSA each token sets its own, so each place may choose
#   between averaging and detecting an edge. The field of section 1, one for all places, lacks that
#   freedom.
# - **The norm per head**, on by default, rescales each output. With it the DC gain $2g - 1$ is no
#   longer the gain of the layer (notebook 06).
#
# What a head without any such design looks like: random queries and keys, no structure along the
# diagonal.

# %%
q, k, q_2, k_2 = rng.normal(size=(4, 1, 1, T, 2))
_, cache = gated_head_forward(q, k, q_2, k_2, light_in, np.zeros((1, 1, T)))
A_random = cache.A[0, 0]
correlation = np.corrcoef(A_random[central].ravel(), field(ideal_offsets, 0.5)[central].ravel())[0, 1]
print(f"correlation of a random head's map with the difference of Gaussians: {correlation:+.3f}")
assert abs(correlation) < 0.05
assert abs(A_random.sum(axis=1)).max() < 1e-13  # but its rows sum to 2g - 1 = 0 as well,
assert abs(A_random).max() < 0.5  # and its weights lie between -(1 - g) and g

# %% [markdown]
# Row sums of $2g - 1$, weights between $-(1-g)$ and $g$, blindness to a shift of the values at
# $g = 1/2$: these hold for **every** M-DGSA head, as the last two asserts show for a random one.
# Centre, surround and zero crossings hold for the head we built.
#
# ## What you now know
#
# 1. A difference of Gaussians has DC gain $2g - 1$, a zero crossing if
#    $s_\text{exc}/(s_\text{exc} + s_\text{inh}) < g < 1$, and is a balanced edge detector at
#    $g = 1/2$.
# 2. Softmax is divisive inhibition; M-DGSA adds subtraction; with a uniform inhibitory map it has
#    the form of a shunting network.
# 3. $q_i = \sqrt2\,(i, 1)$, $k_j = (j/s^2, -j^2/(2s^2))$ make a head the difference of Gaussians,
#    exactly but for the ends. Trained heads need not look like it.
#
# **To try**
# - Give every row a gate of its own in section 6, say $g = 0.5$ for places below 0 and $g = 1$
#   above. What does the head make of the noisy step?
# - Find queries and keys of width $d = 4$ for a two-dimensional field on a grid of $12 \times 12$
#   tokens.
# - Swap the two widths. Where is the zero crossing now, and for which $g$ does it exist?
#
# Next: [03 Softmax and its gradient](03_softmax_and_its_gradient.ipynb).
