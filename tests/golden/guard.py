"""Writes tests/base/golden/guard.json: logistic and isotonic regression, AUC and exact bounds by scikit-learn and scipy, which
src/base/logistic.cpp and src/base/calibration.cpp have to agree with.

    python -m venv V && V/bin/pip install scikit-learn && V/bin/python tests/golden/guard.py
"""
import json
import pathlib

import numpy as np
from scipy import stats
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

rng = np.random.default_rng(7)


def rounded(values, digits=6):
    return [round(float(v), digits) for v in values]


def logistic(n, width, c, weighted, shift=0.0):
    x = np.round(rng.normal(size=(n, width)), 3).astype(np.float32)
    y = (x @ rng.normal(size=width) + shift + rng.normal(size=n) > 0).astype(int)
    weights = np.round(rng.uniform(0.5, 3, n), 2) if weighted else None
    model = LogisticRegression(C=c, tol=1e-9, max_iter=100000, solver="newton-cholesky").fit(x, y, sample_weight=weights)
    return {"x": rounded(x.ravel(), 3), "width": width, "y": y.tolist(), "weights": rounded(weights, 2) if weighted else [], "c": c,
            "expected": rounded(model.coef_[0], 9), "bias": round(float(model.intercept_[0]), 9)}


def isotonic(n, ties):
    scores = np.round(rng.normal(size=n), 1 if ties else 4)
    outcomes = (rng.random(n) < 1 / (1 + np.exp(-2 * scores))).astype(int)
    at = np.round(np.concatenate([rng.normal(size=20) * 2, scores[:10]]), 4)
    fit = IsotonicRegression(out_of_bounds="clip").fit(scores, outcomes)
    return {"scores": rounded(scores, 4), "outcomes": outcomes.tolist(), "at": rounded(at, 4), "expected": rounded(fit.predict(at), 9)}


def auc(positives, negatives, ties):
    a, b = np.round(rng.normal(1, 1, positives), 1 if ties else 4), np.round(rng.normal(0, 1, negatives), 1 if ties else 4)
    return {"positives": rounded(a, 4), "negatives": rounded(b, 4), "expected": float(roc_auc_score([1] * positives + [0] * negatives, np.concatenate([a, b])))}


golden = {
    "logistic": [logistic(60, 5, 1.0, False), logistic(80, 12, 0.03, False, 1.0), logistic(40, 60, 10.0, False), logistic(50, 4, 0.5, True)],
    "isotonic": [isotonic(60, False), isotonic(200, True), isotonic(3, False)],
    "auc": [auc(30, 50, False), auc(60, 20, True)],
    "upper_bound": [{"successes": k, "n": n, "expected": float(stats.beta.ppf(0.95, k + 1, n - k))} for k, n in [(0, 299), (0, 10), (3, 500), (40, 60), (1, 2), (25, 1000)]],
}
path = pathlib.Path(__file__).resolve().parent.parent / "base/golden/guard.json"
path.write_text(json.dumps(golden) + "\n")
print(path, path.stat().st_size)
