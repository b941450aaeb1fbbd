"""What msibench leaves in OME-XML is read back, and what others leave there harms nothing."""

import numpy as np
import pytest

from msibench.io.ome_tiff import NAMESPACE, pack_mask, read_annotation, unpack_mask


def document(text, namespace=NAMESPACE):
    return (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><StructuredAnnotations>'
        f'<CommentAnnotation ID="Annotation:0" Namespace="{namespace}"><Value>{text}</Value>'
        "</CommentAnnotation></StructuredAnnotations></OME>"
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"ppm": 5}', {"ppm": 5}), ("", {}), ("no json", {}), ("[1]", {}), ("3", {}), ("null", {}),
        ("NaN", {}),
    ],
)  # fmt: skip
def test_an_annotation_is_a_table_or_nothing(text, found):
    assert read_annotation(document(text)) == found
    assert read_annotation(document(text, "elsewhere")) == {}
    assert read_annotation("<OME/>") == {}


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 8), (7, 11)])
def test_a_mask_survives_as_text(shape):
    mask = np.random.default_rng(0).random(shape) > 0.5
    np.testing.assert_array_equal(unpack_mask(pack_mask(mask), shape), mask)
