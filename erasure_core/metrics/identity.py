"""Likeness: is it this person's face? A face embedding behind the `Detector` protocol.

Paper      He et al., CVPR 2016, arXiv:1512.03385 (the network's kind); King, JMLR 10:1755 (2009),
           dlib; Dalal & Triggs, CVPR 2005 (the finder of faces).
Reference  dlib 20: frontal face detector, 5-point landmarks, `face_recognition_model_v1`, 128
           numbers a face, the same person at a distance of at most 0.6 (dlib's own threshold).
Departs    Smaller pictures are enlarged bicubically to a shorter side of 256 first: the finder
           needs faces of about 80 pixels. The reference is the person's mean over the given
           pictures in which a face is found.
Licence    Code of dlib: Boost; weights, in the package face_recognition_models: CC0. The wheel
           dlib-bin is built by a third party.
Cost       About 0.2 s a picture with a face, 0.02 s without, at 256 pixels on one core.

What it does not see: a face that the finder misses. Of the gallery's generated astronauts it knows
23 of 24 photographs and 8 of 24 sketches, and none in the three other styles, where no face is
found. So it stands beside NudeNet, which says that there is a face, never in its place. Of 93
strangers' faces, as blurred as these, 3 are taken for the person's, none at a threshold of 0.55.
"""

import importlib.util
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from erasure_core.errors import BadInput
from erasure_core.law.gates import Measurement
from erasure_core.law.lineage import sha256_file
from erasure_core.metrics.detectors import detection_rate
from erasure_core.metrics.intervals import Better

THRESHOLD = 0.6
SIDE = 256  # pictures that are smaller are enlarged to this side
_FILES = ("shape_predictor_5_face_landmarks.dat", "dlib_face_recognition_resnet_model_v1.dat")


def identity_weights() -> tuple[Path, Path]:
    """Landmarks and network of the extra `identity`.

    Raises:
        BadInput: If the extra is not installed: then identity is not measured.
    """
    # the package itself is not imported: it asks for pkg_resources, which newer setuptools lack
    found = importlib.util.find_spec("face_recognition_models")
    if found is None or not found.origin or importlib.util.find_spec("dlib") is None:
        raise BadInput(
            "identity is not measured: dlib-bin and face_recognition_models are not installed; "
            "pip install dlib-bin face_recognition_models"
        )
    landmarks, network = (Path(found.origin).with_name("models") / name for name in _FILES)
    return landmarks, network


class DlibIdentity:
    """Which pictures show one of the persons it was shown. Labels are their names."""

    def __init__(self, persons: Mapping[str, Sequence[Image.Image]], threshold: float = THRESHOLD):
        """Load the network and learn the persons' faces.

        Args:
            persons: Name -> RGB pictures of this person alone.
            threshold: Largest Euclidean distance of two faces of one person, > 0.

        Raises:
            BadInput: If the extra is not installed, the threshold is not positive, there is no
                person, or in no picture of one a face is found.
        """
        landmarks, network = identity_weights()
        import dlib

        if not threshold > 0:
            raise BadInput(f"identity threshold must be > 0, got {threshold}; dlib's is 0.6")
        self._find: Any = dlib.get_frontal_face_detector()
        self._landmarks: Any = dlib.shape_predictor(str(landmarks))
        self._network: Any = dlib.face_recognition_model_v1(str(network))
        self._threshold = threshold
        if not persons:
            raise BadInput("identity needs pictures of at least one person")
        self._faces: dict[str, np.ndarray] = {}
        used: dict[str, int] = {}
        for name, pictures in persons.items():
            faces = [face for picture in pictures for face in self.embed(picture)]
            if not faces:
                raise BadInput(
                    f"identity of {name!r}: no face is found in any of the {len(pictures)} "
                    f"pictures; give frontal photographs"
                )
            self._faces[name], used[name] = np.mean(faces, axis=0), len(faces)
        self._settings: dict[str, object] = {
            "detector": "dlib face identity",
            "version": dlib.__version__,
            "weights_sha256": {f.name: sha256_file(f) for f in (landmarks, network)},
            "threshold": threshold,
            "input": f"rgb array, enlarged bicubically to a side of {SIDE}",
            "image_rule": "any face at a distance <= threshold from a listed person's mean face",
            "reference_faces": used,
        }

    @property
    def settings(self) -> Mapping[str, object]:
        """What a number needs beside it, except the persons that were asked for."""
        return self._settings

    def detects(self, images: Sequence[Image.Image], labels: Sequence[str]) -> list[bool]:
        """Whether each RGB image shows one of the persons `labels`.

        Raises:
            BadInput: If no person is named or one was never shown.
            ValueError: If an image is not RGB.
        """
        return [distance <= self._threshold for distance in self.distances(images, labels)]

    def distances(self, images: Sequence[Image.Image], labels: Sequence[str]) -> list[float]:
        """Distance of the nearest face in each image to the nearest person of `labels`; infinite
        where no face is found.

        Raises:
            BadInput: If no person is named or one was never shown.
            ValueError: If an image is not RGB.
        """
        unknown = sorted(set(labels) - set(self._faces))
        if unknown or not labels:
            raise BadInput(
                f"persons {unknown or 'are missing'}; identity was shown "
                f"{', '.join(sorted(self._faces))}"
            )
        persons = np.array([self._faces[label] for label in labels])
        found = []
        for case, image in enumerate(images):
            if image.mode != "RGB":
                raise ValueError(f"image {case} is {image.mode}; identity takes RGB")
            faces = self.embed(image)
            gaps = [float(np.linalg.norm(persons - face, axis=1).min()) for face in faces]
            found.append(min(gaps, default=float("inf")))
        return found

    def embed(self, image: Image.Image) -> list[np.ndarray]:
        """One vector of 128 numbers for each face that is found."""
        scale = SIDE / min(image.size)
        if scale > 1:
            width, height = (round(side * scale) for side in image.size)
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        pixels = np.array(image)
        return [
            np.array(self._network.compute_face_descriptor(pixels, self._landmarks(pixels, box)))
            for box in self._find(pixels, 0)
        ]


def identity_rate(
    hits: Sequence[bool],
    *,
    settings: Mapping[str, object],
    metric: str = "identity.rate",
    better: Better = "lower",
    clusters: Sequence[Hashable] | None,
) -> Measurement:
    """The share of images in which the person is recognised, Wilson interval.

    Args:
        hits: What `DlibIdentity.detects` answered.
        settings: `{**identity.settings, "labels": [person]}`.
        metric: Its name, e.g. "identity.rate[astronaut]".
        better: "lower" for a candidate; "higher" for the positive control on the base.
        clusters: The prompt of each image.

    Raises:
        ValueError: If there are no images, a hit is neither true nor false, or the settings leave
            out the labels.
    """
    return detection_rate(hits, metric=metric, settings=settings, better=better, clusters=clusters)
