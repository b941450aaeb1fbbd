"""NQM written out step by step, slowly: what the fast one is held against on odd sizes."""

import numpy as np

VIEWING_ANGLE_DEG = 16.37022271802352


def nqm(test, reference):
    rows, columns = reference.shape
    u, v = np.arange(columns) - columns / 2, np.arange(rows) - rows / 2
    radius = np.sqrt(u[None] ** 2 + v[:, None] ** 2)
    filters = [_lobe(radius + 2, 2), *(_lobe(radius, 2**k) for k in range(1, 6))]
    a, b = (
        [np.fft.ifft2(np.fft.fftshift(f) * np.fft.fft2(image)).real for f in filters]
        for image in (reference, test)
    )
    seen, seen_test = np.zeros_like(a[0]), np.zeros_like(a[0])
    for k in range(1, 6):
        c, c_test = a[k] / sum(a[:k]), b[k] / sum(b[:k])
        m, d = _ctf(k), _ctf(2**k / VIEWING_ANGLE_DEG)
        clipped = np.where(abs(c_test) > 1, 1, c_test)
        threshold = m * (0.86 * (c / m - 1) + 0.3)
        masked = np.where(abs(clipped - c) - threshold < 0, a[k], b[k])
        seen += np.where(abs(c) < d, 0, a[k])
        seen_test += np.where(abs(c_test) < d, 0, masked)
    return 10 * np.log10((seen**2).sum() / ((seen - seen_test) ** 2).sum())


def _lobe(x, centre):
    with np.errstate(divide="ignore", invalid="ignore"):
        lobe = 0.5 * (1 + np.cos(np.pi * (np.log2(x) - np.log2(centre))))
    return np.where((x >= centre / 2) & (x <= 2 * centre), lobe, 0)


def _ctf(frequency):
    return 1 / (520 * (0.0192 + 0.114 * frequency) * np.exp(-((0.114 * frequency) ** 1.1)))
