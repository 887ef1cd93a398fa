"""Writes tests/base/golden/statistics.json: intervals and tests by statsmodels and scipy, which statistics.cpp has to agree with.

    python -m venv V && V/bin/pip install scipy statsmodels && V/bin/python tests/golden/statistics.py
"""
import json
import pathlib

import numpy as np
from scipy import optimize, stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

rng = np.random.default_rng(1)
Z = stats.norm.ppf(0.975)


def wilson():
    cases = [(0, 1), (1, 1), (0, 60), (60, 60), (5, 60), (13, 40), (1, 300)]
    return [{"successes": k, "n": n, "interval": proportion_confint(k, n, method="wilson")} for k, n in cases]


def tango(gained, lost, n):
    """Inverts the score test by likelihood: at each difference d the trinomial's likeliest shares are searched, no closed form."""
    same = n - gained - lost

    def score(d):
        low, high = max(0, -d), (1 - d) / 2  # share of pairs that were lost

        def minus_log(q):
            terms = [(gained, q + d), (lost, q), (same, 1 - d - 2 * q)]
            return -sum(k * np.log(max(p, 1e-300)) for k, p in terms if k)

        q = optimize.minimize_scalar(minus_log, bounds=(low, high), method="bounded", options={"xatol": 1e-13}).x
        return (gained - lost - n * d) / np.sqrt(n * (2 * q + d - d * d))

    edge = 1 - 1e-7
    point = (gained - lost) / n
    low = optimize.brentq(lambda d: score(d) - Z, -edge, min(edge, point + 1e-3)) if point > -1 else -1
    high = optimize.brentq(lambda d: score(d) + Z, max(-edge, point - 1e-3), edge) if point < 1 else 1
    return [low, high]


def paired():
    cases = [(0, 0, 60), (0, 0, 5), (35, 0, 60), (3, 12, 40), (1, 0, 44), (7, 7, 30), (20, 2, 25)]
    return [{"gained": b, "lost": c, "n": n, "interval": tango(b, c, n)} for b, c, n in cases]


def clustered():
    """The share's variance with prompts as clusters is that of a regression on a constant; Wilson's interval of the effective number."""
    cases = []
    for clusters, most, share in [(40, 3, 0.8), (25, 6, 0.3), (12, 2, 0.5)]:
        answers = []
        for prompt in range(clusters):
            p = rng.beta(2 * share, 2 * (1 - share))
            answers += [(prompt, bool(rng.random() < p)) for _ in range(rng.integers(1, most + 1))]
        yes = np.array([float(y) for _, y in answers])
        n, p = len(yes), yes.mean()
        fit = OLS(yes, np.ones(n)).fit(cov_type="cluster", cov_kwds={"groups": np.array([c for c, _ in answers])})
        effective = n / max(1.0, fit.bse[0] ** 2 / (p * (1 - p) / n))
        cases.append({"answers": answers, "interval": proportion_confint(p * effective, effective, method="wilson")})
    return cases


def balanced():
    """Half the difference of two independent proportions, moved: (a + b) / 2 = 1/2 + (a - (1 - b)) / 2, Newcombe's interval."""
    cases = []
    for k, n, j, m in [(44, 60, 38, 40), (0, 60, 40, 40), (7, 9, 1, 12)]:
        low, high = confint_proportions_2indep(k, n, m - j, m, method="newcomb", compare="diff")
        cases.append({"first": [k, n], "second": [j, m], "interval": [0.5 + low / 2, 0.5 + high / 2]})
    return cases


def bootstrap():
    cases = []
    for values in [rng.exponential(size=40), rng.normal(3, 1, size=25), rng.integers(20, 49, size=60).astype(float)]:
        values = np.round(values, 6)
        found = stats.bootstrap((values,), np.mean, n_resamples=100_000, method="BCa", rng=np.random.default_rng(2)).confidence_interval
        cases.append({"values": values.tolist(), "interval": [found.low, found.high]})
    return cases


def tests():
    cases = [(3, 12), (0, 0), (0, 9), (35, 1), (8, 8)]
    p = [0.04, 0.001, 0.2, 0.03, 0.9, 0.0004, 0.03]
    a, b = rng.integers(0, 2, 60), None
    b = np.where(rng.random(60) < 0.7, a, 1 - a)
    table = [[int(((a == x) & (b == y)).sum()) for y in (0, 1)] for x in (0, 1)]
    return {"mcnemar": [{"gained": x, "lost": y, "p": float(mcnemar([[0, x], [y, 0]], exact=True).pvalue) if x + y else 1.0} for x, y in cases],
            "holm": {"p": p, "adjusted": multipletests(p, method="holm")[1].tolist()},
            "kappa": {"a": a.tolist(), "b": b.tolist(), "kappa": float(cohens_kappa(table).kappa)}}


golden = {"wilson": wilson(), "paired": paired(), "clustered": clustered(), "balanced": balanced(), "bootstrap": bootstrap(), **tests()}
file = pathlib.Path(__file__).parents[1] / "base/golden/statistics.json"
file.parent.mkdir(exist_ok=True)
file.write_text(json.dumps(golden) + "\n")
