"""Wavelet VIF written out with direct sums, slowly: what the fast one is held against."""

import numpy as np
from scipy.ndimage import correlate

from msibench.metrics import sp5_filters

TOLERANCE = 1e-15


def vif(test, reference):
    """VIF of two images on the 0..255 scale."""
    carried = available = 0.0
    for level, window in enumerate((17, 9, 5, 3)):
        for x, y in zip(_pyramid(reference)[level], _pyramid(test)[level], strict=True):
            rows, columns = (3 * (side // 3) for side in x.shape)
            x, y = x[:rows, :columns], y[:rows, :columns]
            gain, noise = _channel(x, y, window)
            signal, eigenvalues = _mixture(x)
            edge = -(-(window // 2) // 3)
            inside = (slice(edge, rows // 3 - edge), slice(edge, columns // 3 - edge))
            gain, noise, signal = gain[inside], noise[inside], signal[inside]
            for eigenvalue in eigenvalues:
                carried += np.log2(1 + gain**2 * signal * eigenvalue / (noise + 0.4)).sum()
                available += np.log2(1 + signal * eigenvalue / 0.4).sum()
    return carried / available


def pad(image):
    """Extend an image pixel by pixel, as MeTriX does."""
    rows, columns = image.shape
    height, width = (max(128, 32 * -(-side // 32)) for side in image.shape)
    if (height, width) == (rows, columns):
        return image
    padded = np.zeros((height, width))
    top, left = (int(np.floor((a - b) / 2 + 0.5)) for a, b in ((height, rows), (width, columns)))
    bottom, right = height - rows - top, width - columns - left
    middle_rows, middle_columns = slice(top, top + rows), slice(left, left + columns)
    padded[middle_rows, middle_columns] = image
    for k in range(1, left + 1):
        padded[middle_rows, left - k] = image[:, min(columns - 1, k)]
    for k in range(1, right + 1):
        padded[middle_rows, left + columns - 1 + k] = image[:, columns - 1 - min(columns - 1, k)]
    for k in range(1, top + 1):
        padded[top - k, middle_columns] = image[min(rows - 1, k)]
    for k in range(1, bottom + 1):
        padded[top + rows - 1 + k, middle_columns] = image[rows - 1 - min(rows - 1, k)]
    second, last = (min(rows, 2) - 1, min(columns, 2) - 1), (max(rows - 2, 0), max(columns - 2, 0))
    padded[:top, :left] = image[second[0], second[1]]
    padded[top + rows :, :left] = image[last[0], second[1]]
    padded[:top, left + columns :] = image[second[0], last[1]]
    padded[top + rows :, left + columns :] = image[last[0], last[1]]
    return padded


def _pyramid(image):
    low = correlate(pad(image), sp5_filters.first_low_pass(), mode="mirror")
    levels = []
    for _ in range(4):
        bands = (sp5_filters.horizontal_band(), sp5_filters.vertical_band())
        levels.append([correlate(low, band, mode="mirror") for band in bands])
        low = correlate(low, sp5_filters.low_pass(), mode="mirror")[::2, ::2]
    return levels


def _channel(x, y, window):
    box, area = np.ones((window, window)), window**2

    def total(image):
        return correlate(image, box, mode="mirror")[1::3, 1::3]

    mean_x, mean_y = total(x) / area, total(y) / area
    covariance = total(x * y) - area * mean_x * mean_y
    power_x = np.maximum(total(x * x) - area * mean_x**2, 0)
    power_y = np.maximum(total(y * y) - area * mean_y**2, 0)
    gain = covariance / (power_x + TOLERANCE)
    noise = (power_y - gain * covariance) / area
    gain[power_x < TOLERANCE] = 0
    noise[power_x < TOLERANCE] = power_y[power_x < TOLERANCE]
    gain[power_y < TOLERANCE] = 0
    noise[power_y < TOLERANCE] = 0
    noise[gain < 0] = power_y[gain < 0]
    gain[gain < 0] = 0
    return gain, np.maximum(noise, TOLERANCE)


def _mixture(x):
    rows, columns = x.shape
    shifts = [(i, j) for i in range(3) for j in range(3)]
    patches = np.stack([x[i : rows - 2 + i, j : columns - 2 + j].ravel() for i, j in shifts])
    patches = patches - patches.mean(1, keepdims=True)
    covariance = patches @ patches.T / patches.shape[1]
    blocks = np.stack([x[i::3, j::3].ravel() for i, j in shifts])
    signal = ((np.linalg.inv(covariance) @ blocks) * blocks).sum(0) / 9
    return signal.reshape(rows // 3, columns // 3), np.linalg.eigvalsh(covariance)
