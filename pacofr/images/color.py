"""Colour profiles: any picture to sRGB."""

import io

from PIL import Image, ImageCms


class ToSrgb:
    """Converts pictures of one file to RGB in sRGB.

    A profile that is damaged or meant for another kind of picture counts as none.
    """

    def __init__(self, profile: bytes | None) -> None:
        self._source = _open_profile(profile) if profile else None
        self._transforms: dict[str, ImageCms.ImageCmsTransform | None] = {}

    def __call__(self, image: Image.Image) -> Image.Image:
        """The picture, or a part of it, in sRGB."""
        if image.mode not in self._transforms:
            self._transforms[image.mode] = self._transform(image.mode)
        transform = self._transforms[image.mode]
        if transform is not None:
            try:
                converted = ImageCms.applyTransform(image, transform)
                if converted is not None:
                    return converted
            except (ImageCms.PyCMSError, ValueError):
                self._transforms[image.mode] = None
        return image.convert("RGB")

    def _transform(self, mode: str) -> ImageCms.ImageCmsTransform | None:
        source = self._source
        if mode == "LAB" and source is None:
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        if source is None:
            return None
        try:
            return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        except (ImageCms.PyCMSError, ValueError):
            return None


def _open_profile(profile: bytes) -> ImageCms.ImageCmsProfile | None:
    """The profile; None where it is damaged, or says that it is sRGB."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        description = ImageCms.getProfileDescription(opened) or ""
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return None if description.startswith("sRGB") else opened
